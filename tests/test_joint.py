"""Joint moments against the sum of Kronecker products, written out image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lineardiffusion.statistics.joint
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments


def by_kronecker(embeddings, rows, origin, weight=None):
    """M, one np.kron an image."""
    k, d = embeddings.shape[1] + 1, rows.shape[1] + 1
    weight = np.ones(len(rows)) if weight is None else weight
    M = np.zeros((k * d, k * d))
    for e, x, w in zip(embeddings, rows.astype(float), weight, strict=True):
        product = np.kron(np.r_[1.0, e], np.r_[1.0, x - origin])
        M += w * np.outer(product, product)
    return M.reshape(k, d, k, d)


def assert_close(matrix, truth, rtol=1e-11):
    np.testing.assert_allclose(matrix, truth, rtol=0, atol=rtol * np.abs(truth).max())


@st.composite
def data(draw):
    """Embeddings (n, k), rows (n, d), weights or None."""
    n, k, d = draw(st.integers(2, 25)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weight = rng.uniform(0.0, 3.0, n) if draw(st.booleans()) else None
    return rng.normal(size=(n, k)), rng.normal(5.0, 2.0, (n, d)), weight, rng


@settings(deadline=None)
@given(data(), st.booleans())
def test_one_pass_is_the_sum_of_kronecker_products(case, tiny_blocks):
    embeddings, rows, weight, _ = case
    block = lineardiffusion.statistics.joint.BLOCK_BYTES
    lineardiffusion.statistics.joint.BLOCK_BYTES = 1000 if tiny_blocks else block
    try:
        joint = JointMoments.of(embeddings, rows, weight)
    finally:
        lineardiffusion.statistics.joint.BLOCK_BYTES = block
    assert_close(joint.matrix, by_kronecker(embeddings, rows, joint.origin, weight))
    assert JointMoments.nbytes(embeddings.shape[1], rows.shape[1]) == joint.matrix.nbytes


def test_bytes_do_not_wrap_around():
    rng = np.random.default_rng(0)
    rows, embeddings = rng.integers(0, 256, (30, 4), dtype=np.uint8), rng.normal(size=(30, 2))
    joint = JointMoments.of(embeddings, rows)
    np.testing.assert_allclose(joint.origin, rows.astype(float).mean(axis=0), rtol=1e-14)
    assert_close(joint.matrix, by_kronecker(embeddings, rows, joint.origin))


@settings(deadline=None)
@given(data(), st.integers(1, 4))
def test_of_prompts_is_of_on_their_images(case, g):
    _, rows, weight, rng = case
    prompts, groups = rng.normal(size=(g, 3)), rng.integers(0, g, len(rows))
    joint = JointMoments.of_prompts(prompts, Moments.of(rows, groups, g, weight))
    assert_close(joint.matrix, by_kronecker(prompts[groups], rows, joint.origin, weight))


@settings(deadline=None)
@given(data(), st.integers(1, 24))
def test_parts_add_up_to_the_whole(case, cut):
    embeddings, rows, weight, _ = case
    cut = min(cut, len(rows) - 1)
    first, second = slice(None, cut), slice(cut, None)
    rows[second] += 7.0  # the parts' origins differ
    part = [JointMoments.of(embeddings[s], rows[s], None if weight is None else weight[s]) for s in (first, second)]
    for total in (part[0] + part[1], part[1] + part[0]):
        assert_close(total.matrix, by_kronecker(embeddings, rows, total.origin, weight))


@settings(deadline=None)
@given(data(), st.integers(1, 24))
def test_a_part_subtracted_leaves_the_rest(case, cut):
    embeddings, rows, weight, _ = case
    cut = min(cut, len(rows) - 1)
    if weight is not None:
        weight += 0.1
    rows[:cut] += 7.0  # the origins differ
    w = [None, None] if weight is None else [weight[:cut], weight[cut:]]
    whole = JointMoments.of(embeddings, rows, weight)
    left = whole - JointMoments.of(embeddings[:cut], rows[:cut], w[0])
    truth = by_kronecker(embeddings[cut:], rows[cut:], left.origin, w[1])
    np.testing.assert_allclose(left.matrix, truth, rtol=0, atol=1e-11 * np.abs(whole.matrix).max())


def test_what_was_never_added_is_not_subtracted():
    rng = np.random.default_rng(2)
    e, x = rng.normal(size=(20, 2)), rng.normal(size=(20, 3))
    whole, part = JointMoments.of(e, x), JointMoments.of(e[:5], x[:5])
    whole - part  # the control
    for never in (part + whole, whole, JointMoments.of(30 * e[:5], x[:5])):
        with pytest.raises(ValueError, match="never"):
            whole - never


@settings(deadline=None)
@given(data(), st.integers(1, 6))
def test_projecting_commutes_with_measuring(case, c):
    embeddings, rows, weight, rng = case
    origin, basis = rng.normal(5.0, 1.0, rows.shape[1]), rng.normal(size=(rows.shape[1], c))
    there = JointMoments.of(embeddings, rows, weight).project(origin, basis)
    assert_close(there.matrix, by_kronecker(embeddings, (rows - origin) @ basis, there.origin, weight), 1e-10)


@settings(deadline=None)
@given(data())
def test_pooled_is_the_moments_of_the_images(case):
    embeddings, rows, weight, _ = case
    rows += 1000.0
    pooled = JointMoments.of(embeddings, rows, weight).pooled()
    direct = Moments.of(rows, np.zeros(len(rows), int), 1, weight)
    np.testing.assert_allclose(pooled.weight, direct.weight, rtol=1e-12)
    np.testing.assert_allclose(pooled.mean, direct.mean, rtol=1e-13)
    np.testing.assert_allclose(pooled.scatter, direct.scatter, rtol=0, atol=1e-10 * direct.weight[0])


def test_addition_leaves_both_as_they_were():
    rng = np.random.default_rng(1)
    a, b = (JointMoments.of(rng.normal(size=(5, 2)), rng.normal(size=(5, 3))) for _ in range(2))
    total = a + b
    for part in (a, b, total, total - b):
        for array in (part.matrix, part.origin):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1.0
    assert not np.shares_memory(total.matrix, a.matrix)
    a.project(np.zeros(3), np.eye(3)).pooled()
