"""Statistics of data sets: what is added can be subtracted, and a model follows from them alone."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics
from lineardiffusion.statistics.joint import JointMoments


def assert_same(a, b, atol=1e-7):
    """Equal moments, prompts, moments of pixels and histograms."""
    assert (a.prompts, a.image_shape, a.pixel_dtype) == (b.prompts, b.image_shape, b.pixel_dtype)
    assert (a.pixels is None) == (b.pixels is None)
    if a.pixels is not None:
        for name in ("weight", "mean", "scatter"):
            np.testing.assert_allclose(getattr(a.pixels, name), getattr(b.pixels, name), rtol=1e-9, atol=atol)
    names = ("matrix",) if isinstance(a.moments, JointMoments) else ("weight", "mean", "scatter")
    if names == ("matrix",):
        a, b = (
            (one, one.moments.project(np.zeros_like(one.moments.origin), np.eye(len(one.moments.origin))))
            for one in (a, b)
        )
        np.testing.assert_allclose(a[1].matrix, b[1].matrix, rtol=1e-9, atol=atol)
        a, b = a[0], b[0]
    else:
        for name in names:
            found, expected = getattr(a.moments, name), getattr(b.moments, name)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=atol)
    assert (a.histogram is None) == (b.histogram is None)
    if a.histogram is not None:
        np.testing.assert_array_equal(a.histogram.values, b.histogram.values)
        np.testing.assert_allclose(a.histogram.weight, b.histogram.weight)


def embeddings(prompts):
    known = sorted(set(prompts))
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(known), 2))[[known.index(p) for p in prompts]]


KINDS = ["prompts", "weights", "histogram", "latents", "pixels", "embeddings"]


@pytest.fixture(params=KINDS)
def measure(request, tiny):
    """A function from some of the images to their statistics."""
    prompts, images = tiny
    encoder = LinearDiffusion(5).fit(prompts, images).fitted_.encoder
    X = embeddings(prompts)
    weight = np.random.default_rng(1).uniform(0.5, 2, 90)
    settings = {"latents": {"encoder": encoder}, "histogram": {"histogram": True}}.get(request.param, {})

    def of(some):
        some = np.arange(90)[some]
        if request.param == "pixels":
            ld = LinearDiffusion(image_encoder=encoder, contrast="pixelwise")
            return ld.partial_fit([prompts[i] for i in some], images[some]).statistics_
        asked = X[some] if request.param == "embeddings" else [prompts[i] for i in some]
        given = weight[some] if request.param == "weights" else None
        return Statistics.of(asked, images[some], given, **settings)

    return of


def test_parts_add_up_and_a_part_subtracted_leaves_the_rest(measure):
    whole, first, rest = measure(slice(None)), measure(slice(0, 31)), measure(slice(31, None))
    assert_same(first + rest, whole)
    assert_same(rest + first, whole)
    parts = [measure(slice(i, None, 4)) for i in range(4)]
    assert_same(Statistics.total(parts), whole)
    assert_same(whole - first, rest)
    assert_same((whole - first) + first, whole)
    assert (whole - first).pixel_range == whole.pixel_range  # the range of what is left is not known
    with pytest.raises(AssertionError):  # control
        assert_same(whole - first, whole)


def test_what_was_never_there_is_not_subtracted(measure):
    whole, first = measure(slice(None)), measure(slice(0, 31))
    for never in (whole + first, whole):
        with pytest.raises(ValueError, match="subtract"):
            whole - never
    with pytest.raises(ValueError, match="subtract"):
        first - whole


def test_a_prompt_whose_images_are_all_subtracted_goes(tiny):
    prompts, images = tiny
    left = np.array(prompts) == "left"
    whole = Statistics.of(prompts, images)
    rest = whole - Statistics.of(["left"] * 30, images[left])
    assert rest.prompts == ("right", "up")
    assert_same(rest, Statistics.of([p for p in prompts if p != "left"], images[~left]))
    with pytest.raises(ValueError, match="down"):
        whole - Statistics.of(["down"] * 3, images[:3])


def test_pixels_of_prompts_that_come_and_go(tiny):
    """A part without a prompt has no pixels of it; a prompt that is subtracted wholly takes its pixels."""
    prompts, images = tiny
    encoder, left = LinearDiffusion(5).fit(prompts, images).image_encoder_, np.array(prompts) == "left"

    def of(some):
        ld = LinearDiffusion(image_encoder=encoder, contrast="pixelwise")
        return ld.partial_fit(np.array(prompts)[some].tolist(), images[some]).statistics_

    whole = of(np.arange(90) >= 0)
    rows = images.reshape(90, 12)
    for total in (of(left) + of(~left), of(~left) + of(left), whole):
        np.testing.assert_allclose(total.pixels.mean[0], rows[left].mean(axis=0))
        assert_same(total, whole)
    rest = whole - of(left)
    assert rest.prompts == ("right", "up")
    assert_same(rest, of(~left))


def test_they_are_those_of_a_model(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(contrast="histogram").fit(prompts, images)
    assert_same(ld.statistics_, Statistics.of(prompts, images, histogram=True))
    assert ld.fitted_.statistics is ld.statistics_
    with pytest.raises(FrozenInstanceError):
        ld.statistics_.prompts = ()
    with pytest.raises(ValueError, match="read-only"):
        ld.statistics_.moments.mean[0] = 0.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda p, x, e: Statistics.of(p, x[:, :, :2]), "shapes"),
        (lambda p, x, e: Statistics.of(embeddings(p), x), "embeddings"),
        (lambda p, x, e: Statistics.of(p, x, encoder=e), "encoder"),
    ],
)
def test_what_does_not_add_up_says_so(tiny, other, message):
    prompts, images = tiny
    ours = Statistics.of(prompts, images)
    theirs = other(prompts, images, LinearDiffusion(5).fit(prompts, images).fitted_.encoder)
    for call in (lambda: ours + theirs, lambda: theirs + ours, lambda: ours - theirs):
        with pytest.raises(ValueError, match=message):
            call()


def test_latents_of_equal_encoders_add_up(tiny):
    """Two objects with the same arrays; another basis does not."""
    prompts, images = tiny
    pixels = Statistics.of(prompts, images)
    a, b, c = (ImageEncoder.from_basis(np.eye(12)[rows], pixels) for rows in ([0, 5], [0, 5], [0, 6]))
    first = Statistics.of(prompts[:40], images[:40], encoder=a)
    rest = Statistics.of(prompts[40:], images[40:], encoder=b)
    assert_same(first + rest, Statistics.of(prompts, images, encoder=a))
    with pytest.raises(ValueError, match="encoder"):
        first + Statistics.of(prompts[40:], images[40:], encoder=c)


def test_styles_of_a_subtracted_prompt_go(tiny):
    """The styles that are left are those of the images that are left, under the same centres."""
    prompts, images = tiny
    ld = LinearDiffusion(5, n_styles=2, random_state=0).fit(prompts, images)
    gone = np.array([p == "right" for p in prompts])

    def styled(some):
        latents, places = ld.encode(images[some]), Statistics.of(np.array(prompts)[some].tolist(), images[some])
        known = np.searchsorted(ld.prompts_, np.array(prompts)[some])
        empty = type(ld.statistics_.styles).empty(ld.statistics_.styles.clusters, ld.fitted_.encoder)
        return replace(places, styles=empty.count(latents, known))

    rest = ld.statistics_ - styled(gone)
    assert rest.prompts == ("left", "up")
    kept = np.isin(ld.statistics_.styles.clusters.prompt, [0, 2])
    np.testing.assert_array_equal(rest.styles.clusters.prompt, [0, 0, 1, 1])
    np.testing.assert_allclose(rest.styles.moments.weight, ld.statistics_.styles.moments.weight[kept])
    np.testing.assert_allclose(rest.styles.moments.mean, ld.statistics_.styles.moments.mean[kept], atol=1e-9)
    with pytest.raises(ValueError, match="never"):
        rest - styled(gone)


def test_sum_adds_statistics(tiny):
    prompts, images = tiny
    assert_same(sum(Statistics.of(prompts[i::3], images[i::3]) for i in range(3)), Statistics.of(prompts, images))
    with pytest.raises(TypeError):
        Statistics.of(prompts, images) + 3


def test_arrays_cannot_be_written_to(tiny):
    """Neither those of statistics nor those of the model that follows from them."""
    prompts, images = tiny
    ld = LinearDiffusion(5, n_styles=2, sampler="ddim").fit(prompts, images)
    ld.predict(["up"], seed=0)
    (rows,) = {id(x.rows): x.rows for x, _ in ld.fitted_.cache._entries.values()}.values()
    fitted = ld.fitted_
    for array in (
        ld.statistics_.moments.mean, ld.statistics_.styles.moments.squares, ld.components_, ld.mean_,
        fitted.scored.basis, fitted.within, fitted.encoder.analysis, fitted.conditional.basis,
        fitted.parameters.trajectory.times, rows,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    basis = np.eye(12)[:4]
    encoder = ImageEncoder.from_basis(basis, Statistics.of(prompts, images))
    basis[0, 0] = 99.0
    assert encoder.components[0, 0] == 1.0
