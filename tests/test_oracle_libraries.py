"""Samplers of other libraries under the oracle: against this library's, against draws, and against each other."""

import contextlib
import io
import math
import re
import sys
import threading
from functools import partial
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lineardiffusion import Gaussian
from lineardiffusion.oracle import Adapter, NotAffineError, Start, oracle
from lineardiffusion.oracle.adapters import get_adapter, kdiffusion, smalldiffusion
from lineardiffusion.oracle.adapters.alone import load_alone
from lineardiffusion.oracle.adapters.azula import AzulaSampler
from lineardiffusion.oracle.adapters.kdiffusion import KDiffusionSampler
from lineardiffusion.oracle.adapters.own import OwnSampler
from lineardiffusion.oracle.adapters.smalldiffusion import SmallDiffusionSampler
from lineardiffusion.oracle.adapters.tensors import replaced_noise, to_array, to_tensor
from lineardiffusion.oracle.noise import Noise
from lineardiffusion.oracle.responses import respond
from lineardiffusion.samplers import ddim, get_sampler
from lineardiffusion.schedules import Karras, Schedule

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")
pytestmark = [pytest.mark.diffusers, pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")]
DOCS = Path(__file__).parents[1] / "docs" / "research"
VARIANCE = np.array([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 9.0])
HIGH, LOW = 10.0, 0.05


def needs(name):
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {name}: pip install --no-deps {name}")


def geometric(n):
    """Return levels with constant ratios that end above 0, which every library can visit."""
    return np.geomspace(HIGH, LOW, n + 1)


def with_zero(n):
    return np.append(np.geomspace(HIGH, LOW, n), 0.0)


def law(adapter, num_steps):
    found = respond(adapter, num_steps, VARIANCE, "exact")
    return np.stack([found.offset, found.std])


# Samplers by name; a library is imported where its sampler is made.


class Own(Adapter):
    """A sampler of this library with alpha = 1 at given levels, which need not end at 0."""

    def __init__(self, sampler, levels):
        self.sampler, self.levels = get_sampler(sampler), levels

    def start(self, num_steps):
        sigma = self.levels(num_steps)[0]
        return Start(1.0, sigma, sigma)

    def run(self, num_steps, x, denoise, noise):
        *_, x = self.sampler(denoise, x, Karras(), self.levels(num_steps), lambda x, std: x + std * noise.fresh())
        return x


def own(sampler, levels=geometric):
    return Own(sampler, levels)


def azula_sampler(name, **options):
    needs("azula")
    import azula.noise
    import azula.sample

    return AzulaSampler(getattr(azula.sample, name), azula.noise.VESchedule(LOW, HIGH), **options)


def kdiff(name, levels=geometric, **options):
    needs("k-diffusion")
    return KDiffusionSampler(getattr(kdiffusion.load(), name), levels, **options)


def small(**options):
    needs("smalldiffusion")
    module = smalldiffusion.load()
    return SmallDiffusionSampler(module.samples, lambda n: torch.from_numpy(geometric(n)), **options)


class Scheduler(Adapter):
    """A scheduler of diffusers whose model is told the noise level of the scheduler."""

    def __init__(self, name, variance_preserving=False, step=None, **settings):
        needs("diffusers")
        import diffusers

        self.make = partial(getattr(diffusers, name), **settings)
        self.name, self.variance_preserving, self.options, self.known = name, variance_preserving, step or {}, {}

    def set(self, num_steps):
        scheduler = self.make()
        scheduler.set_timesteps(num_steps)
        return scheduler

    def sigma(self, scheduler, i, t):
        if not hasattr(scheduler, "sigmas"):  # DDIM and DDPM
            kept = float(scheduler.alphas_cumprod[t])
            return math.sqrt((1 - kept) / kept)
        if hasattr(scheduler, "sigmas_interpol"):  # that of scale_model_input: between levels in every second call
            scaled = scheduler.scale_model_input(torch.ones(1, dtype=torch.float64), t)
            return math.sqrt(1 / float(scaled) ** 2 - 1)
        return float(scheduler.sigmas[i])

    def levels(self, num_steps):
        """Return the distinct levels, as the samplers of k-diffusion need them."""
        if num_steps not in self.known:
            self.known[num_steps] = self.set(num_steps)
        scheduler = self.known[num_steps]
        if hasattr(scheduler, "sigmas"):
            return np.array(list(dict.fromkeys(scheduler.sigmas.double().tolist())))
        return np.array([self.sigma(scheduler, 0, t) for t in scheduler.timesteps] + [0.0])

    def alpha(self, sigma):
        return 1 / math.sqrt(1 + sigma**2) if self.variance_preserving else 1.0

    def start(self, num_steps):
        sigma = self.levels(num_steps)[0]
        return Start(self.alpha(sigma), sigma * self.alpha(sigma), sigma)

    def run(self, num_steps, x, denoise, noise):
        scheduler, x = self.set(num_steps), to_tensor(x)
        with replaced_noise(noise):
            for i, t in enumerate(scheduler.timesteps):
                sigma = self.sigma(scheduler, i, t)
                if hasattr(scheduler, "scale_model_input"):
                    scheduler.scale_model_input(x, t)
                alpha = self.alpha(sigma)
                eps = (x - alpha * denoise(x, alpha, alpha * sigma)) / (alpha * sigma)
                x = scheduler.step(eps, t, x, **self.options).prev_sample
        return to_array(x)


SINGLE = 2e-5  # diffusers holds its levels in single precision

SAME = {
    "ddim": lambda: [
        own("ddim"), kdiff("sample_euler"), kdiff("sample_euler_ancestral", eta=0.0), azula_sampler("DDIMSampler"),
        azula_sampler("EulerSampler"), azula_sampler("zABSampler", order=1), small(),
    ],
    "ddpm": lambda: [
        own("ddpm"), kdiff("sample_euler_ancestral"), azula_sampler("DDPMSampler"),
        azula_sampler("DDIMSampler", eta=1.0), small(mu=0.5),
    ],
    "ddim(eta=0.5)": lambda: [
        own(ddim(eta=0.5)), kdiff("sample_euler_ancestral", eta=0.5), azula_sampler("DDIMSampler", eta=0.25),
    ],
    "heun": lambda: [own("heun"), kdiff("sample_heun"), azula_sampler("HeunSampler")],
    "dpm++2m": lambda: [own("dpm++2m"), kdiff("sample_dpmpp_2m"), kdiff("sample_dpmpp_2m_sde", eta=0.0)],
    "DPM++ 2M, solver_type=heun": lambda: [
        kdiff("sample_dpmpp_2m_sde", eta=0.0, solver_type="heun"), azula_sampler("xEABSampler", order=2),
    ],
    "LMS": lambda: [kdiff("sample_lms"), azula_sampler("zABSampler", order=4)],
    "DPM++ 2S a, eta=0": lambda: [
        kdiff("sample_dpmpp_2s_ancestral", eta=0.0), kdiff("sample_dpmpp_sde", eta=0.0),
    ],
}  # fmt: skip

SAME_IN_DIFFUSERS = {
    "ddim": [("EulerDiscreteScheduler", {}), ("DDIMScheduler", {"clip_sample": False, "vp": True})],
    "ddpm": [
        ("EulerAncestralDiscreteScheduler", {}),
        ("DDPMScheduler", {"clip_sample": False, "vp": True}),
        ("DDIMScheduler", {"clip_sample": False, "vp": True, "step": {"eta": 1.0}}),
    ],
    "ddim(eta=0.5)": [("DDIMScheduler", {"clip_sample": False, "vp": True, "step": {"eta": 0.5}})],
    "heun": [("HeunDiscreteScheduler", {})],
    "dpm++2m": [("DPMSolverMultistepScheduler", {"vp": True})],
    "DPM++ 2M, solver_type=heun": [("DPMSolverMultistepScheduler", {"vp": True, "solver_type": "heun"})],
    "LMS": [("LMSDiscreteScheduler", {})],
    "DPM2": [("KDPM2DiscreteScheduler", {})],
    "DPM2 a": [("KDPM2AncestralDiscreteScheduler", {})],
    "DPM++ 2M SDE": [("DPMSolverMultistepScheduler", {"vp": True, "algorithm_type": "sde-dpmsolver++"})],
}
REFERENCE = {
    "ddim": partial(own, "ddim"),
    "ddpm": partial(own, "ddpm"),
    "ddim(eta=0.5)": partial(own, ddim(eta=0.5)),
    "heun": partial(own, "heun"),
    "dpm++2m": partial(own, "dpm++2m"),
    "DPM++ 2M, solver_type=heun": partial(kdiff, "sample_dpmpp_2m_sde", eta=0.0, solver_type="heun"),
    "LMS": partial(kdiff, "sample_lms"),
    "DPM2": partial(kdiff, "sample_dpm_2"),
    "DPM2 a": partial(kdiff, "sample_dpm_2_ancestral"),
    "DPM++ 2M SDE": partial(kdiff, "sample_dpmpp_2m_sde"),
}


@pytest.mark.parametrize("name", SAME)
def test_samplers_of_one_name_draw_from_one_law(name):
    reference, *others = (law(one, 9) for one in SAME[name]())
    for other in others:
        np.testing.assert_allclose(other, reference, atol=1e-9)


@pytest.mark.parametrize("name", SAME_IN_DIFFUSERS)
def test_schedulers_of_one_name_draw_from_one_law(name):
    for scheduler, settings in SAME_IN_DIFFUSERS[name]:
        settings = dict(settings)
        theirs = Scheduler(scheduler, settings.pop("vp", False), **settings)
        np.testing.assert_allclose(
            law(theirs, 16), law(REFERENCE[name](levels=theirs.levels), 16), atol=SINGLE * 3, err_msg=scheduler
        )


def test_other_samplers_differ():  # the control of both tests above
    for a, b in [
        (own("ddim"), own("heun")), (azula_sampler("DDIMSampler", eta=0.5), own(ddim(eta=0.5))),
        (kdiff("sample_dpmpp_2m"), azula_sampler("xEABSampler")),
        (kdiff("sample_lms"), azula_sampler("zABSampler", order=3)),
        (small(gam=1.01), own("ddim")),
    ]:  # fmt: skip
        assert np.abs(law(a, 9) - law(b, 9)).max() > 1e-3


def test_the_last_step_to_no_noise():
    for ours, theirs in {"ddim": "sample_euler", "heun": "sample_heun", "dpm++2m": "sample_dpmpp_2m"}.items():
        np.testing.assert_allclose(law(kdiff(theirs, with_zero), 9), law(own(ours, with_zero), 9), atol=1e-9)
    here, there = OwnSampler("heun", schedule="karras"), kdiff("sample_heun", "karras")
    np.testing.assert_allclose(law(there, 9), law(here, 9), atol=1e-9)
    np.testing.assert_allclose(there.levels(20), kdiffusion.load().get_sigmas_karras(20, 0.002, 80.0), rtol=1e-5)
    library = kdiffusion.load()
    np.testing.assert_allclose(kdiff("sample_heun", "vp").levels(20), library.get_sigmas_vp(20), rtol=1e-3)
    exponential = library.get_sigmas_exponential(20, 0.002, 80.0)
    np.testing.assert_allclose(kdiff("sample_heun", "exponential").levels(20), exponential, rtol=1e-5)


# Draws, with PyTorch's generator and no part of the adapters.

SPREAD = np.linspace(0.0, 4.0, 41) ** 2
DRAWS, STEPS = 20_000, 6


def model(x, alpha, sigma):
    """Return the denoiser of N(1, SPREAD)."""
    gain = torch.as_tensor(alpha * SPREAD / (alpha**2 * SPREAD + sigma**2))
    return 1.0 + gain * (x - alpha)


class Path:
    """A Brownian motion drawn at the times that a sampler asks for, in order of time."""

    def __init__(self, shape):
        self.shape, self.ends, self.values = shape, set(), None

    def draw(self):
        times = sorted(self.ends)
        steps = np.diff(times, prepend=times[0])
        values = torch.cumsum(
            torch.from_numpy(np.sqrt(steps))[:, None, None] * torch.randn(len(times), *self.shape), 0
        )
        self.values = dict(zip(times, values.double(), strict=True))

    def __call__(self, a, b):
        a, b = round(float(a), 9), round(float(b), 9)
        if self.values is None:
            self.ends |= {a, b}
            return torch.zeros(self.shape, dtype=torch.float64)
        return (self.values[b] - self.values[a]) / math.sqrt(abs(b - a))


def start(alpha, sigma):
    z = 1.0 + torch.from_numpy(np.sqrt(SPREAD)) * torch.randn(DRAWS, len(SPREAD), dtype=torch.float64)
    return alpha * z + sigma * torch.randn_like(z)


def draws_of_azula(name, **options):
    import azula.noise
    import azula.sample

    class Denoiser:
        schedule = azula.noise.RectifiedSchedule()

        def __call__(self, x, t):
            return SimpleNamespace(mean=model(x, *map(float, self.schedule(t))))

    make, level = getattr(azula.sample, name), Denoiser.schedule(torch.tensor(1.0, dtype=torch.float64))
    sampler = make(Denoiser(), steps=STEPS, silent=True, dtype=torch.float64, **options)
    return AzulaSampler(make, Denoiser.schedule, **options), sampler(start(*map(float, level)))


def draws_of_kdiffusion(name, tree=False, **options):
    function, levels = getattr(kdiffusion.load(), name), torch.from_numpy(with_zero(STEPS))

    def run(x, **further):
        told = lambda x, sigma: model(x, 1.0, float(sigma[0]))  # noqa: E731
        return function(told, x, levels, disable=True, **options, **further)

    x = start(1.0, HIGH)
    if not tree:
        return kdiff(name, with_zero, **options), run(x)
    path = Path(x.shape)
    run(x, noise_sampler=path)
    path.draw()
    return kdiff(name, with_zero, **options), run(x, noise_sampler=path)


def draws_of_smalldiffusion(**options):
    class Model(torch.nn.Module):
        def rand_input(self, n):
            return torch.randn(n, len(SPREAD), dtype=torch.float64)

        def predict_eps_cfg(self, x, sigma, cond, scale):
            return (x - model(x, 1.0, float(sigma))) / sigma

    *_, x = smalldiffusion.load().samples(
        Model(), torch.from_numpy(geometric(STEPS)), xt=start(1.0, HIGH), accelerator=torch.ones(1), **options
    )
    return small(**options), x


STOCHASTIC = {
    "azula DDPM": lambda: draws_of_azula("DDPMSampler"),
    "azula DDIM": lambda: draws_of_azula("DDIMSampler", eta=0.5),
    "azula Ito": lambda: draws_of_azula("ItoSampler", eta=0.5),
    "azula PC": lambda: draws_of_azula("PCSampler", delta=0.3),
    "Euler a": lambda: draws_of_kdiffusion("sample_euler_ancestral"),
    "Heun, churned": lambda: draws_of_kdiffusion("sample_heun", s_churn=2.0, s_noise=1.1),
    "DPM2 a": lambda: draws_of_kdiffusion("sample_dpm_2_ancestral"),
    "DPM++ 2S a": lambda: draws_of_kdiffusion("sample_dpmpp_2s_ancestral"),
    "DPM++ SDE": lambda: draws_of_kdiffusion("sample_dpmpp_sde", tree=True),
    "DPM++ 2M SDE": lambda: draws_of_kdiffusion("sample_dpmpp_2m_sde", tree=True),
    "DPM++ 3M SDE": lambda: draws_of_kdiffusion("sample_dpmpp_3m_sde", tree=True),
    "smalldiffusion": lambda: draws_of_smalldiffusion(mu=0.5),
}


def test_stochastic_samplers_draw_from_the_law_that_the_oracle_says():
    for library in ("azula", "k-diffusion", "smalldiffusion"):
        needs(library)
    torch.manual_seed(0)
    found = {name: make() for name, make in STOCHASTIC.items()}

    def scores(num_steps):
        """Return the z-scores of means and of variances, (samplers, 2, directions with variance)."""
        rows = []
        for adapter, x in found.values():
            told = respond(adapter, num_steps, SPREAD, "exact")
            offset, std = told.offset[1:], told.std[1:]  # the first direction may have no variance
            mean, variance = x.mean(dim=0).numpy()[1:], x.var(dim=0).numpy()[1:]
            of_mean, of_variance = (mean - offset) / std, (variance / std**2 - 1) / math.sqrt(2)
            rows.append([math.sqrt(DRAWS) * of_mean, math.sqrt(DRAWS) * of_variance])
        return np.array(rows)

    def rms(scores, axis=None):
        return np.sqrt((scores**2).mean(axis=axis))

    of_mean, of_variance = scores(STEPS).swapaxes(0, 1)
    assert 0.9 < rms(of_mean) < 1.1
    assert 0.9 < rms(of_variance) < 1.1
    assert rms(of_variance, axis=1).max() < 2.0
    assert rms(scores(STEPS + 1)[:, 1], axis=1).min() > 2.0  # the control: the law of one more step


def test_the_tree_of_torchsde_draws_from_the_law_that_the_oracle_says():
    """The real ``BrownianTreeNoiseSampler``; the control is the law of one step more."""
    needs("k-diffusion")
    needs("torchsde")
    sampler = kdiffusion.load().sample_dpmpp_sde
    variance, n, steps = np.linspace(0.1, 3.0, 40), 20_000, 3
    data, levels = Gaussian.diagonal(np.zeros(40), variance), Karras(HIGH, LOW)
    sigmas, of_data = torch.tensor(levels.times(steps)), torch.tensor(variance)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, 1, 1, 40, dtype=torch.float64, generator=generator)

    def denoiser(x, sigma):
        return x * of_data / (of_data + sigma.reshape(-1, 1, 1, 1) ** 2)

    tree = kdiffusion.load().BrownianTreeNoiseSampler(noise, sigmas[sigmas > 0].min(), HIGH, seed=0)
    x = sampler(denoiser, noise * torch.sqrt(of_data + HIGH**2), sigmas, disable=True, noise_sampler=tree)

    def rms(k):
        judged = KDiffusionSampler(sampler, sigma_min=LOW, sigma_max=HIGH)
        found = oracle(judged, data, steps=(k,), convergence=False).law(k)
        return np.sqrt(np.mean((x.var(dim=0).numpy().ravel() / found.variance - 1) ** 2 * n / 2))

    assert 0.75 < rms(steps) < 1.25  # 40 z-scores: their root mean square is 1 +- 0.11
    assert rms(steps + 1) > 3


def test_noise_of_a_tree_is_not_fresh():
    """DPM++ SDE asks for overlapping intervals, so fresh noise in their place gives another law."""
    adapter = kdiff("sample_dpmpp_sde", with_zero)
    assert adapter.has_tree
    tree = law(adapter, 9)
    adapter.has_tree = False
    assert np.abs(law(adapter, 9) - tree).max() > 1e-2


# What is refused, and what is left alone.


def test_what_is_no_affine_sampler_is_refused():
    needs("k-diffusion")
    with pytest.raises(NotAffineError, match="chooses its steps"):
        kdiff("sample_dpm_adaptive")
    with pytest.raises(TypeError, match="no sampler"):
        kdiff("log_likelihood")

    def clipped(model, x, sigmas):
        return kdiffusion.load().sample_euler(model, x, sigmas, disable=True).clamp(-1, 1)

    with pytest.raises(NotAffineError, match="clips"):
        law(KDiffusionSampler(clipped, geometric, array="torch"), 5)

    def drawn(model, x, sigmas):
        return model(x, sigmas[0]) + torch.normal(torch.zeros_like(x))

    with pytest.raises(ValueError, match=r"draws with torch's normal"):
        law(KDiffusionSampler(drawn, geometric, array="torch"), 5)


def test_noise_is_replaced_in_the_run_and_its_thread_only():
    class Ones(Noise):
        def fresh(self):
            return np.ones((2, 3))

        def increment(self, a, b):
            raise AssertionError

    seen, x = [], torch.zeros(2, 1, 1, 3, dtype=torch.float64)
    assert to_tensor(np.zeros((2, 3))).shape == x.shape  # images, as samplers of images expect
    with replaced_noise(Ones()):
        assert (torch.randn_like(x) == 1).all()
        assert (torch.randn(2, 3) == 1).all()
        thread = threading.Thread(target=lambda: seen.append(torch.randn_like(x)))
        thread.start()
        thread.join()
    assert seen[0].std() > 0.1
    assert torch.randn_like(x).std() > 0.1


def test_what_stands_in_for_missing_modules_is_gone_after_the_import():
    needs("k-diffusion")
    kdiffusion.load()
    for name in ("k_diffusion", "k_diffusion.utils", "torchsde", "torchdiffeq"):
        assert getattr(sys.modules.get(name), "__spec__", True) is not None  # stand-ins have none
    with pytest.raises(ImportError, match="no_such_package is not installed"):
        load_alone("no_such_package", "module", {})


def test_every_form_of_a_sampler():
    needs("azula")
    import azula.noise
    import azula.sample

    schedule = azula.noise.RectifiedSchedule()
    made = azula.sample.vABSampler(type("Denoiser", (), {"schedule": schedule})(), order=3, steps=77)
    forms = [
        get_adapter(azula.sample.vABSampler, schedule=schedule, order=3),
        get_adapter(partial(azula.sample.vABSampler, order=3), schedule=schedule),
        AzulaSampler(lambda denoiser: azula.sample.vABSampler(denoiser, order=3), schedule=schedule),
        get_adapter(made),
    ]
    first, *others = (law(one, 7) for one in forms)
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert made.steps == 77
    # azula starts from the law of data with mean 0 and variance 1
    level = forms[0].start(7)
    drawn = made.init((200_000,))
    assert abs(level.noise_std / float(drawn.std()) - 1) < 0.01
    assert level.noise_std > level.sigma
    with pytest.raises(TypeError, match="set when it is made, got order"):
        AzulaSampler(made, order=2)


def test_a_function_of_arrays_and_one_of_tensors():
    def euler_ancestral(model, x, sigmas, noise_sampler):
        for a, b in pairwise(sigmas):
            up = b * (1 - (b / a) ** 2) ** 0.5
            down = (b**2 - up**2) ** 0.5
            x = model(x, a) + down / a * (x - model(x, a)) + up * noise_sampler(a, b)
        return x

    for array in ("numpy", "torch"):
        adapter = KDiffusionSampler(euler_ancestral, geometric, array=array)
        np.testing.assert_allclose(law(adapter, 9), law(own("ddpm"), 9), atol=1e-12)
    with pytest.raises(ValueError, match="sigmas must be"):
        KDiffusionSampler(euler_ancestral, "kerras")


def test_flow_of_smalldiffusion_is_ddim_under_its_schedule():
    needs("smalldiffusion")
    module = smalldiffusion.load()
    schedule = module.ScheduleFlow()

    class Flow(Schedule):
        def __call__(self, t):
            return 1.0 - t, t

        def times(self, num_steps):
            return schedule.sample_sigmas(num_steps).numpy()

    theirs = law(get_adapter(module.samples, schedule=schedule), 9)
    for ours in ("ddim", "euler"):  # which are one sampler for a flow
        np.testing.assert_allclose(theirs, law(OwnSampler(ours, Flow()), 9), atol=1e-9)


# Pages.


@pytest.mark.parametrize(
    "page",
    ["catches_azula", "catches_kdiffusion", "catches_smalldiffusion", "catches_dpmsolver", "oracle_adapters"],
)
def test_the_blocks_of_a_page_print_what_it_says(page):
    for library in ("azula", "k-diffusion", "smalldiffusion"):
        needs(library)
    text = (DOCS / f"{page}.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```\s*(?:```text\n(.*?)```)?", text, re.S)
    assert blocks
    scope = {}
    for code, expected in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, f"{page}.md", "exec"), scope)
        assert printed.getvalue() == expected


def test_the_table_of_names_claims_what_is_tested():
    rows = re.findall(r"^\| `?([^|`]+)`? \|.*\| the same \|$", (DOCS / "names.md").read_text(), re.M)
    assert set(rows) == SAME.keys() | SAME_IN_DIFFUSERS.keys()


def test_the_table_of_samplers_runs(capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location("others", DOCS.parents[1] / "benchmarks" / "schedulers_others.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    target = Gaussian.diagonal(np.ones(2), np.array([1.0, 4.0]))
    found = list(module.cases())
    assert {library for library, *_ in found} <= {"azula", "k-diffusion", "smalldiffusion"}
    for _, label, make, options in found:
        if "adaptive" in label:
            continue
        report = oracle(make, target, steps=(5,), convergence=False, **options)
        assert math.isfinite(report.rows[0].distance), label
