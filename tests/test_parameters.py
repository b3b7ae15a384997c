"""Parameters take effect when a model is fitted, and statistics are solved with parameters they allow only."""

import copy

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics

WORDS = {"text_encoder": CountVectorizer(token_pattern=r"\S+")}


@pytest.fixture
def repeated(tiny):
    """Prompts whose words repeat, so that it matters whether a transformer counts them."""
    prompts, images = tiny
    return [f"{p} {p}" if i % 2 else p for i, p in enumerate(prompts)], images


def test_a_transformer_that_changes_afterwards_changes_nothing(repeated):
    for looked in (False, True):
        ld = LinearDiffusion(5, **copy.deepcopy(WORDS)).partial_fit(*repeated)
        if looked:
            ld.predict(["up"], seed=1)
        ld.set_params(text_encoder__binary=True)
        expected = LinearDiffusion(5, **copy.deepcopy(WORDS)).fit(*repeated)
        np.testing.assert_allclose(ld.predict(["up up"], seed=1), expected.predict(["up up"], seed=1), atol=1e-9)


def test_refit_sees_the_parameters_of_a_transformer(repeated):
    ld = LinearDiffusion(5, **copy.deepcopy(WORDS)).fit(*repeated)
    counted = ld.predict(["up up"], seed=1)
    ld.refit(text_encoder__binary=True)
    fresh = LinearDiffusion(5, text_encoder=CountVectorizer(token_pattern=r"\S+", binary=True)).fit(*repeated)
    np.testing.assert_allclose(ld.predict(["up up"], seed=1), fresh.predict(["up up"], seed=1), atol=1e-9)
    assert np.abs(ld.predict(["up up"], seed=1) - counted).max() > 1e-3


def test_a_refit_that_fails_changes_nothing(repeated):
    ld = LinearDiffusion(5, **copy.deepcopy(WORDS)).fit(*repeated)
    before = ld.get_params()
    with pytest.raises(ValueError, match="num_steps"):
        ld.refit(text_encoder__binary=True, num_steps=0)
    assert str(ld.get_params()) == str(before)


def test_a_refit_of_the_sampler_leaves_the_model_solved(tiny):
    ld = LinearDiffusion(5).fit(*tiny)
    conditional = ld.fitted_.conditional
    ld.refit(sampler="ddim", num_steps=3)
    assert ld.fitted_.conditional is conditional
    expected = LinearDiffusion(5, sampler="ddim", num_steps=3).fit(*tiny)
    np.testing.assert_array_equal(ld.predict(["up"], seed=1), expected.predict(["up"], seed=1))
    assert ld.refit(n_components=4).fitted_.conditional is not conditional


def test_styles_in_another_basis_are_refused_by_every_call(tiny):
    ld = LinearDiffusion(5, n_styles=2).fit(*tiny)
    for call in (
        lambda: copy.copy(ld).set_params(n_components=3).partial_fit_styles(*tiny),
        lambda: ld.refit(n_components=3),
        lambda: LinearDiffusion(3, n_styles=2).merge(ld),
    ):
        with pytest.raises(ValueError, match="n_components"):
            call()
    assert ld.n_components_ == 5


def test_an_encoder_cannot_be_had_afterwards(tiny):
    prompts, images = tiny
    encoder = ImageEncoder.from_basis(np.eye(12)[:5], Statistics.of(prompts, images))
    with pytest.raises(ValueError, match="image_encoder"):
        LinearDiffusion(image_encoder=encoder).merge(LinearDiffusion(5).fit(prompts, images))
    with pytest.raises(ValueError, match="image_encoder"):
        LinearDiffusion(5).fit(prompts, images).refit(image_encoder=encoder)
    same = copy.deepcopy(encoder)  # an equal one is no change
    LinearDiffusion(image_encoder=encoder).fit(prompts, images).refit(image_encoder=same, sampler="ddim")


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_encoder_of_other_images_is_refused(tiny, method):
    prompts, images = tiny
    encoder = ImageEncoder.from_basis(np.eye(12)[:5], Statistics.of(prompts, images))
    with pytest.raises(ValueError, match="shape"):
        getattr(LinearDiffusion(image_encoder=encoder), method)(prompts, images.reshape(90, 12))


def test_images_are_not_counted_twice_in_their_styles(tiny):
    ld = LinearDiffusion(5, n_styles=2).fit(*tiny)
    weight = ld.statistics_.styles.moments.weight.sum()
    with pytest.raises(ValueError, match="already"):
        ld.partial_fit_styles(*tiny)
    assert ld.statistics_.styles.moments.weight.sum() == weight == 90


def test_embeddings_with_other_names_do_not_merge(tiny):
    pandas = pytest.importorskip("pandas")
    _, images = tiny
    X = np.random.default_rng(0).normal(size=(90, 2))
    models = [LinearDiffusion(3).fit(pandas.DataFrame(X, columns=list(names)), images) for names in ("ab", "cd")]
    with pytest.raises(ValueError, match="names"):
        models[0].merge(models[1])
    assert list(models[0].merge(models[0]).feature_names_in_) == ["a", "b"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("scale", "no"), ("num_steps", True), ("max_memory", float("nan")), ("image_encoder", ImageEncoder)],
)
def test_bad_parameters_are_named(tiny, parameter, value):
    with pytest.raises((TypeError, ValueError), match=parameter):
        LinearDiffusion(**{parameter: value}).fit(*tiny)
