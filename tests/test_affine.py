"""Affine maps against the arithmetic that they stand for, on arrays, and their law against simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lineardiffusion.diffusion.affine import Affine

STEPS = ["scale", "left", "np", "divide", "negate", "matrix", "each", "add", "radd", "sub", "const", "mix"]
programs = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), max_size=12)


def run(start, program, p, d, diagonal, seed):
    """Every state of a program of random arithmetic; the seed makes it the same on maps and arrays."""
    rng = np.random.default_rng(seed)
    states = [start]
    for step, pick in program:
        x, y = states[-1], states[pick % len(states)]
        c, b, gain = rng.uniform(-1.5, 1.5), rng.normal(size=(p, 1, d)), rng.normal(size=(p, 1, d))
        one, stack = rng.normal(size=(d, d)) / d**0.5, rng.normal(size=(p, d, d)) / d**0.5
        match step:
            case "scale":
                x = x * c
            case "left":
                x = c * x
            case "np":
                x = np.float64(c) * x
            case "divide":
                x = x / (1.0 + c**2)
            case "negate":
                x = -x
            case "matrix":
                x = x * gain if diagonal else x @ one
            case "each":
                x = gain * x if diagonal else x @ stack
            case "add":
                x = x + y
            case "radd":
                x = b + x
            case "sub":
                x = x - y
            case "const":
                x = x - b + 3.0
            case "mix":
                x = x + 0.5 * (y - x) + c * b
        states.append(x)
    return states


@settings(deadline=None)
@given(programs, st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 2**32))
def test_a_program_on_maps_is_the_program_on_arrays(program, p, d, diagonal, seed):
    z = np.random.default_rng(seed).normal(size=(p, 5, d))
    maps = run(Affine.identity(p, d, diagonal=diagonal), program, p, d, diagonal, seed)
    arrays = run(z, program, p, d, diagonal, seed)
    size = max(np.abs(x).max() for x in arrays)
    for x, truth in zip(maps, arrays, strict=True):
        np.testing.assert_allclose(x(z), truth, rtol=0, atol=1e-12 * (1 + size))
        np.testing.assert_allclose(x.offset, x(0 * z)[:, 0], rtol=1e-15)
    np.testing.assert_array_equal(maps[-1][p - 1](z[p - 1 :]), maps[-1](z)[p - 1 :])
    np.testing.assert_array_equal(maps[0](z), z)  # later steps leave the first state alone
    M = maps[-1].matrix
    np.testing.assert_allclose(maps[-1].covariance, np.einsum("pij,pik->pjk", M, M), atol=1e-12 * (1 + size**2))


chains = st.lists(st.floats(0.01, 3.0), min_size=1, max_size=5)


@settings(deadline=None)
@given(chains, st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32))
def test_noise_adds_to_the_covariance(taus, p, d, seed):
    rng = np.random.default_rng(seed)
    x, mean, covariance = Affine.identity(p, d), np.zeros((p, 1, d)), np.tile(np.eye(d), (p, 1, 1))
    for tau in taus:
        A, b = rng.normal(size=(p, d, d)) / d**0.5, rng.normal(size=(p, 1, d))
        x = (x @ A + b).with_noise(tau)
        mean, covariance = mean @ A + b, A.mT @ covariance @ A + tau**2 * np.eye(d)
    assert x.n_noises == len(taus)
    np.testing.assert_allclose(x.offset, mean[:, 0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(x.covariance, covariance, rtol=0, atol=1e-12 * covariance.max())
    z, n = rng.normal(size=(2, p, 3, d))
    by_hand = x.offset[:, None] + np.einsum("pmi,pij->pmj", z, x.matrix)
    np.testing.assert_allclose(x(z), by_hand, atol=1e-11 * covariance.max())
    by_hand += np.einsum("pmi,pij->pmj", n, x.root)
    np.testing.assert_allclose(x(z, n), by_hand, atol=1e-11 * covariance.max())


@settings(deadline=None)
@given(chains, st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32))
def test_a_diagonal_map_rotated_is_the_full_map(taus, p, d, seed):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(p, d, d)))[0]
    u, x = Affine.identity(p, d, diagonal=True), Affine.identity(p, d)
    for noisy, tau in enumerate(taus):
        gain, b = rng.normal(size=(p, 1, d)), rng.normal(size=(p, 1, d))
        u, x = gain * u + b, x @ ((Q * gain) @ Q.mT) + b @ Q.mT
        if noisy:
            u, x = u.with_noise(tau), x.with_noise(tau)
    rotated = u.rotate(Q)
    size = 1 + x.covariance.max()
    np.testing.assert_allclose(rotated.matrix, x.matrix, atol=1e-12 * size)
    np.testing.assert_allclose(rotated.offset, x.offset, atol=1e-12 * size)
    np.testing.assert_allclose(rotated.covariance, x.covariance, atol=1e-12 * size)
    np.testing.assert_allclose(u.covariance, Q.mT @ x.covariance @ Q, atol=1e-12 * size)
    assert rotated.n_noises == x.n_noises
    np.testing.assert_allclose(rotated.offset, x.offset, atol=1e-12 * size)
    U, s, Vt = rotated[p - 1].singular()
    np.testing.assert_allclose((U * s) @ Vt, x.matrix[p - 1], atol=1e-12 * size)
    z, n = rng.normal(size=(2, p, d + 1, d))
    noise = (z, n) if rotated.n_noises else (z,)
    whole = rotated(*noise)  # of more than d points by the product of the matrices, of fewer by the matrices
    by_hand = z @ x.matrix + x.offset[:, None] + (n @ rotated.root if rotated.n_noises else 0)
    np.testing.assert_allclose(whole, by_hand, atol=1e-11 * size)
    np.testing.assert_allclose(rotated(*(one[:, :d] for one in noise)), whole[:, :d], atol=1e-11 * size)
    single = rotated(*(one.astype(np.float32) for one in noise))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, atol=1e-4 * size)


def p_value(x, covariance):
    """Of the draws' mean 0 and `covariance`, every entry of it."""
    n, d = x.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance), x.T).T
    excess = (white.T @ white / n - np.eye(d)) * np.sqrt(n)
    terms = np.concatenate([white.sum(axis=0) / n**0.5, np.diag(excess) / 2**0.5, excess[np.triu_indices(d, 1)]])
    return stats.chi2(len(terms)).sf((terms**2).sum())


def test_covariance_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(2, 1, 4, 4)) / 2, rng.normal(size=(2, 1, 1, 4))

    def two_steps(x, add_noise):
        x = add_noise(x @ A[0] + b[0], 0.7)
        return add_noise(x @ A[1] + b[1], 0.4)

    x = two_steps(Affine.identity(1, 4), Affine.with_noise)
    simulated = two_steps(rng.normal(size=(1, 20_000, 4)), lambda x, tau: x + tau * rng.normal(size=x.shape))
    drawn = x(*rng.normal(size=(2, 1, 20_000, 4)))
    for draws in (simulated, drawn):
        assert p_value(draws[0] - x.offset[0], x.covariance[0]) > 1e-3
    for first, second in [(0.7, 0.45), (0.75, 0.4), (0.0, 0.4)]:  # controls: another noise
        wrong = x.matrix.mT @ x.matrix + first**2 * A[1].mT @ A[1] + second**2 * np.eye(4)
        assert p_value(simulated[0] - x.offset[0], wrong[0]) < 1e-6


@pytest.mark.parametrize("diagonal", [False, True])
def test_maps_from_before_and_after_noise_do_not_mix(diagonal):
    x = Affine.identity(2, 3, diagonal=diagonal)
    y = x.with_noise(0.5)
    for mix in (lambda: x + y, lambda: y + x, lambda: y - x, lambda: y + y.with_noise(0.1)):
        with pytest.raises(ValueError, match="noise"):
            mix()
    np.testing.assert_allclose((y + 2.0 * y).covariance, 9 * y.covariance)  # the same noise, thrice


def test_misuse_is_a_type_error():
    full, diagonal, gain = Affine.identity(1, 2), Affine.identity(1, 2, diagonal=True), np.ones((1, 1, 2))
    rotated = diagonal.rotate(np.eye(2)[None])
    with pytest.raises(TypeError, match="rotate"):
        rotated + gain
    for times in (lambda: full * gain, lambda: gain * full, lambda: rotated * gain):
        with pytest.raises(TypeError, match="matrix"):
            times()
    with pytest.raises(TypeError, match="gain"):
        diagonal @ np.eye(2)
    for wrong in (lambda: gain - full, lambda: np.eye(2) @ full, lambda: 1.0 - full, lambda: 2.0 / full):
        with pytest.raises(TypeError, match="operand"):
            wrong()
    with pytest.raises(TypeError, match="product"):
        full * full
