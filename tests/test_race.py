"""The race of benchmarks/race.py: its objective, its sampling and its averages, against closed forms."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import sqrtm

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")
pytestmark = pytest.mark.torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import race  # noqa: E402

MEANS = np.array([[0.5, -1.0, 0.0, 1.0], [-0.5, 1.0, 2.0, 0.0]])
ROOTS = np.array([np.diag([0.3, 0.8, 1.0, 1.2]), 0.3 * np.eye(4) + 0.2])  # of the covariances


class ExactNetwork:
    """The velocities of two Gaussian classes, in place of a U-Net: v = (alpha x - D) / sigma."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, x, t, labels):
        v = np.empty((len(x), 4))
        for i, (row, angle, k) in enumerate(
            zip(x.reshape(-1, 4).numpy(), t.numpy() * np.pi / 2, labels, strict=True)
        ):
            alpha, sigma, C = np.cos(angle), np.sin(angle), ROOTS[k] @ ROOTS[k]
            gain = alpha * C @ np.linalg.inv(alpha**2 * C + sigma**2 * np.eye(4))
            v[i] = (alpha * row - MEANS[k] - gain @ (row - alpha * MEANS[k])) / sigma
        return self.factor * torch.from_numpy(v).reshape(x.shape)


def test_draws_converge_to_the_solution_of_the_flow():
    """From pure noise n the flow of N(m, C) ends at m + C^(1/2) n; dpm++2m gets there with order two."""
    noise, labels = np.random.default_rng(0).normal(size=(40, 1, 2, 2)), torch.arange(40) % 2

    def error(num_steps, labels_of_law):
        drawn = race.draw(ExactNetwork(), labels, torch.from_numpy(noise), num_steps).reshape(40, 4).numpy()
        exact = [
            MEANS[k] + sqrtm(ROOTS[k] @ ROOTS[k]) @ n
            for k, n in zip(labels_of_law, noise.reshape(-1, 4), strict=True)
        ]
        return np.abs(drawn - exact).max()

    few, many = error(10, labels), error(160, labels)
    assert many < 0.002
    assert few / many > 40  # 16^2 but for factors of log n; 16 if the order were one
    assert error(160, 1 - labels) > 1  # a law of the other class is noticed


def test_the_loss_of_the_exact_denoiser_is_the_mean_root_of_the_eigenvalues():
    """|v - v*|^2 has the mean l / (alpha^2 l + sigma^2) for an eigenvalue l, and its mean over t is sqrt(l)."""
    rng, n = np.random.default_rng(0), 1000
    torch.manual_seed(0)
    exact = np.trace(ROOTS, axis1=1, axis2=2).mean() / 4

    def losses(factor):
        for _ in range(12):
            k = rng.integers(0, 2, n)
            z = MEANS[k] + np.einsum("nij,nj->ni", ROOTS[k], rng.normal(size=(n, 4)))
            images = torch.from_numpy(z).reshape(n, 1, 2, 2)
            yield float(race.velocity_loss(ExactNetwork(factor), images, torch.from_numpy(k)))

    def deviation(values):
        return abs(np.mean(values) - exact) / (np.std(values, ddof=1) / np.sqrt(len(values)))

    assert deviation(list(losses(1.0))) < 3.5
    assert deviation(list(losses(0.5))) > 15  # a wrong velocity costs more


def test_the_average_gives_each_step_the_share_of_a_power():
    """Step i of n has the share (i^(g+1) - (i-1)^(g+1)) / n^(g+1); their standard deviation is a tenth of n."""
    n, power = 400, race.GAMMA + 1
    values = np.random.default_rng(0).normal(size=n)
    average = [torch.zeros(1, dtype=torch.float64)]
    for step, value in enumerate(values, start=1):
        race.follow(average, [torch.tensor([value])], step)
    shares = np.diff(np.arange(n + 1.0) ** power) / n**power
    assert float(average[0]) == pytest.approx(shares @ values, rel=1e-9)
    steps = np.arange(n) / n
    assert np.sqrt(shares @ steps**2 - (shares @ steps) ** 2) == pytest.approx(0.1, rel=0.01)


def test_training_learns_what_the_labels_show(monkeypatch):
    """Two classes, bright on the left and on the right: the U-Net draws each after some steps, and none before."""
    monkeypatch.setitem(race.CHANNELS, "cpu", (8, 16))
    monkeypatch.setitem(race.BATCH, "cpu", 16)
    torch.set_num_threads(1)
    labels = np.arange(200) % 2
    images = np.random.default_rng(0).integers(0, 80, (200, 28, 28)).astype(np.uint8)
    for k, half in enumerate((slice(0, 14), slice(14, 28))):
        images[labels == k, :, half] += 150
    clock = itertools.count().__next__  # a second a step
    training = race.Training(labels, images, torch.device("cpu"), clock)
    asked = np.arange(10) % 2

    def contrast():
        drawn = training.draw(asked, 10)
        assert drawn.min() >= 0
        assert drawn.max() <= 255
        left = (drawn[:, :, :14] - drawn[:, :, 14:]).mean((1, 2))
        return np.where(asked == 0, left, -left).mean()  # 150 in the data

    assert abs(contrast()) < 20
    training.until(60)
    assert training.steps == pytest.approx(60, abs=3)
    assert contrast() > 100


def test_overtaking_is_where_the_curve_crosses_for_the_last_time():
    times = [1.0, 10.0, 100.0, 1000.0]
    assert race.overtaking(times, [0.1, 0.3, 0.5, 0.7], 0.4) == pytest.approx(10**1.5)  # half way in log time
    assert race.overtaking(times, [9, 5, 3, 1], 4, more=False) == pytest.approx(10**1.5)
    assert race.overtaking(times, [0.1, 0.5, 0.3, 0.5], 0.4) == pytest.approx(10**2.5)  # it had fallen behind again
    assert race.overtaking(times, [0.5, 0.6, 0.7, 0.8], 0.4) == 0.0
    assert race.overtaking(times, [0.5, 0.6, 0.7, 0.3], 0.4) is None
    assert race.overtaking(times, [0.4, 0.4, 0.4, 0.4], 0.4) is None  # a tie is no lead
