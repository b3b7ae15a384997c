"""Images that are PyTorch tensors: the same answers, computed where the images are."""

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion, training
from lineardiffusion.datasets import in_batches
from lineardiffusion.statistics import source

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")
pytest.importorskip("array_api_compat", reason="needs array-api-compat: pip install '.[torch]'")
pytestmark = pytest.mark.torch

GREY = 2e-4 * 16 / 255  # 2e-4 grey levels of 255, for digits from 0 to 16: rounding in single precision


class Products(torch.overrides.TorchFunctionMode):
    """Counts the matrix products of tensors."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function.__name__ in ("matmul", "__matmul__", "mm", "__rmatmul__"):
            self.sizes.append(max(one.numel() for one in args[:2]))
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def tensors(digits):
    return digits[0], torch.from_numpy(digits[1].copy())


SETTINGS = [
    {},
    {"n_styles": 3, "contrast": "affine"},
    {"n_styles": 3, "contrast": "pixelwise", "style_rank": 0.25},
    {"contrast": "histogram", "scale": True},
    {"max_memory": 2e5, "n_components": 10},
    {"text_encoder": "words"},
]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int16"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_fit_of_tensors_is_that_of_arrays(digits, settings, dtype):
    prompts, images = digits[0], digits[1].astype(dtype)
    ours, there = LinearDiffusion(**settings).fit(prompts, images), LinearDiffusion(**settings)
    with Products() as products:
        there.fit(prompts, torch.from_numpy(images))
    assert max(products.sizes) >= 64 * 100  # the products over the images are torch's
    assert there.pixel_dtype_ == ours.pixel_dtype_
    assert isinstance(there.statistics_.moments.mean, np.ndarray)
    asked = ours.prompts_.tolist() * 3
    # sums of bytes are exact in single precision; others differ between libraries, and components of nearly
    # equal variance turn by a multiple of that
    atol = GREY if dtype in ("uint8", "float64") else 20 * GREY
    np.testing.assert_allclose(there.predict(asked, seed=1), ours.predict(asked, seed=1), atol=atol)


def test_large_images_in_batches_under_weights(digits, monkeypatch):
    monkeypatch.setattr(training, "LARGE", 20)
    monkeypatch.setattr(source, "SAMPLE", 100)
    prompts, images = digits
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(images))
    here = LinearDiffusion(10).fit_batches(in_batches(prompts, images, weight, batch_size=300))
    with Products() as products:
        there = LinearDiffusion(10).fit_batches(
            in_batches(prompts, torch.from_numpy(images), weight, batch_size=300)
        )
    assert products.sizes
    np.testing.assert_allclose(there.predict(["7"], seed=1), here.predict(["7"], seed=1), atol=1e-3)
    moved = there.partial_fit(prompts[:50], torch.from_numpy(images[:50])).forget(prompts[:50], images[:50])
    np.testing.assert_allclose(moved.predict(["7"], seed=1), here.predict(["7"], seed=1), atol=1e-3)


def test_encode_and_decode_answer_in_tensors(digits, tensors):
    ld = LinearDiffusion(20).fit(*digits)
    latents = ld.encode(tensors[1])
    assert isinstance(latents, torch.Tensor)
    np.testing.assert_allclose(latents.numpy(), ld.encode(digits[1]), atol=1e-10)
    images = ld.decode(latents)
    assert isinstance(images, torch.Tensor)
    np.testing.assert_allclose(images.numpy(), ld.decode(latents.numpy()), atol=GREY)
    assert images.dtype == torch.float32


@pytest.mark.parametrize("settings", [*SETTINGS[:4], {"sampler": "ddpm", "num_steps": 5}], ids=str)
def test_predict_draws_tensors(digits, settings):
    ld = LinearDiffusion(**settings).fit(*digits)
    asked = ["7", "3"] * 40
    expected = ld.predict(asked, seed=3)
    with Products() as products:
        drawn = ld.predict(asked, seed=3, output_type="pt", device="cpu")
    assert len(products.sizes) >= 2  # the map and the decoder
    assert isinstance(drawn, torch.Tensor)
    assert drawn.dtype == torch.float32
    apart = np.abs(drawn.numpy() - expected)
    if settings.get("contrast") == "histogram":  # a step, at which the last digit decides
        assert np.mean(apart > 0) < 1e-3
    else:  # the gain of a pixel that hardly varies in the latents multiplies its rounding
        assert apart.max() < (10 if settings.get("contrast") == "pixelwise" else 1) * GREY
    assert np.abs(ld.predict(asked, seed=4, output_type="pt").numpy() - expected).max() > 1  # control
    images, trajectory = ld.predict(asked[:2], seed=3, output_type="pt", return_trajectory=True)
    assert isinstance(images, torch.Tensor)
    assert len(trajectory) > 1
    with pytest.raises(ValueError, match="device"):
        ld.predict(asked, device="cpu")


def test_classify_reads_tensors(digits, tensors):
    ld = LinearDiffusion(30).fit(*digits)
    with Products() as products:
        read = ld.classify(tensors[1])
    assert products.sizes
    np.testing.assert_array_equal(read, ld.classify(digits[1]))
    np.testing.assert_allclose(ld.classify_proba(tensors[1]), ld.classify_proba(digits[1]), atol=1e-5)
    holes = tensors[1][:20].float()
    holes[:, 4:] = torch.nan
    np.testing.assert_array_equal(ld.classify(holes), ld.classify(holes.numpy()))
    np.testing.assert_allclose(ld.score_samples(tensors[1][:5]), ld.score_samples(digits[1][:5]))


def test_other_types_and_what_is_refused(digits, tensors):
    prompts, images = tensors
    fit = LinearDiffusion(10).fit
    half = fit(prompts, images.to(torch.bfloat16))
    np.testing.assert_allclose(half.predict(["7"], 1), fit(*digits).predict(["7"], 1), atol=GREY)
    grown = images.float().requires_grad_()
    np.testing.assert_allclose(fit(prompts, grown).predict(["7"], 1), half.predict(["7"], 1), atol=GREY)
    gaps = images.float().clone()
    gaps[3, 2, 2] = torch.nan
    filled = LinearDiffusion(10, missing="em").fit(prompts, gaps)
    arrays = LinearDiffusion(10, missing="em").fit(prompts, gaps.numpy())
    np.testing.assert_array_equal(filled.predict(["7"], 1), arrays.predict(["7"], 1))
    for error, match, odd in (
        (TypeError, "dense", images.float().to_sparse()),
        (ValueError, "Complex", images.to(torch.complex64)),
        (ValueError, "NaN", gaps),
        (ValueError, "images", images[:-1]),
        (ValueError, "images", torch.tensor(3)),
        (ValueError, "largest pixel", images.double() * 1e70),
    ):
        with pytest.raises(error, match=match):
            fit(prompts, odd)
    with pytest.raises(ValueError, match="shape"):
        fit(prompts, images).partial_fit(prompts, images[:, :4])


def test_tensors_in_every_method(digits, tensors):
    """Where nothing runs on their device, they are read as arrays; batches may mix both."""
    prompts, images = digits
    ld, x = LinearDiffusion(20).fit(prompts, images), tensors[1][:6].float()
    mask = np.arange(64).reshape(8, 8) > 30
    for given in (x, x.to(torch.bfloat16), list(x)):
        np.testing.assert_allclose(ld.inpaint(given, mask, seed=0), ld.inpaint(x.numpy(), mask, seed=0), atol=1e-5)
    np.testing.assert_allclose(ld.invert(prompts[:6], x), ld.invert(prompts[:6], x.numpy()), atol=1e-4)
    np.testing.assert_allclose(ld.denoise(prompts[:6], x, 2.0), ld.denoise(prompts[:6], x.numpy(), 2.0), atol=1e-5)
    started = ld.predict(prompts[:6], 0, start=x)
    np.testing.assert_allclose(started, ld.predict(prompts[:6], 0, start=x.numpy()), atol=1e-5)
    z = torch.zeros((2, 20), dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(
        ld.predict(["7", "3"], latents=z), ld.predict(["7", "3"], latents=np.zeros((2, 20)))
    )
    embeddings = np.eye(10)[np.array(prompts, int)]
    there = LinearDiffusion(10).fit(torch.from_numpy(embeddings), tensors[1])
    here = LinearDiffusion(10).fit(embeddings, images)
    np.testing.assert_allclose(there.predict(embeddings[:3], 0), here.predict(embeddings[:3], 0), atol=1e-4)
    wide = LinearDiffusion(20).fit(prompts, tensors[1].to(torch.uint16))
    np.testing.assert_allclose(wide.predict(["7"], 0), ld.predict(["7"], 0), atol=1e-3)
    halves = [(prompts[:900], tensors[1][:900]), (prompts[900:], images[900:])]
    for batches in (halves, halves[::-1]):
        mixed = LinearDiffusion(20).fit_batches(batches)
        np.testing.assert_allclose(mixed.predict(["7"], 0), ld.predict(["7"], 0), atol=1e-4)
