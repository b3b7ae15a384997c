"""Bad input: each a clear error that says what to do, and nothing lost."""

import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from lineardiffusion import LinearDiffusion, samplers

PROMPTS = ["a", "b"] * 10
IMAGES = np.random.default_rng(0).normal(size=(20, 3, 2))
NAN = IMAGES.copy()
NAN[7, 1, 1] = np.nan


@pytest.fixture(scope="module")
def ld():
    return LinearDiffusion().fit(PROMPTS, IMAGES)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.predict(["a"]),
        lambda m: list(m.staged_predict(["a"])),
        lambda m: m.sample(3),
        lambda m: m.denoise(["a"], IMAGES[:1], 1.0),
        lambda m: m.score_samples(IMAGES),
        lambda m: m.invert(["a"], IMAGES[:1]),
        lambda m: m.refit(),
        lambda m: m.statistics_,
        lambda m: m.fitted_,
        lambda m: m.law("a"),
        lambda m: m.affine("a"),
        lambda m: m.encode(IMAGES),
        lambda m: m.decode(np.zeros((1, 2))),
        lambda m: m.score(PROMPTS, IMAGES),
    ],
)
def test_not_fitted(call):
    with pytest.raises(NotFittedError, match="fit"):
        call(LinearDiffusion())


DATA = [
    (PROMPTS[:-1], IMAGES, ValueError, "19 images"),
    (PROMPTS, NAN, ValueError, "image 7"),
    (PROMPTS, np.where(np.isnan(NAN), np.inf, NAN), ValueError, "image 7"),
    ([], IMAGES[:0], ValueError, "no prompts"),
    (PROMPTS, IMAGES[:, :0], ValueError, "no pixels"),
    ("seven", IMAGES, TypeError, "bare"),
    ([7.0] * 20, IMAGES, ValueError, r"str\(label\)"),
    (["a"] * 19 + [3], IMAGES, ValueError, "among"),
    (PROMPTS, None, ValueError, "requires y"),
    (PROMPTS, IMAGES + 1j, ValueError, "complex"),
    (PROMPTS, np.full((20, 3), "x"), ValueError, "first"),
    (PROMPTS, [np.zeros((2, 2))] * 19 + [np.zeros((2, 3))], ValueError, "same shape"),
    (PROMPTS, 3.0, ValueError, "single"),
    (IMAGES, PROMPTS, ValueError, "prompts come first"),
    (IMAGES.tolist(), PROMPTS, ValueError, "prompts come first"),
    (IMAGES.reshape(20, 6), PROMPTS, ValueError, "prompts come first"),
    (IMAGES, np.array(PROMPTS, dtype=object), ValueError, "prompts come first"),
    (IMAGES, np.zeros((20, 3)), ValueError, "prompts come first"),
]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("prompts", "images", "error", "message"), DATA)
def test_bad_data_leaves_the_model_as_it_was(prompts, images, error, message, method):
    model = LinearDiffusion().fit(PROMPTS, IMAGES)
    before, drawn = dict(vars(model)), model.predict(PROMPTS, seed=0)
    with pytest.raises(error, match=message):
        getattr(model, method)(prompts, images)
    assert all(vars(model)[name] is value for name, value in before.items())
    assert vars(model).keys() == before.keys()
    np.testing.assert_array_equal(model.predict(PROMPTS, seed=0), drawn)


def test_no_embeddings():
    with pytest.raises(ValueError, match="0 sample"):
        LinearDiffusion().fit(np.zeros((0, 2)), IMAGES[:0])


def test_partial_fit_wants_images_of_one_shape_and_prompts_of_one_kind():
    model = LinearDiffusion().partial_fit(PROMPTS, IMAGES)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        model.partial_fit(PROMPTS, IMAGES.reshape(20, 2, 3))
    with pytest.raises(ValueError, match="strings"):
        model.partial_fit(np.zeros((20, 2)), IMAGES)
    assert model.statistics_.moments.weight.sum() == 20


def test_an_interrupt_leaves_the_model_as_it_was(monkeypatch):
    from lineardiffusion.statistics.moments import Moments

    model = LinearDiffusion().fit(PROMPTS, IMAGES)
    drawn = model.predict(PROMPTS, seed=0)

    def interrupted(terms):
        raise KeyboardInterrupt

    monkeypatch.setattr(Moments, "total", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit([*PROMPTS, "new"], np.concatenate([IMAGES, IMAGES[:1]]))
    np.testing.assert_array_equal(model.predict(PROMPTS, seed=0), drawn)
    assert list(model.prompts_) == ["a", "b"]


@pytest.mark.parametrize(
    ("weight", "message"),
    [(np.zeros(20), "all zero|non-zero"), (-np.ones(20), "[Nn]egative"), (np.ones(19), "sample_weight")],
)
def test_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        LinearDiffusion().fit(PROMPTS, IMAGES, sample_weight=weight)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"n_components": 0}, ValueError, "n_components"),
        ({"n_components": 1.5}, ValueError, "share"),
        ({"n_components": "all"}, TypeError, "n_components"),
        ({"n_styles": "many"}, TypeError, "n_styles"),
        ({"shrinkage": 1.5}, ValueError, "shrinkage"),
        ({"shrinkage": np.nan}, ValueError, "shrinkage"),
        ({"shrinkage": "much"}, TypeError, "shrinkage"),
        ({"shrinkage": True}, TypeError, "shrinkage"),
        ({"missing": "drop"}, ValueError, "missing"),
        ({"sampler": "magic"}, ValueError, "magic"),
        ({"schedule": "magic"}, ValueError, "magic"),
        ({"schedule": 3}, TypeError, "schedule"),
        ({"num_steps": 0}, ValueError, "num_steps"),
        ({"num_steps": 2.0}, TypeError, "num_steps"),
        ({"sampler": 3}, TypeError, "sampler"),
        ({"sampler": samplers.ddim}, TypeError, "ddim"),
        ({"max_memory": 0}, ValueError, "max_memory"),
        ({"cache_memory": -1}, ValueError, "cache_memory"),
        ({"image_encoder": "pca"}, TypeError, "from_basis"),
    ],
)
def test_bad_parameters(params, error, message):
    with pytest.raises(error, match=message):
        LinearDiffusion(**params).fit(PROMPTS, IMAGES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompts": ["banana"]}, ValueError, "banana"),
        ({"prompts": "a"}, TypeError, "bare"),
        ({"prompts": np.zeros((1, 3))}, ValueError, "entries"),
        ({"prompts": np.zeros((1, 2))}, ValueError, "not all 0"),
        ({"prompts": ["a"], "sampler": "magic"}, ValueError, "magic"),
        ({"prompts": ["a"], "num_steps": 0}, ValueError, "num_steps"),
        ({"prompts": ["a"], "seed": -1}, ValueError, "seed"),
        ({"prompts": ["a"], "seed": 1.5}, ValueError, "seed"),
        ({"prompts": ["a"], "seed": [1, 2]}, ValueError, "2 seeds"),
        ({"prompts": ["a"], "latents": np.zeros((1, 3))}, ValueError, r"\(1, 6\)"),
        ({"prompts": ["a"], "latents": np.full((1, 6), np.nan)}, ValueError, "finite"),
        ({"prompts": ["a"], "output_type": "jpg"}, ValueError, "output_type"),
    ],
)
def test_bad_requests(ld, arguments, error, message):
    with pytest.raises(error, match=message):
        ld.predict(**arguments)


def test_bad_requests_of_the_parts(ld):
    with pytest.raises(ValueError, match="sigma"):
        ld.denoise(["a"], IMAGES[:1], 0.0)
    with pytest.raises(ValueError, match="20 images"):
        ld.denoise(["a"], IMAGES, 1.0)
    with pytest.raises(TypeError, match="one prompt"):
        ld.law(["a"])
    with pytest.raises(ValueError, match="n_samples"):
        ld.sample(0)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        ld.encode(IMAGES.reshape(20, 2, 3))
    with pytest.raises(ValueError, match="latents"):
        ld.decode(np.zeros((1, 5)))
    other = LinearDiffusion().fit(PROMPTS, IMAGES.reshape(20, 2, 3))
    with pytest.raises(ValueError, match="shapes"):
        ld.merge(other)
    with pytest.raises(TypeError, match="LinearDiffusion"):
        ld.merge("other")


@pytest.mark.parametrize(
    ("prompts", "max_memory", "text_encoder"),
    [
        (PROMPTS, 500, None),
        (np.random.default_rng(1).normal(size=(20, 64)), 3e5, None),  # 512-d embeddings and 40 components, in small
        ([f"{i} {i % 7}" for i in range(20)], 5e3, "words"),
    ],
)
def test_too_many_prompts_for_the_memory(prompts, max_memory, text_encoder):
    """The advice of the error is followed, and is as large as it may be."""
    ld = LinearDiffusion(max_memory=max_memory, text_encoder=text_encoder)
    with pytest.raises(ValueError, match=r"n_components=\d+") as error:
        ld.fit(prompts, IMAGES)
    advised = int(re.search(r"n_components=(\d+)", str(error.value))[1])
    assert ld.set_params(n_components=advised).fit(prompts, IMAGES).n_components_ == advised
    with pytest.raises(ValueError, match="n_components"):
        ld.set_params(n_components=advised + 1).fit(prompts, IMAGES)
    with pytest.raises(ValueError, match="fewer"):
        LinearDiffusion(max_memory=20, text_encoder=text_encoder).fit(prompts[:4], IMAGES[:4])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_while_solving_leaves_the_model_as_it_was(monkeypatch, method):
    model = LinearDiffusion(shrinkage=0).fit(PROMPTS, IMAGES)
    drawn = model.predict(PROMPTS, seed=0)

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np.linalg, "eigh", interrupted)
        if method == "fit":
            with pytest.raises(KeyboardInterrupt):
                model.fit(PROMPTS[:5], IMAGES[:5])
        else:  # solves later
            with pytest.raises(KeyboardInterrupt):
                model.partial_fit(PROMPTS, IMAGES).predict(PROMPTS)
    if method == "fit":
        np.testing.assert_array_equal(model.predict(PROMPTS, seed=0), drawn)
    else:
        np.testing.assert_allclose(model.predict(PROMPTS, seed=0), drawn, atol=1e-9)


def test_a_failed_fit_of_embeddings_leaves_the_model_as_it_was():
    model = LinearDiffusion()
    with pytest.raises(ValueError, match="zero"):
        model.fit(np.ones((20, 3)), IMAGES, sample_weight=np.zeros(20))
    with pytest.raises(NotFittedError):
        model.predict(np.ones((1, 3)))
    model.fit(np.ones((20, 2)), IMAGES)
    with pytest.raises(ValueError, match="zero"):
        model.fit(np.ones((20, 3)), IMAGES, sample_weight=np.zeros(20))
    assert model.n_features_in_ == 2
    assert model.predict(np.ones((1, 2)), seed=0).shape == (1, 3, 2)
    with pytest.raises(ValueError, match="embeddings"):
        model.merge(LinearDiffusion().fit(np.ones((20, 3)), IMAGES))
    with pytest.raises(AttributeError, match="frequency"):
        _ = model.prompt_prior_


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda t: t, "function"),
        (lambda t: (t, 1 - t), "lead"),
        (lambda t: (1 - t, 0.1 + 0.9 * t), "lead"),
        (lambda t: (1 - t, float("nan") if t == 0.5 else t), "lead"),
    ],
)
def test_schedules_that_lead_nowhere(schedule, message):
    with pytest.raises(ValueError, match=message):
        LinearDiffusion(schedule=schedule, sampler="ddim").fit(PROMPTS, IMAGES)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        (np.array([PROMPTS, PROMPTS]).T, ValueError, "one list"),
        ([[p, p] for p in PROMPTS], ValueError, "one list"),
        ([b"a"] * 20, ValueError, "bytes"),
        ([1.5] * 20, ValueError, r"str\(label\)"),
        (7, TypeError, "strings"),
        (None, TypeError, "strings"),
    ],
)
def test_prompts_of_other_kinds(ld, prompts, error, message):
    with pytest.raises(error, match=message):
        LinearDiffusion().fit(prompts, IMAGES)
    with pytest.raises(error, match=message):
        ld.predict(prompts)


def test_pixels_too_large_to_square():
    with pytest.raises(ValueError, match="rescale"):
        LinearDiffusion().fit(PROMPTS, IMAGES * 1e200)


def test_more_pixels_than_memory():
    with pytest.raises(ValueError, match="max_memory"):
        LinearDiffusion(max_memory=100).fit(PROMPTS, IMAGES)
