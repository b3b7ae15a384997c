"""The regression denoiser, in several ways: one symbol a prompt, normal equations, drawn noise, solvers."""

import numpy as np
import pytest
import scipy.integrate
from sklearn.linear_model import LinearRegression

from lineardiffusion.diffusion import ode
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.ode import integrate
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments

D = 3
LEVELS = [(0.0, 1.0), (0.02, 1.0), (0.6, 0.8), (1.0, 80.0), (1.0, 0.3), (0.999, 0.02)]


def latents(seed, embeddings, d=D):
    """Latents whose mean and covariance both depend on the embedding, of variance about 1."""
    rng = np.random.default_rng(seed)
    n, k = embeddings.shape
    shift, mix = rng.normal(size=(k, d)), rng.normal(size=(k, d, d))
    z = embeddings @ shift + np.einsum("nd,nk,kde->ne", rng.normal(size=(n, d)), embeddings, mix)
    z += 0.3 * rng.normal(size=(n, d))
    return z / z.std()


def fitted(embeddings, z):
    joint = JointMoments.of(embeddings, z)
    return RegressionDenoiser.from_moments(joint.project(np.zeros(z.shape[1]), np.eye(z.shape[1])))


# ---------------------------------------------------------------- one symbol a prompt


@pytest.fixture
def both():
    """The same data as one-hot embeddings and as groups; prompts of unequal frequency."""
    groups = np.random.default_rng(0).choice(3, p=[0.6, 0.3, 0.1], size=150)
    z = latents(1, np.eye(3)[groups])
    return (fitted(np.eye(3)[groups], z).select(np.eye(3)), GaussianDenoiser.from_moments(Moments.of(z, groups, 3)))


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_onehot_embeddings_give_the_gaussian_denoiser(both, alpha, sigma):
    vectors, symbols = both
    x = np.random.default_rng(2).normal(size=(3, 4, D))
    np.testing.assert_allclose(vectors(x, alpha, sigma), symbols(x, alpha, sigma), atol=1e-9)
    start = Affine.identity(3, D)
    a, b = vectors(start, alpha, sigma), symbols(start, alpha, sigma)
    np.testing.assert_allclose(a.matrix, b.matrix, atol=1e-9)
    np.testing.assert_allclose(a.offset, b.offset, atol=1e-9)


def test_moments_of_prompts_and_of_rows_are_one_model():
    groups = np.arange(60) % 4
    words = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
    z = latents(3, words[groups])
    prompts = RegressionDenoiser.from_moments(JointMoments.of_prompts(words, Moments.of(z, groups, 4)))
    x = np.random.default_rng(4).normal(size=(4, 3, D))
    a, b = prompts.select(words)(x, 0.6, 0.8), fitted(words[groups], z).select(words)(x, 0.6, 0.8)
    np.testing.assert_allclose(a, b, atol=1e-12)


# ---------------------------------------------------------------- embeddings of any kind


def some_embeddings(kind, n=40):
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(n, 2))
    return {
        "two numbers": vectors,
        "shared words": rng.integers(0, 3, size=(n, 3)).astype(float),
        "collinear columns": np.column_stack([vectors, vectors.sum(axis=1)]),
        "constant column": np.column_stack([vectors, np.full(n, 3.0)]),
        "one prompt": np.ones((n, 2)),
    }[kind]


KINDS = ["two numbers", "shared words", "collinear columns", "constant column", "one prompt"]


def normal_equations(embeddings, z, alpha, sigma):
    """W of E[phi phi^T] W = E[phi z^T], phi = kron([1, e], [1, alpha z + sigma n]), image by image."""
    k, d = embeddings.shape[1], z.shape[1]
    left, right = 0.0, 0.0
    noise = np.diag([0.0] + [sigma**2] * d)
    for e, clean in zip(embeddings, z, strict=True):
        e1, z1 = np.append(1.0, e), np.append(1.0, alpha * clean)
        left = left + np.kron(np.outer(e1, e1), np.outer(z1, z1) + noise) / len(z)
        right = right + np.outer(np.kron(e1, z1), clean) / len(z)
    assert left.shape == ((k + 1) * (d + 1),) * 2
    return np.linalg.lstsq(left, right, rcond=1e-12)[0]


def answer(W, e, x):
    """kron([1, e], [1, x]) W for x (m, d)."""
    return np.stack([np.kron(np.append(1.0, e), np.append(1.0, row)) @ W for row in x])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_regression_solves_the_normal_equations(kind, alpha, sigma):
    embeddings = some_embeddings(kind)
    z = latents(6, embeddings)
    x = np.random.default_rng(7).normal(size=(5, 4, D))
    found = fitted(embeddings, z).select(embeddings[:5])(x, alpha, sigma)
    W = normal_equations(embeddings, z, alpha, sigma)
    for e, rows, guess in zip(embeddings[:5], x, found, strict=True):
        np.testing.assert_allclose(guess, answer(W, e, rows), rtol=1e-9, atol=1e-9)


def test_a_prompt_never_seen_is_answered_by_the_same_equations():
    seen = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    unseen = np.array([0.0, 1.0, 0.0, 1.0])  # each word known, the pair new
    embeddings = np.repeat(seen, 20, axis=0)
    z = latents(8, embeddings)
    x = np.random.default_rng(9).normal(size=(1, 4, D))
    found = fitted(embeddings, z).select(unseen[None])(x, 0.6, 0.8)[0]
    expected = answer(normal_equations(embeddings, z, 0.6, 0.8), unseen, x[0])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_regression_on_drawn_noise_has_the_closed_form_as_its_limit():
    embeddings = some_embeddings("shared words", n=60)
    z, (alpha, sigma) = latents(10, embeddings), (0.7, 0.6)
    probes = np.random.default_rng(11).normal(size=(5, 3, D))
    rng = np.random.default_rng(12)

    def features(e, x):
        e1, x1 = (np.column_stack([np.ones(len(a)), a]) for a in (e, x))
        return np.einsum("nk,nd->nkd", e1, x1).reshape(len(e), -1)

    def drawn(n_draws=150):
        e, clean = np.repeat(embeddings, n_draws, axis=0), np.repeat(z, n_draws, axis=0)
        noisy = alpha * clean + sigma * rng.normal(size=clean.shape)
        model = LinearRegression(fit_intercept=False).fit(features(e, noisy), clean)
        asked = np.repeat(embeddings[:5], 3, axis=0)
        return model.predict(features(asked, probes.reshape(-1, D))).reshape(probes.shape)

    repeats = np.stack([drawn() for _ in range(24)])
    standard_error = repeats.std(axis=0, ddof=1) / np.sqrt(len(repeats))
    denoiser = fitted(embeddings, z).select(embeddings[:5])

    def deviation(sigma):
        """Root mean square of (mean - closed form) / standard error: about 1 if they are equal."""
        t = (repeats.mean(axis=0) - denoiser(probes, alpha, sigma)) / standard_error
        return np.sqrt(np.mean(t**2))

    assert deviation(sigma) < 1.7
    assert deviation(1.05 * sigma) > 5.0  # control: a noise level 5 % off is found out


# ---------------------------------------------------------------- the probability flow


def flow_error(both, start, end):
    """Largest error of the numerical flow over the scale of what it should give."""
    vectors, symbols = both
    x = np.hypot(*start) * np.random.default_rng(13).normal(size=(3, 4, D))
    expected = symbols.flow(x, start, end)
    return np.abs(vectors.flow(x, start, end) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    ("start", "end"), [((1.0, 3.0), (1.0, 0.3)), ((0.2, 0.9), (0.8, 0.3)), ((1.0, 0.2), (1.0, 0.0))]
)
def test_numerical_flow_is_the_closed_form(both, start, end):
    assert flow_error(both, start, end) < 1e-7


@pytest.mark.parametrize("start", [(0.0, 1.0), (1.0, 80.0)])
def test_numerical_flow_out_of_pure_noise_is_the_closed_form(both, start):
    assert flow_error(both, start, (1.0, 0.0)) < 1e-7


def test_numerical_flow_towards_noise_is_the_closed_form(both):
    assert flow_error(both, (1.0, 0.1), (1.0, 1.0)) < 1e-7


def test_numerical_flow_from_pure_noise_to_almost_pure_noise(both):
    assert flow_error(both, (0.0, 1.0), (1e-5, 1.0)) < 1e-7


def test_numerical_flow_refines_until_it_no_longer_moves(both, monkeypatch):
    """The error falls with the tolerance, and at the one that is set it is gone."""
    errors = []
    for tolerance in (1e-4, 1e-6, ode.TOLERANCE):
        monkeypatch.setattr(ode, "TOLERANCE", tolerance)
        errors.append(flow_error(both, (1.0, 5.0), (1.0, 0.1)))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-7


def test_numerical_flow_of_shared_words_is_that_of_another_solver():
    """dx/dt = E[n - z | x] on the straight line (1 - t, t), the expectation from the normal equations."""
    embeddings = some_embeddings("shared words")
    z = latents(14, embeddings)
    e, x = embeddings[1], np.random.default_rng(15).normal(size=D)

    def velocity(t, x):
        x0 = answer(normal_equations(embeddings, z, 1 - t, t), e, x[None])[0]
        return (x - (1 - t) * x0) / t - x0

    solved = scipy.integrate.solve_ivp(velocity, (0.8, 0.2), x, method="DOP853", rtol=1e-9, atol=1e-10)
    denoiser = fitted(embeddings, z).select(e[None])
    flown = denoiser.flow(x[None, None], (0.2, 0.8), (0.8, 0.2))[0, 0]
    np.testing.assert_allclose(flown, solved.y[:, -1], atol=1e-7 * np.abs(x).max())


def test_integrate_follows_any_denoiser(both):
    """A denoiser that always says m: x - alpha m shrinks as sigma, whatever the way."""
    m = np.array([1.0, -2.0, 0.5])
    x = np.random.default_rng(16).normal(size=(1, 4, D))
    found = integrate(lambda x, alpha, sigma: 0.0 * x + m, x, (0.6, 0.8), (0.8, 0.2))
    np.testing.assert_allclose(found, 0.8 * m + 0.25 * (x - 0.6 * m), atol=1e-7)
