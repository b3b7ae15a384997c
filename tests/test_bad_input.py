"""Bad input: each a clear error that says what to do, and nothing lost."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from lineardiffusion import LinearDiffusion

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
        lambda m: m.denoise(IMAGES[:1], 1.0, ["a"]),
        lambda m: m.law("a"),
        lambda m: m.affine("a"),
        lambda m: m.encode(IMAGES),
        lambda m: m.decode(np.zeros((1, 2))),
        lambda m: m.score(PROMPTS, IMAGES),
        lambda m: m.merge(m),
    ],
)
def test_not_fitted(call):
    with pytest.raises(NotFittedError, match="fit"):
        call(LinearDiffusion())


DATA = [
    (PROMPTS[:-1], IMAGES, ValueError, "19 prompts need 19 images, got 20 images"),
    (PROMPTS, NAN, ValueError, "image 7 holds NaN or infinity"),
    (PROMPTS, np.where(np.isnan(NAN), np.inf, NAN), ValueError, "image 7"),
    ([], IMAGES[:0], ValueError, "no prompts"),
    (PROMPTS, IMAGES[:, :0], ValueError, "no pixels"),
    ("seven", IMAGES, TypeError, r"bare string 'seven'; use \['seven'\]"),
    ([7] * 20, IMAGES, ValueError, r"str\(label\) for label in labels"),
    (["a"] * 19 + [3], IMAGES, ValueError, "got 3 among them"),
    (PROMPTS, None, ValueError, "requires y"),
    (PROMPTS, IMAGES + 1j, ValueError, "real numbers"),
    (PROMPTS, np.full((20, 3), "x"), ValueError, "real numbers"),
    (PROMPTS, [np.zeros((2, 2))] * 19 + [np.zeros((2, 3))], ValueError, "same shape"),
    (PROMPTS, 3.0, ValueError, "single number"),
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
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but this model was fitted on images of \(3, 2\)"):
        model.partial_fit(PROMPTS, IMAGES.reshape(20, 2, 3))
    with pytest.raises(ValueError, match="fitted on prompts that are strings, got numbers"):
        model.partial_fit(np.zeros((20, 2)), IMAGES)
    assert model.statistics_.moments.weight.sum() == 20


def test_an_interrupt_leaves_the_model_as_it_was(monkeypatch):
    from lineardiffusion.statistics.moments import Moments

    model = LinearDiffusion().fit(PROMPTS, IMAGES)
    drawn = model.predict(PROMPTS, seed=0)

    def interrupted(self, other):
        raise KeyboardInterrupt

    monkeypatch.setattr(Moments, "__add__", interrupted)
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
        ({"n_components": 0}, ValueError, "n_components must be 1 or more, got 0"),
        ({"n_components": 1.5}, TypeError, "n_components must be an int"),
        ({"sampler": "magic"}, ValueError, "unknown sampler 'magic'; choose one of 'exact'"),
        ({"schedule": "magic"}, ValueError, "unknown schedule 'magic'; choose one of 'cosine'"),
        ({"schedule": 3}, TypeError, "schedule must be"),
        ({"num_steps": 0}, ValueError, "num_steps must be 1 or more, got 0"),
        ({"num_steps": 2.0}, TypeError, "num_steps must be an int"),
        ({"eta": 1.5}, ValueError, "eta must be between 0"),
        ({"max_memory": 0}, ValueError, "max_memory must be a positive"),
    ],
)
def test_bad_parameters(params, error, message):
    with pytest.raises(error, match=message):
        LinearDiffusion(**params).fit(PROMPTS, IMAGES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompts": ["banana"]}, ValueError, "unknown prompt 'banana'; the model knows: 'a', 'b'"),
        ({"prompts": "a"}, TypeError, "bare string"),
        (
            {"prompts": np.zeros((1, 3))},
            ValueError,
            "have 2 entries, got 3",
        ),
        ({"prompts": np.zeros((1, 2))}, ValueError, "0 or more and not all 0"),
        ({"prompts": ["a"], "sampler": "magic"}, ValueError, "unknown sampler"),
        ({"prompts": ["a"], "num_steps": 0}, ValueError, "num_steps"),
        ({"prompts": ["a"], "seed": -1}, ValueError, "seed must be an int of 0 or more"),
        ({"prompts": ["a"], "seed": 1.5}, ValueError, "seed must be an int"),
        ({"prompts": ["a"], "seed": [1, 2]}, ValueError, "2 seeds for 1 images"),
        ({"prompts": ["a"], "latents": np.zeros((1, 3))}, ValueError, r"shape \(1, 6\), got \(1, 3\)"),
        ({"prompts": ["a"], "latents": np.full((1, 6), np.nan)}, ValueError, "finite"),
        ({"prompts": ["a"], "output_type": "jpg"}, ValueError, "output_type"),
    ],
)
def test_bad_requests(ld, arguments, error, message):
    with pytest.raises(error, match=message):
        ld.predict(**arguments)


def test_bad_requests_of_the_parts(ld):
    with pytest.raises(ValueError, match="sigma must be positive"):
        ld.denoise(IMAGES[:1], 0.0, ["a"])
    with pytest.raises(ValueError, match="1 prompts need 1 images, got 20"):
        ld.denoise(IMAGES, 1.0, ["a"])
    with pytest.raises(TypeError, match="one prompt, a string"):
        ld.law(["a"])
    with pytest.raises(ValueError, match="n_samples must be 1 or more"):
        ld.sample(0)
    with pytest.raises(ValueError, match=r"of \(3, 2\)"):
        ld.encode(IMAGES.reshape(20, 2, 3))
    with pytest.raises(ValueError, match=r"latents must have the shape \(\.\.\., 6\), got \(1, 5\)"):
        ld.decode(np.zeros((1, 5)))
    other = LinearDiffusion().fit(PROMPTS, IMAGES.reshape(20, 2, 3))
    with pytest.raises(ValueError, match="cannot merge models of images"):
        ld.merge(other)
    with pytest.raises(TypeError, match="merge takes a LinearDiffusion"):
        ld.merge("other")


def test_too_many_prompts_for_the_memory():
    with pytest.raises(ValueError, match=r"take .* GB; use\s+n_components=\d+, or allow it: max_memory"):
        LinearDiffusion(max_memory=500).fit(PROMPTS, IMAGES)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_while_solving_leaves_the_model_as_it_was(monkeypatch, method):
    model = LinearDiffusion().fit(PROMPTS, IMAGES)
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
    with pytest.raises(ValueError, match="embeddings of 2 and 3 entries"):
        model.merge(LinearDiffusion().fit(np.ones((20, 3)), IMAGES))
    with pytest.raises(AttributeError, match="no frequency"):
        _ = model.prompt_prior_


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda t: t, "must be a function t -> "),
        (lambda t: (t, 1 - t), "must lead from noise at t = t_max to alpha = 1"),
        (lambda t: (1 - t, 0.1 + 0.9 * t), "must lead from noise"),
        (lambda t: (1 - t, float("nan") if t == 0.5 else t), "must lead from noise"),
    ],
)
def test_schedules_that_lead_nowhere(schedule, message):
    with pytest.raises(ValueError, match=message):
        LinearDiffusion(schedule=schedule, sampler="ddim").fit(PROMPTS, IMAGES)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        (np.array(PROMPTS)[:, None], ValueError, "one list of strings"),
        ([[p] for p in PROMPTS], ValueError, "one list of strings"),
        ([b"a"] * 20, ValueError, "bytes; decode"),
        ([1.5] * 20, ValueError, r"str\(label\)"),
        (7, TypeError, "list of strings"),
        (None, TypeError, "list of strings"),
    ],
)
def test_prompts_of_other_kinds(ld, prompts, error, message):
    with pytest.raises(error, match=message):
        LinearDiffusion().fit(prompts, IMAGES)
    with pytest.raises(error, match=message):
        ld.predict(prompts)


def test_pixels_too_large_to_square():
    with pytest.raises(ValueError, match="cannot be squared"):
        LinearDiffusion().fit(PROMPTS, IMAGES * 1e200)


def test_more_pixels_than_memory():
    with pytest.raises(ValueError, match=r"20 images of 6 pixels need .* GB .*max_memory"):
        LinearDiffusion(max_memory=100).fit(PROMPTS, IMAGES)
