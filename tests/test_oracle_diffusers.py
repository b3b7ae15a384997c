"""Schedulers of diffusers under the oracle: every one that is exported, known identities, and draws."""

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lineardiffusion import Gaussian, samplers
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.oracle import Adapter, NotAffineError, Start, oracle
from lineardiffusion.oracle.adapters import get_adapter
from lineardiffusion.oracle.adapters.diffusers import CONVENTIONS
from lineardiffusion.oracle.adapters.diffusers import REFUSED as REFUSALS
from lineardiffusion.oracle.noise import Draws
from lineardiffusion.oracle.responses import respond
from lineardiffusion.oracle.target import PrincipalDenoiser

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[diffusers]'")
diffusers = pytest.importorskip("diffusers", reason="needs diffusers: pip install '.[diffusers]'")
pytestmark = [
    pytest.mark.diffusers,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # theirs, of NumPy's
]

VARIANCE = np.append(0.0, 4.0 ** np.linspace(1, -5, 7))
LAW = Gaussian.diagonal(np.linspace(-1, 1, 7), VARIANCE[1:])
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
CLIP = {"clip_sample": False}
PROTEINA = {"schedule_mode": "log", "noise_mode": "1/t", "tsr_k": 1.0, "tsr_sigma": 1.0, "tail_steps": 2}

# "converges": the distance at least halves from 10 to 40 steps. "exact": with any number of steps, the law is the
# target's at the level (alpha, sigma) that the scheduler ends at
CONVERGES = {
    "CogVideoXDDIM": {},
    "CogVideoXDPM": {},
    "DDIM": CLIP,
    "DDIMParallel": CLIP,
    "DDPM": CLIP,
    "DDPMParallel": CLIP,
    "DDPMWuerstchen": {},
    "DEISMultistep": {},
    "DPMSolverMultistep": {},
    "DPMSolverSDE": {},
    "DPMSolverSinglestep": {},
    "EDMDPMSolverMultistep": {},
    "EDMEuler": {},
    "EulerAncestralDiscrete": {},
    "EulerDiscrete": {},
    "FlowMatchEulerDiscrete": {},
    "FlowMatchHeunDiscrete": {},
    "Helios": {"stages": 1},
    "HeunDiscrete": {},
    "IPNDM": {},
    "KDPM2AncestralDiscrete": {},
    "KDPM2Discrete": {},
    "KarrasVe": {},
    "LMSDiscrete": {},
    "LTXEulerAncestralRF": {},
    "MiniMaxH3": {"shift": 3.0},
    "PNDM": {},
    "RFD4Proteina": PROTEINA,
    "SASolver": {},
    "ScoreSdeVe": {"correct_steps": 0},
    "ScoreSdeVp": {},
    "UnCLIP": CLIP,
    "UniPCMultistep": {},
    # the data that it was made for are scaled to a standard deviation of 1, and its last level is .3
    "CosineDPMSolverMultistep": {"sigma_min": 0.02},
}
EXACT = {
    "CMStochasticIterative": ({"clip_denoised": False}, (1, 5, 20), lambda one: (1.0, one.config.sigma_min)),
    "ConsistencyDecoder": ({}, (2,), lambda one: (1.0, 0.0)),
    "FlowMapEulerDiscrete": ({}, (1, 7), lambda one: (1.0, 0.0)),
    "FlowMatchLCM": ({}, (1, 7), lambda one: (1.0, 0.0)),
    "HeliosDMD": ({"stages": 1}, (1,), lambda one: (1.0, 0.0)),
    "LCM": ({}, (1, 7, 25), lambda one: (1.0, 0.0)),
    "SCM": ({}, (1, 2, 7), lambda one: (1.0, 0.0)),
    "TCD": (
        {"eta": 0.5},
        (1, 7, 25),
        lambda one: (float(one.alphas_cumprod[0]) ** 0.5, float(1 - one.alphas_cumprod[0]) ** 0.5),
    ),
}
REFUSED = {
    "Amused": "tokens",
    "BlockRefinement": "tokens",
    "DiscreteDDIM": "tokens",
    "EntropyBound": "tokens",
    "VQDiffusion": "tokens",
    "DDIMInverse": "from image to noise",
    "DPMSolverMultistepInverse": "from image to noise",
    "RePaint": "mask",
}
POLICY = {"Piflow"}  # its own test: exact but for its policy's substeps


def exported():
    return sorted(name for name in dir(diffusers.schedulers) if name.endswith("Scheduler"))


def get(name):
    """Return a class of diffusers; a few are exported under a name that cannot be loaded."""
    try:
        return getattr(diffusers.schedulers, f"{name}Scheduler")
    except AttributeError:
        from diffusers.schedulers.deprecated import scheduling_sde_vp

        return getattr(scheduling_sde_vp, f"{name}Scheduler")


def responses(name, num_steps, start="exact", **options):
    adapter = name if isinstance(name, Adapter) else get_adapter(get(name), **options)
    return respond(adapter, num_steps, VARIANCE, start)


@pytest.mark.parametrize("name", exported())
def test_every_exported_scheduler_runs_or_is_refused(name):
    short = name.removesuffix("Scheduler")
    if short in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[short]):
            get_adapter(get(short))
    elif short in EXACT:
        options, steps, end = EXACT[short]
        alpha, sigma = end(get_adapter(get(short), **options)._fresh())
        for n in steps:
            found = responses(short, n, **options)
            assert found.offset == pytest.approx(alpha, abs=1e-5)
            assert found.std == pytest.approx(np.sqrt(alpha**2 * VARIANCE + sigma**2), abs=1e-5)
            assert found.calls == n
    elif short in CONVERGES:
        few, many = oracle(get(short), LAW, steps=(10, 40), convergence=False, **CONVERGES[short]).rows
        assert many.distance < few.distance / 2
        assert few.calls >= 9
    else:
        assert short in POLICY, (
            f"diffusers {diffusers.__version__} has a scheduler without a decision: {name}. Add its convention to "
            "oracle/adapters/diffusers.py, or refuse it there, and a line to the tables of this file"
        )


def test_the_tables_name_every_convention_once():
    names = [*CONVERGES, *EXACT, *REFUSED, *POLICY]
    assert len(names) == len(set(names))
    assert set(names) == CONVENTIONS.keys() | {name.removesuffix("Scheduler") for name in REFUSALS}


# ------------------------------------------------------------------------------------------------- identities


class OnLevels(Adapter):
    """One of our samplers on levels that are given."""

    def __init__(self, sampler, levels):
        self.sampler, self.levels, self.name = sampler, levels, str(sampler)

    def start(self, num_steps):
        return Start(*self.levels[0], 1.0)

    def run(self, num_steps, x, denoise, noise):
        alphas, sigmas = np.array(self.levels).T

        def schedule(i):
            return alphas[np.rint(i).astype(int)], sigmas[np.rint(i).astype(int)]

        def add_noise(x, tau):
            return x + tau * noise.fresh()

        *_, end = self.sampler(denoise, x, schedule, np.arange(len(alphas)), add_noise)
        return end


def levels_of(scheduler, n, kind):
    scheduler.set_timesteps(n)
    if kind == "time":
        kept = scheduler.alphas_cumprod.double().numpy()[scheduler.timesteps.numpy()]
        return [*zip(np.sqrt(kept), np.sqrt(1 - kept), strict=True), (1.0, 0.0)]
    sigma = scheduler.sigmas.double().numpy()
    if kind == "flow":
        return list(zip(1 - sigma, sigma, strict=True))
    return [(1 / np.sqrt(1 + s**2), s / np.sqrt(1 + s**2)) for s in sigma]


@pytest.mark.parametrize(
    ("name", "options", "kind", "sampler"),
    [
        ("DDIM", CLIP | {"timestep_spacing": "trailing"}, "time", samplers.ddim()),
        ("DDIM", CLIP | {"timestep_spacing": "trailing", "eta": 0.7}, "time", samplers.ddim(eta=0.7)),
        ("DDIMParallel", CLIP | {"timestep_spacing": "trailing"}, "time", samplers.ddim()),
        ("DDPM", CLIP | {"timestep_spacing": "trailing"}, "time", samplers.ddpm()),
        ("CogVideoXDDIM", {"timestep_spacing": "trailing"}, "time", samplers.ddim()),
        ("EulerDiscrete", {"level": "sigma"}, "sigma", samplers.ddim()),
        ("EulerDiscrete", {"level": "sigma", "use_karras_sigmas": True}, "sigma", samplers.ddim()),
        ("DPMSolverMultistep", {"level": "sigma", "solver_order": 1}, "sigma", samplers.ddim()),
        ("DPMSolverMultistep", {"level": "sigma"}, "sigma", samplers.dpmpp_2m()),
        ("FlowMatchEulerDiscrete", {}, "flow", samplers.ddim()),
        ("FlowMatchEulerDiscrete", {"shift": 3.0}, "flow", samplers.ddim()),
        ("MiniMaxH3", {}, "flow", samplers.ddim()),
        ("LTXEulerAncestralRF", {"eta": 0.0}, "flow", samplers.ddim()),
        ("FlowMapEulerDiscrete", {"network": "diffusion"}, "flow", samplers.ddim()),
    ],
    ids=str,
)
def test_a_scheduler_is_our_sampler_on_the_same_levels(name, options, kind, sampler):
    """Their float32 levels leave rounding of 1e-6 and less."""
    theirs = responses(name, 20, **options)
    fresh = get_adapter(get(name), **options)._fresh()
    ours = responses(OnLevels(sampler, levels_of(fresh, 20, kind)), 20)
    assert theirs.offset == pytest.approx(ours.offset, abs=2e-6)
    assert theirs.std == pytest.approx(ours.std, abs=2e-6)
    other = responses(OnLevels(sampler, levels_of(fresh, 21, kind)), 21)
    assert np.abs(theirs.std - other.std).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "kinds"),
    [
        ("DDIM", CLIP, ["epsilon", "sample", "v_prediction"]),
        ("DDPM", CLIP, ["epsilon", "sample", "v_prediction"]),
        ("EulerDiscrete", {}, ["epsilon", "sample", "v_prediction"]),
        ("HeunDiscrete", {}, ["epsilon", "sample", "v_prediction"]),
        ("UniPCMultistep", {}, ["epsilon", "sample", "v_prediction"]),
        ("LCM", {}, ["epsilon", "sample", "v_prediction"]),
        ("TCD", {}, ["epsilon", "sample", "v_prediction"]),
        ("EDMEuler", {}, ["epsilon", "v_prediction"]),
        ("DPMSolverMultistep", {"use_flow_sigmas": True}, ["sample", "flow_prediction"]),
    ],
    ids=str,
)
def test_what_a_network_predicts_does_not_matter(name, options, kinds):
    options = {
        "level": "time" if name in ("DDIM", "DDPM", "LCM", "TCD") else "sigma"
    } | options  # they hold no sigmas
    first, *rest = (responses(name, 9, **(options | {"prediction_type": kind})) for kind in kinds)
    for one in rest:
        assert one.std == pytest.approx(first.std, abs=1e-5)
        assert one.offset == pytest.approx(first.offset, abs=1e-5)


def test_the_flow_of_piflow_is_exact_up_to_its_substeps():
    """Its policy is integrated by Euler's method: ten times the substeps leave a tenth of the error."""
    near, far = (
        oracle(get("Piflow"), LAW, steps=(2,), convergence=False, num_policy_substeps=n, n_grid=40).rows[0].distance
        for n in (1000, 100)
    )
    assert 6 < far / near < 14


def test_level_sigma_tells_what_the_scheduler_holds():
    """Flow timesteps of DPMSolverMultistep are cut to integers, which only the level by time feels."""
    options = FLOW | {"solver_order": 1}
    levels = levels_of(get_adapter(get("DPMSolverMultistep"), **options)._fresh(), 20, "flow")
    ours = responses(OnLevels(samplers.ddim(), levels), 20).std
    assert responses("DPMSolverMultistep", 20, level="sigma", **options).std == pytest.approx(ours, abs=2e-6)
    assert np.abs(responses("DPMSolverMultistep", 20, level="time", **options).std - ours).max() > 1e-4


def test_under_a_mixture_schedulers_are_judged_by_draws_and_may_clip():
    law = Mixture([0.5, 0.5], [Gaussian(np.array([x, 0.3]), np.diag([0.04, 0.01])) for x in (-1.0, 1.0)])
    for name, options in (("DDIM", {}), ("DPMSolverMultistep", {}), ("EDMEuler", {})):
        few, many = oracle(get(name), law, steps=(4, 40), **options).rows
        assert many.distance < few.distance / 2
    for name in ("LCM", "SCM", "FlowMatchLCM"):
        (row,) = oracle(get(name), law, steps=(2,)).rows
        assert abs(row.distance) < 4 * row.standard_error
    (row,) = oracle(get("LCM"), law, steps=(1,), network="diffusion").rows
    assert row.distance > 4 * row.standard_error


def test_a_start_from_noise_has_the_noise_of_the_pipeline():
    found = responses("EulerDiscrete", 10, start="noise")
    assert found.start.noise_std == pytest.approx(found.start.sigma)
    assert found.start.sigma > 10
    assert responses("KarrasVe", 10).start.noise_std == 100 < responses("KarrasVe", 10).start.sigma


# ------------------------------------------------------------------------------------------------ options, refusals


def test_what_is_not_affine_is_named():
    with pytest.raises(NotAffineError, match="clip_sample=True"):
        oracle(get("DDIM"), LAW, steps=(5,), convergence=False)
    with pytest.raises(NotAffineError, match="thresholding=True"):
        oracle(get("DPMSolverMultistep"), LAW, steps=(5,), convergence=False, thresholding=True)
    with pytest.raises(NotAffineError, match="clip_sample=True, thresholding=True"):
        oracle(get("LCM"), LAW, steps=(1,), convergence=False, thresholding=True, clip_sample=True)
    with pytest.raises(NotAffineError, match="correct_steps=1"):
        oracle(get("ScoreSdeVe"), LAW, steps=(5,), convergence=False)
    with pytest.raises(NotAffineError, match="clip_denoised=True"):
        oracle(get("CMStochasticIterative"), LAW, steps=(5,), convergence=False)


@pytest.mark.parametrize("kind", ["learned", "learned_range"])
def test_a_variance_of_the_network_is_refused(kind):
    with pytest.raises(ValueError, match=f"variance_type='{kind}'"):
        get_adapter(get("DDPM"), variance_type=kind)


def test_changes_of_resolution_are_refused():
    with pytest.raises(ValueError, match="stages=3"):
        get_adapter(get("Helios"))
    with pytest.raises(ValueError, match="scale_factors"):
        get_adapter(get("FlowMatchLCM"), scale_factors=[0.5], upscale_mode="bicubic")


def test_an_unknown_scheduler_and_an_unknown_option_are_errors():
    class Strange(diffusers.SchedulerMixin):
        pass

    with pytest.raises(ValueError, match=r"Strange is not known to the oracle.*Adapter"):
        get_adapter(Strange)
    with pytest.raises(TypeError, match="DDIMScheduler has no option 'spacing'"):
        get_adapter(get("DDIM"), spacing="trailing")
    with pytest.raises(ValueError, match="KarrasVeScheduler takes the ordinary network"):
        get_adapter(get("KarrasVe"), network="consistency")
    with pytest.raises(ValueError, match='level must be "time" or "sigma"'):
        get_adapter(get("DDIM"), level="alpha")


def test_options_reach_the_configuration_the_grid_and_the_step():
    one = get("DDIM")(timestep_spacing="trailing")
    changed = responses(get_adapter(one, clip_sample=False, eta=1.0), 10)
    assert changed.std == pytest.approx(responses("DDPM", 10, timestep_spacing="trailing", **CLIP).std, abs=1e-6)
    assert responses("LCM", 80, original_inference_steps=100).calls == 80
    grid = np.geomspace(80, 0.1, 6).tolist()
    given = responses("EulerDiscrete", 6, sigmas=lambda n: [*grid[:n], 0.0], level="sigma")
    levels = [(1 / np.sqrt(1 + s**2), s / np.sqrt(1 + s**2)) for s in [*grid, 0.0]]
    assert given.std == pytest.approx(responses(OnLevels(samplers.ddim(), levels), 6).std, abs=2e-6)
    first, fourth = (
        oracle(get("LMSDiscrete"), LAW, steps=(20,), convergence=False, order=k).rows[0].distance for k in (1, 4)
    )
    assert fourth < first / 2
    name = get_adapter(one, clip_sample=False, eta=1.0).name
    assert name == "DDIMScheduler(clip_sample=False, timestep_spacing='trailing', eta=1.0)"


def test_objects_classes_and_factories_are_the_same_and_stay_unchanged():
    one = get("PNDM")(skip_prk_steps=True)
    one.set_timesteps(3)
    before = {name: repr(value) for name, value in vars(one).items()}
    first = oracle(one, LAW, convergence=False)
    assert {name: repr(value) for name, value in vars(one).items()} == before
    again = oracle(one, LAW, convergence=False)
    by_class = oracle(get("PNDM"), LAW, convergence=False, skip_prk_steps=True)
    by_factory = oracle(lambda: get("PNDM")(skip_prk_steps=True), LAW, convergence=False)
    for other in (again, by_class, by_factory):
        assert [row.distance for row in other.rows] == [row.distance for row in first.rows]
    shifted = get("FlowMatchEulerDiscrete")()
    shifted.set_shift(3.0)
    ours = responses(OnLevels(samplers.ddim(), levels_of(shifted, 10, "flow")), 10)
    assert responses(get_adapter(shifted), 10).std == pytest.approx(ours.std, abs=2e-6)


def test_other_threads_draw_as_before():
    """A run answers torch.randn with impulses, on its own thread only."""
    stop, spreads = threading.Event(), []

    def draw():
        while not stop.is_set():
            spreads.append(float(torch.randn(1000, dtype=torch.float64).std()))

    thread = threading.Thread(target=draw)
    thread.start()
    for _ in range(2):
        oracle(get("DDPM"), LAW, convergence=False, **CLIP)
    stop.set()
    thread.join()
    assert len(spreads) > 20
    assert 0.85 < min(spreads) <= max(spreads) < 1.15
    assert float(torch.randn(1000).std()) > 0.85


@pytest.mark.parametrize("name", ["DPMSolverMultistep", "DDPM", "UniPCMultistep", "KDPM2Discrete"])
def test_five_numbers_of_steps_in_144_dimensions_take_less_than_three_seconds(name):
    law = Gaussian.diagonal(np.ones(144), 0.95 ** np.arange(144))
    began = time.process_time()
    oracle(get(name), law, convergence=False, **CLIP if name == "DDPM" else {})
    assert time.process_time() - began < 3


# ------------------------------------------------------------------------------------------------- draws

N_DRAWS = 20_000
DRAWN = {
    "DDPM": CLIP,
    "DDIM": CLIP | {"eta": 1.0},
    "EulerAncestralDiscrete": {},
    "KDPM2AncestralDiscrete": {},
    "DPMSolverMultistep": {"algorithm_type": "sde-dpmsolver++"},
    "DPMSolverSDE": {},
    "CosineDPMSolverMultistep": {},
    "SASolver": {},
    "CogVideoXDPM": {},
    "LCM": {"network": "diffusion"},
    "LTXEulerAncestralRF": {},
    "ScoreSdeVe": {"correct_steps": 0},
}
SPREAD = np.append(0.0, np.geomspace(0.01, 4, 20))


def law_of(name, num_steps, **options):
    return respond(get_adapter(get(name), **options), num_steps, SPREAD, "exact")


def scores(x, found):
    """Return the z-scores of the variances of draws under a law; the first direction may have none."""
    kept = slice(1, None)
    return (x.var(axis=0)[kept] / found.std[kept] ** 2 - 1) / np.sqrt(2 / len(x))


def draws_of(name, num_steps, seed, **options):
    rng = np.random.default_rng(seed)
    adapter = get_adapter(get(name), **options)
    level, shape = adapter.start(num_steps), (N_DRAWS, len(SPREAD))
    x = level.alpha + np.sqrt(level.alpha**2 * SPREAD + level.sigma**2) * rng.normal(size=shape)
    return adapter.run(num_steps, x, PrincipalDenoiser(SPREAD, np.ones(shape[0])), Draws(rng, shape))


def rms(z):
    return float(np.sqrt(np.mean(np.square(z))))


def test_draws_have_the_law_that_responses_say():
    """Pooled over schedulers and directions; the control has the law of one step more."""
    found, control = [], []
    for seed, (name, options) in enumerate(DRAWN.items()):
        x = draws_of(name, 4, seed, **options)
        z = scores(x, law_of(name, 4, **options))
        assert rms(z) < 1.5, name
        found.append(z)
        control.append(scores(x, law_of(name, 5, **options)))
    assert 0.9 < rms(np.concatenate(found)) < 1.1
    assert min(rms(z) for z in control) > 2


def test_draws_tell_noise_that_is_a_twentieth_less():
    x = draws_of("DDIM", 5, 100, eta=1.0, **CLIP)
    assert 0.7 < rms(scores(x, law_of("DDIM", 5, eta=1.0, **CLIP))) < 1.3
    assert rms(scores(x, law_of("DDIM", 5, eta=0.95, **CLIP))) > 2


@pytest.mark.parametrize("name", ["DDPM", "EulerAncestralDiscrete"])
def test_the_plain_loop_of_diffusers_draws_the_same_law(name):
    """Without the adapter: the scheduler's own generator, and a network written out here."""
    one = get(name)(**CLIP) if name == "DDPM" else get(name)()
    one.set_timesteps(5)
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor(SPREAD)
    kept = float(one.alphas_cumprod[int(one.timesteps[0])])
    noise = torch.randn(N_DRAWS, 1, 1, len(SPREAD), generator=generator, dtype=torch.float64)
    x = kept**0.5 + (kept * spread + 1 - kept).sqrt() * noise
    if name != "DDPM":
        x = x / kept**0.5
    for t in one.timesteps:
        seen = one.scale_model_input(x, t)
        low = int(t)
        ends = one.alphas_cumprod[low : low + 2].double()
        ratio = ((1 - ends) / ends).sqrt().log()
        ratio = ratio[0] + (float(t) - low) * (ratio[1] - ratio[0]) if float(t) > low else ratio[0]
        kept = float(1 / (1 + (2 * ratio).exp()))
        clean = 1 + kept**0.5 * spread / (kept * spread + 1 - kept) * (seen - kept**0.5)
        x = one.step((seen - kept**0.5 * clean) / (1 - kept) ** 0.5, t, x, generator=generator).prev_sample
    z = scores(x.reshape(N_DRAWS, -1).numpy(), law_of(name, 5, **(CLIP if name == "DDPM" else {})))
    assert 0.7 < rms(z) < 1.3
    assert rms(scores(x.reshape(N_DRAWS, -1).numpy(), law_of(name, 6, **(CLIP if name == "DDPM" else {})))) > 2


# ------------------------------------------------------------------------------------------------- the catches

CATCHES = Path(__file__).parents[1] / "docs" / "research" / "catches.md"
SECTIONS = re.split(r"^## ", CATCHES.read_text(), flags=re.MULTILINE)[1:] if CATCHES.exists() else []
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?|nan")


@pytest.mark.skipif(diffusers.__version__ != "0.42.1", reason="docs/research/catches.md is about diffusers 0.42.1")
@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.partition("\n")[0])
def test_a_catch_prints_what_its_page_says(section, capsys):
    """Words as they stand, and numbers to two units of their last digit."""
    space = {"__name__": "catches"}
    blocks = re.findall(r"^```(python|text)\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text", "python", "text"]  # the fault, and its mend
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(CATCHES), "exec"), space)
            continue
        found = capsys.readouterr().out
        assert NUMBER.sub("#", found) == NUMBER.sub("#", text)
        for a, b in zip(NUMBER.findall(found), NUMBER.findall(text), strict=True):
            mantissa, _, exponent = b.partition("e")
            unit = 10.0 ** (-len(mantissa.partition(".")[2]) + int(exponent or 0)) if b != "nan" else 0.0
            assert float(a) == pytest.approx(float(b), abs=2 * unit, nan_ok=True)
