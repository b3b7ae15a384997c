"""The oracle: laws from impulses against composed maps and against draws, and what it says of broken samplers."""

import json
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest

from lineardiffusion import Gaussian, Mixture, samplers
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.samplers import SAMPLERS, get_sampler
from lineardiffusion.diffusion.schedules import Karras, get_schedule
from lineardiffusion.diffusion.trajectory import Trajectory, compose, simulate
from lineardiffusion.oracle import Adapter, NotAffineError, Start, oracle
from lineardiffusion.oracle.noise import Draws
from test_samplers import lopsided_heun

D = 5
VARIANCE = np.array([2.0, 1.0, 1.0, 0.25, 0.0])


def law(mean=1.0):
    """A law with a variance twice, a direction without variance, and axes that are not the coordinates'."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(D, D)))
    return Gaussian(mean * rng.normal(size=D), (basis * VARIANCE) @ basis.T)


def composed(sampler, schedule, of=None):
    """The law of a sampler from noise alone, by the composed map in the coordinates of x."""
    of = of or law()
    variance, basis = of.principal()
    denoiser = GaussianDenoiser(of.mean[None], variance[None], basis[None])
    return compose(denoiser, 1, of.dim, Trajectory(sampler, get_schedule(schedule)))


# ---------------------------------------------------------------- two roads to the law

STOCHASTIC = [samplers.ddim(6, eta=0.5), samplers.ddpm(6)]


@pytest.mark.parametrize("schedule", ["cosine", "vp", "karras", "flow"])
def test_the_law_of_impulses_is_that_of_the_composed_map(schedule):
    for sampler in [*STOCHASTIC, *(get_sampler(name, 6) for name in SAMPLERS)]:
        report = oracle(sampler, law(), steps=(6,), start="noise", convergence=False, schedule=schedule)
        x = composed(sampler, schedule)
        found = report.law(6)
        np.testing.assert_allclose(found.mean, x.offset[0], atol=1e-9)
        np.testing.assert_allclose(found.covariance, x.covariance[0], atol=1e-9)
        np.testing.assert_allclose(report.map(6)[0].T, x.matrix[0], atol=1e-9)
        row = report.rows[0]
        assert abs(row.distance - Gaussian(x.offset[0], x.covariance[0]).wasserstein(law())) < 1e-7
        assert abs(row.distance - math.hypot(row.mean_error, row.spread_error)) < 1e-12
        assert abs(row.mean_error - np.linalg.norm(x.offset[0] - law().mean)) < 1e-9


def test_an_exact_start_is_judged_by_the_sampler_alone():
    """The exact sampler has no error from its own marginal, and from noise alone that of the schedule's end."""
    exact = oracle("exact", law(), schedule="vp", convergence=False)
    assert max(row.distance for row in exact.rows) < 1e-12
    alpha, sigma = get_schedule("vp")(1.0)
    gain = np.sqrt(VARIANCE / (alpha**2 * VARIANCE + sigma**2))
    variance, basis = law().principal()
    lost = alpha * np.sqrt(variance / (alpha**2 * variance + sigma**2)) * (law().mean @ basis)
    noise = oracle("exact", law(), schedule="vp", start="noise", convergence=False).rows[0]
    assert abs(noise.mean_error - np.linalg.norm(lost)) < 1e-12
    assert abs(noise.spread_error - np.linalg.norm(gain * sigma - np.sqrt(VARIANCE))) < 1e-12


def z_scores(draws, covariance):
    """How far the variances of draws are from the stated ones, in standard errors."""
    variance = np.diag(covariance)
    return (draws.var(axis=0) / variance - 1) * np.sqrt(len(draws) / 2)


def test_stochastic_samplers_agree_with_draws():
    d, n = 200, 20_000
    wide = Gaussian(np.zeros(d), np.diag(np.linspace(0.1, 3.0, d)))
    variance = np.diag(wide.covariance)
    sampler = samplers.ddim(3, eta=0.8)
    denoiser = GaussianDenoiser(wide.mean[None], variance[None])
    rng = np.random.default_rng(0)

    class Shared:  # one generator for all draws, row by row
        def normal(self, size):
            return rng.normal(size=size)

    course = Trajectory(sampler, get_schedule("cosine"))
    *_, x = simulate(denoiser, rng.normal(size=(1, n, d)), course, [Shared()] * n)

    def rms(judged):
        found = oracle(judged, wide, steps=(3,), start="noise", convergence=False).law(3)
        return np.sqrt(np.mean(z_scores(x[0], found.covariance) ** 2))

    assert 0.9 < rms(sampler) < 1.1
    assert rms(samplers.ddim(3, eta=0.75)) > 1.5  # control


# ---------------------------------------------------------------- order, floor, warnings


def test_order_and_floor():
    regular = Gaussian(np.ones(3), np.diag([2.0, 1.0, 0.5]))
    first, second = oracle("ddim", regular), oracle("heun", regular)
    assert abs(first.order - 1) < 0.05
    assert abs(second.order - 2) < 0.1
    assert abs(oracle(lopsided_heun, regular).order - 1) < 0.15
    assert second.floor < 1e-2 * first.floor
    assert abs(oracle("rk4", regular).order - 4) < 0.2  # of differences that single precision would not tell
    assert not first.warnings
    assert [row.calls for row in second.rows] == [2 * n - 1 for n in (5, 10, 20, 50, 100)]


def half_way(denoise, x, schedule, times, add_noise):
    """ddim that leaves half of its last step out."""
    for i, (x_, last) in enumerate(_ddim(denoise, x, schedule, times)):
        yield 0.5 * (x_ + last) if i == len(times) - 2 else x_


def _ddim(denoise, x, schedule, times):
    for t, t_ in pairwise(times.tolist()):
        (alpha, sigma), (alpha_, sigma_) = schedule(t), schedule(t_)
        last, x0 = x, denoise(x, float(alpha), float(sigma))
        x = float(sigma_ / sigma) * x + float(alpha_ - sigma_ / sigma * alpha) * x0
        yield x, last


class Scripted(Adapter):
    """A sampler that ends at ``(1 + error(n)) x0`` of its start, without noise left."""

    name = "scripted"

    def __init__(self, error):
        self.error = error

    def start(self, num_steps):
        return Start(1.0, 2.0, 2.0)

    def run(self, num_steps, x, denoise, noise):
        return (1.0 + self.error(num_steps)) * denoise.flow(x, (1.0, 2.0), (1.0, 0.0))


def test_what_the_warnings_say():
    left = oracle(half_way, law(), steps=(20,), convergence=False)
    assert left.rows[0].noise_left == pytest.approx(0.5 * np.sin(np.pi / 40), abs=1e-9)
    assert "does not reach sigma 0" in left.warnings[0]

    bad = oracle(Scripted(lambda n: 0.05 if n % 20 else 0.01), law(), steps=(40, 50), convergence=False)
    assert bad.worse == ((40, 50),)
    assert "50 steps are worse than 40" in bad.warnings[0]
    assert not oracle(Scripted(lambda n: 1 / n), law(), steps=(40, 50), convergence=False).worse

    floor = oracle(Scripted(lambda n: 0.03 + 1 / n**2), law())
    assert "does not converge to the law" in floor.warnings[-1]
    assert abs(floor.order - 2) < 0.05  # of the convergence to its own limit
    assert not oracle(Scripted(lambda n: 1 / n**2), law()).warnings

    def fails(n):
        if n == 50:
            raise IndexError("index 50 is out of range")
        return math.nan if n == 10 else 1 / n

    broken = oracle(Scripted(fails), law(), convergence=False)
    assert oracle(Scripted(lambda n: fails(n) if n == 50 else n), law(), steps=(49, 50, 60)).worse == ((49, 60),)
    late = oracle(Scripted(lambda n: 1 / n if n < 500 else 1 / (n - 500)), law())
    assert late.warnings == ("500 steps: ZeroDivisionError: division by zero",)
    assert not late.floor_steps
    assert "50 steps: IndexError: index 50" in broken.warnings[0]
    assert broken.warnings[1] == "gives no number with 10 steps"
    assert broken.rows[3].error
    assert json.loads(json.dumps(broken.to_dict()))["rows"][1]["distance"] is None
    with pytest.raises(ValueError, match=r"fails for every number of steps; IndexError"):
        oracle(Scripted(fails), law(), steps=(50,))


# ---------------------------------------------------------------- what is not affine

FEW = [
    Gaussian(np.zeros(1), np.eye(1)),
    Gaussian(np.ones(5), np.eye(5)),
    Gaussian(np.zeros(2), np.diag([1.0, 0.5])),
]


def ddim_with(change):
    def sampler(denoise, x, schedule, times, add_noise):
        for t, t_ in pairwise(times.tolist()):
            (alpha, sigma), (alpha_, sigma_) = schedule(t), schedule(t_)
            x0 = change(denoise(x, float(alpha), float(sigma)))
            x = float(sigma_ / sigma) * x + float(alpha_ - sigma_ / sigma * alpha) * x0
            yield x

    return sampler


@pytest.mark.parametrize(
    "change",
    [
        lambda x0: np.clip(x0, -1.0, 1.0),
        lambda x0: np.clip(x0, -20.0, 20.0),
        lambda x0: x0 / np.maximum(1.0, np.quantile(np.abs(x0), 0.99, axis=-1, keepdims=True)),
        lambda x0: x0 + 0.1 * np.sin(x0),
        lambda x0: x0[..., ::-1],
        lambda x0: x0 - x0.mean(axis=-1, keepdims=True),
        lambda x0: np.maximum(x0, 0.0),
        lambda x0: np.maximum(x0, -1.0),
        np.abs,
    ],
    ids=[
        "clip",
        "wide clip",
        "threshold",
        "sine",
        "mixes directions",
        "subtracts the mean",
        "positive",
        "low",
        "size",
    ],
)
def test_what_is_not_affine_is_refused(change):
    """With few distinct variances too, where random signs may happen to be equal."""
    for one in (law(), law(0.0), *FEW):
        with pytest.raises(NotAffineError, match=r"not affine|adds a constant"):
            oracle(ddim_with(change), one, steps=(5,))


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [float, np.float32])
def test_what_is_affine_is_not_refused(dtype, scale):
    """In single precision too, at any scale; the mean is far from 1, at which a run might be."""
    small = Gaussian(3 * scale * law().mean, scale**2 * law().covariance)
    how = {"steps": (20,), "convergence": False, "schedule": Karras(100 * scale, 1e-3 * scale)}
    changed = oracle(ddim_with(lambda x0: (0.9 * x0).astype(dtype)), small, **how)
    plain, same = oracle("ddim", small, **how), oracle(ddim_with(lambda x0: x0.astype(dtype)), small, **how)
    assert changed.rows[0].distance > 2 * plain.rows[0].distance
    assert same.rows[0].distance == pytest.approx(plain.rows[0].distance, rel=1e-3)
    np.testing.assert_allclose(same.law(20).mean, plain.law(20).mean, atol=1e-5 * scale)


def ddpm_with(change):
    """ddpm whose noise is changed; `change` takes the state and the noise."""

    def sampler(denoise, x, schedule, times, add_noise):
        for x_, tau in _ddpm(denoise, x, schedule, times):
            x = x_ + tau * change(x_, add_noise(0 * x_, 1.0)) if tau else x_
            yield x

    def _ddpm(denoise, x, schedule, times):
        for t, t_ in pairwise(times.tolist()):
            (alpha, sigma), (alpha_, sigma_) = schedule(t), schedule(t_)
            kept = (alpha / alpha_ * sigma_ / sigma) ** 2
            direction, tau = float(sigma_ / sigma * np.sqrt(kept)), float(sigma_ * np.sqrt(1 - kept))
            yield direction * x + float(alpha_ - direction * alpha) * denoise(x, float(alpha), float(sigma)), tau
            x = x_of["now"]

    x_of = {}

    def followed(*args):
        for x in sampler(*args):
            x_of["now"] = x
            yield x

    def five(denoise, x, schedule, times, add_noise):
        yield from followed(denoise, x, schedule, times, add_noise)

    return five


@pytest.mark.parametrize(
    "change",
    [
        lambda x, n: n**2,
        lambda x, n: np.abs(n),
        lambda x, n: 0.3 * x * n,
        lambda x, n: np.clip(n, -0.5, 0.5),
        lambda x, n: n[..., ::-1],
    ],
    ids=["square", "size", "times the state", "clip", "mixes directions"],
)
def test_what_is_not_affine_in_the_noise_is_refused(change):
    for one in (law(), law(0.0), *FEW):
        for n in (2, 5):
            with pytest.raises(NotAffineError, match="not affine"):
                oracle(ddpm_with(change), one, steps=(n,), convergence=False)


def test_noise_that_is_only_scaled_is_not_refused():
    ours, same, less = (
        oracle(one, law(), steps=(5,), convergence=False).rows[0].distance
        for one in ("ddpm", ddpm_with(lambda x, n: n), ddpm_with(lambda x, n: 0.7 * n))
    )
    assert same == pytest.approx(ours)
    assert less > ours


def test_what_the_law_does_not_tell_is_refused():
    with pytest.raises(NotAffineError, match="adds a constant"):
        oracle(ddim_with(lambda x0: x0 + 0.1), law(), steps=(5,))
    with pytest.raises(NotAffineError, match="not affine"):  # a NaN is not taken for agreement
        oracle(ddim_with(lambda x0: np.where(np.abs(x0) > 50, np.nan, x0)), law(), steps=(5,))
    far = Gaussian(np.full(D, 1000.0), 1e-4 * np.eye(D))
    with pytest.raises(
        NotAffineError, match="not affine"
    ):  # a clip that the spread does not reach and the mean does
        oracle(ddim_with(lambda x0: np.clip(x0, -20, 20)), far, steps=(5,))


def test_a_state_alone_must_come_out_as_beside_others():
    def hurries(denoise, x, schedule, times, add_noise):
        often = 4 if np.abs(x).max() > 50 else 1
        for state, _ in _ddim(denoise, x, schedule, times):
            for _ in range(often):
                denoise(state, 1.0, 1.0)
            yield state

    def draws_its_own(denoise, x, schedule, times, add_noise):
        for state, _ in _ddim(denoise, x, schedule, times):
            yield state + 1e-2 * np.random.default_rng().normal(size=state.shape)

    for sampler, what in ((hurries, "alone"), (draws_its_own, "noise of its own")):
        with pytest.raises(NotAffineError, match=what):
            oracle(sampler, law(), steps=(5,))


def test_the_refusal_names_the_option():
    class Clipping(Scripted):
        def __init__(self, clip=True, half=True):
            self.clip, self.half = clip, half

        def run(self, num_steps, x, denoise, noise):
            x = denoise.flow(x, (1.0, 2.0), (1.0, 0.0)) * (0.5 if self.half else 1.0)
            return np.clip(x, -1, 1) if self.clip else x

        def without(self):
            yield "half=True", Clipping(self.clip, False)
            yield "clip=True", Clipping(False, self.half)

    with pytest.raises(NotAffineError, match=r"scripted is not affine: clip=True\. .* without that option"):
        oracle(Clipping(), law())


# ---------------------------------------------------------------- Brownian motion


class Tree(Scripted):
    """Increments over intervals that overlap, nest and run backwards."""

    INTERVALS = ((0.0, 1.0), (0.5, 2.0), (2.0, 0.25), (0.5, 1.0), (-1.0, 0.0))
    WEIGHTS = (1.0, -2.0, 0.5, 3.0, 0.7)

    def __init__(self):
        pass

    def run(self, num_steps, x, denoise, noise):
        for (a, b), weight in zip(self.INTERVALS, self.WEIGHTS, strict=True):
            x = x + weight * noise.increment(a, b)
        return x + 0.3 * noise.fresh()


def test_increments_of_one_brownian_motion():
    """Var = int (sum_i w_i 1_i(t))^2 dt, by a fine grid, by impulses, and by draws of a bridge."""
    t = np.arange(-1, 2, 0.25) + 0.125
    held = sum(
        w * (np.sign(b - a) * ((t > min(a, b)) & (t < max(a, b))))
        for (a, b), w in zip(Tree.INTERVALS, Tree.WEIGHTS, strict=True)
    )
    expected = np.sum(held**2) * 0.25 + 0.09
    report = oracle(Tree(), law(0.0), steps=(1,), convergence=False, start="noise")
    added = np.diag(report.law(1).covariance - report.map(1)[0] @ report.map(1)[0].T)
    np.testing.assert_allclose(added, expected, rtol=1e-12)
    draws = Draws(np.random.default_rng(0), (400, 100))
    drawn = Tree().run(1, np.zeros(draws.shape), None, draws)
    assert abs(drawn.var() / expected - 1) < 4 * np.sqrt(2 / drawn.size)
    independent = sum(w**2 * abs(b - a) for (a, b), w in zip(Tree.INTERVALS, Tree.WEIGHTS, strict=True)) + 0.09
    assert abs(independent / expected - 1) > 0.2  # control: what independent increments would give


# ---------------------------------------------------------------- mixtures


def test_a_mixture_of_one_gaussian_has_the_gaussians_distance():
    """For one Gaussian and a map of positive gains the strong error is W2 itself."""
    one = law()
    exact = oracle("ddim", one, steps=(5, 20), convergence=False)
    drawn = oracle("ddim", Mixture([1.0], [one]), steps=(5, 20), n_draws=2000)
    assert drawn.measure.startswith("strong error")
    for a, b in zip(exact.rows, drawn.rows, strict=True):
        assert abs(a.distance - b.distance) < 4 * b.standard_error < 0.2 * a.distance
        assert a.calls == b.calls
    with pytest.raises(ValueError, match="no closed form"):
        drawn.law(5)


def test_mixtures_by_draws():
    two = Mixture([0.3, 0.7], [law(), Gaussian(np.full(D, 4.0), 0.2 * np.eye(D))])
    heun = oracle("heun", two, steps=(5, 10, 40), n_draws=64)
    assert heun.rows[0].distance > 2 * heun.rows[1].distance > 4 * heun.rows[2].distance
    ddpm = oracle("ddpm", two, steps=(3, 300), n_draws=1000)
    few, many = ddpm.rows
    assert ddpm.measure == "energy distance"
    assert few.distance > 4 * few.standard_error
    assert abs(many.distance) < 4 * many.standard_error
    assert oracle("ddpm", two, steps=(3,), n_draws=64, seed=1).rows[0].distance != few.distance
    shifted = oracle(ddim_with(lambda x0: x0 + 0.2), two, steps=(40,), n_draws=64)
    assert shifted.rows[0].distance > 10 * heun.rows[2].distance  # control
    assert oracle("ddpm", two, steps=(1, 3), n_draws=64).measure == "energy distance"  # one step adds no noise


def test_the_strong_error_is_a_bound_from_noise_alone_too():
    one, schedule = law(), Karras(sigma_max=2.0)
    how = {"steps": (10,), "start": "noise", "schedule": schedule}
    drawn = oracle("exact", Mixture([1.0], [one]), n_draws=2000, **how).rows[0]
    exact = oracle("exact", one, convergence=False, **how).rows[0]
    assert exact.distance > 0.5
    assert drawn.distance > exact.distance - 4 * drawn.standard_error


# ---------------------------------------------------------------- the report


def test_a_law_without_variance_and_a_start_near_the_data():
    point = oracle("ddim", Gaussian(np.full(3, 2.0), np.zeros((3, 3))), steps=5, convergence=False)
    assert point.rows[0].distance == pytest.approx(0, abs=1e-12)
    assert "which has no variance" in repr(point)
    near = oracle("ddim", law(), steps=(2, 4), schedule=Karras(sigma_max=0.5), convergence=False)
    assert "the first level with 2, 4 steps is near the data (alpha 1, sigma 0.5)" in near.warnings[0]
    assert oracle("ddim", law(), convergence=False).warnings == ()
    late = oracle(Scripted(lambda n: 0.1 * n), law(), steps=(1, 2), convergence=False)
    assert late.worse == ((1, 2),)
    handed = {"steps": (1, 2), "schedule": Karras(sigma_max=0.1), "convergence": False}
    assert oracle("ddim", law(), **handed).worse == ()  # both start near the data
    assert pickle.loads(pickle.dumps(point)).plot().axes[0].lines[:] == []  # nothing to draw on a logarithmic axis


def test_report_as_table_text_and_picture():
    report = oracle("heun", law(), steps=(20, 5))
    frame = report.to_frame()
    assert frame.index.tolist() == [5, 20]
    np.testing.assert_allclose(frame["relative"], frame["distance"] / np.sqrt(VARIANCE.sum()))
    loaded = pickle.loads(pickle.dumps(report))
    assert loaded.rows == report.rows
    with pytest.raises(ValueError, match="a pickle keeps none"):
        loaded.law(5)
    text = repr(report)
    assert f"{frame['relative'][20]:.3g}" in text
    assert f"order of convergence {report.order:.2f}" in text
    whole, mean, *_ = report.plot().axes[0].lines
    np.testing.assert_allclose(whole.get_xdata(), frame["calls"])
    np.testing.assert_allclose(whole.get_ydata(), frame["relative"])
    np.testing.assert_allclose(mean.get_ydata(), frame["mean_error"] / np.sqrt(VARIANCE.sum()))


def test_bad_input():
    for sampler in (3, lambda a, b: None, object()):
        with pytest.raises(TypeError, match="sampler must be"):
            oracle(sampler, law())
    with pytest.raises(ValueError, match="unknown sampler 'ddmi'"):
        oracle("ddmi", law())
    with pytest.raises(TypeError, match=r"unknown option 'eta'.*samplers\.ddim\(eta=0\.5\)"):
        oracle("ddim", law(), eta=0.5)
    with pytest.raises(TypeError, match="sampler must be"):
        oracle(int, law())
    with pytest.raises(TypeError, match="Gaussian or a Mixture"):
        oracle("ddim", np.zeros(3))
    with pytest.raises(ValueError, match="start must be"):
        oracle("ddim", law(), start="pure")
    with pytest.raises(ValueError, match="at least one"):
        oracle("ddim", law(), steps=())
    assert oracle(lambda: samplers.heun(), law(), convergence=False).sampler == "heun"
