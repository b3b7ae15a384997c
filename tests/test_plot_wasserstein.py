"""`plot.wasserstein` draws the distances of the laws; its legend has the orders of convergence of the samplers.

The second way to the distances of ddim is the recurrence of its gains, one per principal direction.
"""

import copy
from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import make_moons

from lineardiffusion import LinearDiffusion, plot, samplers
from lineardiffusion.diffusion.samplers import velocity
from lineardiffusion.schedules import Cosine


@pytest.fixture(scope="module")
def moons():
    """Fit one Gaussian per moon: 2-D points."""
    points, which = make_moons(400, noise=0.1, random_state=0)
    return LinearDiffusion(2, shrinkage=0).fit(["upper" if one == 0 else "lower" for one in which], points)


@pytest.fixture(scope="module")
def pictures(tiny):
    return LinearDiffusion(5).fit(*tiny)


def lines(figure):
    """The points of each line, under its label."""
    return {line.get_label(): np.transpose(line.get_data()) for line in figure.axes[0].lines}


def ddim_by_hand(variance, mean, n):
    """W2 between the law of ddim and the data's law N(mean, diag(variance)), over the latter's spread."""
    gain, offset = np.ones_like(variance), np.zeros_like(mean)
    for (a, s), (a_, s_) in pairwise(np.transpose(Cosine()(Cosine().times(n)))):
        f = s_ / s + (a_ - s_ / s * a) * a * variance / (a**2 * variance + s**2)
        gain, offset = f * gain, f * (offset - a * mean) + a_ * mean
    return np.sqrt(((np.abs(gain) - np.sqrt(variance)) ** 2 + (offset - mean) ** 2).sum() / variance.sum())


def test_the_points_are_the_distances_of_ddim_by_hand(moons):
    law = moons.law("upper")
    variance, basis = np.linalg.eigh(law.covariance)
    (points,) = lines(plot.wasserstein(moons, "upper", ["ddim"], [10, 3, 3, 1])).values()
    expected = [ddim_by_hand(variance, basis.T @ law.mean, n) for n in (1, 3, 10)]
    np.testing.assert_allclose(points, np.transpose([(1, 3, 10), expected]), rtol=1e-7)
    other = [ddim_by_hand(1.5 * variance, basis.T @ law.mean, n) for n in (1, 3, 10)]  # control
    assert not np.allclose(points[:, 1], other, rtol=1e-2)


def test_the_points_are_the_distances_of_the_laws_of_pictures_under_guidance(pictures):
    how = {"guidance_scale": 2.0}
    exact = pictures.law("up", sampler="exact", start="marginal", **how)
    drawn = lines(plot.wasserstein(pictures, "up", [samplers.ddim(7, eta=0.5), "heun"], [2, 8], **how))
    assert [label.rsplit(",", 1)[0] for label in drawn] == ["ddim, eta=0.5", "heun"]
    for make, points in zip((lambda n: samplers.ddim(n, eta=0.5), samplers.heun), drawn.values(), strict=True):
        laws = [pictures.law("up", sampler=make(n), **how) for n in (2, 8)]
        expected = [law.wasserstein(exact) / np.trace(exact.covariance) ** 0.5 for law in laws]
        np.testing.assert_allclose(points[:, 1], expected, rtol=1e-6)


def lopsided_heun(denoise, x, schedule, times, add_noise):
    """Heun's method with the weights 0.4 and 0.6 in place of halves, which is of first order."""
    for t, t_ in pairwise(times.tolist()):
        v = velocity(denoise, x, schedule, t)
        if schedule(t_)[1] > 0.0:
            v = 0.4 * v + 0.6 * velocity(denoise, x + (t_ - t) * v, schedule, t_)
        x = x + (t_ - t) * v
        yield x


def orders(figure):
    return {label.split(",")[0]: float(label.split("order ")[1]) for label in lines(figure)}


def test_the_legend_has_the_orders_of_the_samplers(moons):
    found = orders(plot.wasserstein(moons, "lower", ["ddim", "ddpm", "heun", lopsided_heun], [100, 200, 400]))
    assert found["ddim"] == pytest.approx(1, abs=0.1)
    assert found["ddpm"] == pytest.approx(1, abs=0.1)
    assert found["heun"] == pytest.approx(2, abs=0.1)
    assert found["lopsided_heun"] == pytest.approx(1, abs=0.2)  # control: its weights cost an order


def test_a_schedule_that_stops_short_of_noise_has_a_floor_and_an_exact_sampler_has_no_line(moons):
    short = copy.copy(moons).refit(schedule="vp")
    assert orders(plot.wasserstein(short, "lower", ["exact", "heun"], [100, 200])) == {"exact": 0.0, "heun": 0.0}
    assert lines(plot.wasserstein(moons, "lower", ["exact"], [1, 2])) == {}


def test_styles_are_a_mixture(tiny):
    ld = LinearDiffusion(5, n_styles=2, style_rank=1.0).fit(*tiny)
    (points,) = lines(plot.wasserstein(ld, "up", ["ddim"], [4])).values()
    exact = ld.law("up", sampler="exact")
    expected = ld.law("up", sampler="ddim", num_steps=4).wasserstein(exact) / np.trace(exact.covariance) ** 0.5
    assert points[0, 1] == pytest.approx(expected, rel=1e-6)


def test_bad_input(moons):
    with pytest.raises(TypeError, match="samplers is the string 'ddim'"):
        plot.wasserstein(moons, "upper", "ddim")
    with pytest.raises(TypeError, match="num_steps is 5"):
        plot.wasserstein(moons, "upper", num_steps=5)
    with pytest.raises(ValueError, match="num_steps is empty"):
        plot.wasserstein(moons, "upper", num_steps=[])
