"""Models of every kind that can be stored, and how to tell whether two are the same."""

import numpy as np

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics
from lineardiffusion.diffusion.samplers import ddim
from lineardiffusion.diffusion.schedules import Karras


def images_of(n, dtype=np.float64, seed=0):
    pixels = np.random.default_rng(seed).normal(100, 30, size=(n, 4, 3)) + 20 * (np.arange(n) % 6)[:, None, None]
    return pixels.clip(0, 255).astype(dtype)


def pairs(n):
    return [f"{i % 2} {i % 3}" for i in range(n)]


def fitted(dtype=np.float64, seed=0, n=120, embeddings=False, **params):
    prompts = np.random.default_rng(seed).normal(size=(n, 2)) if embeddings else pairs(n)
    return LinearDiffusion(**params).fit(prompts, images_of(n, dtype, seed))


def streamed(**params):
    ld = LinearDiffusion(**params)
    for seed in range(3):
        ld.partial_fit(pairs(40), images_of(40, seed=seed))
    return ld


def streamed_embeddings():
    ld = LinearDiffusion(n_components=4)
    for seed in range(3):
        ld.partial_fit(np.random.default_rng(seed).normal(size=(40, 2)), images_of(40, seed=seed))
    return ld


def on_basis(**params):
    """A model whose encoder is a basis that is not orthonormal."""
    basis = np.random.default_rng(0).normal(size=(5, 12))
    encoder = ImageEncoder.from_basis(basis, Statistics.of(pairs(120), images_of(120)))
    return fitted(image_encoder=encoder, **params)


def many_prompts(**params):
    """36 prompts of 3 words, whose joint moments take less than one block each."""
    prompts = ["a " * (i % 6) + "b " * (i // 6 % 6) + "c" for i in range(120)]
    return LinearDiffusion(**params).fit(prompts, images_of(120))


def ranked():
    """A model whose held-out images chose the rank of its styles, pixelwise and with unequal weights."""
    prompts, images = [f"{i % 2}" for i in range(1200)], images_of(1200)
    ld = LinearDiffusion(n_components=8, n_styles=3, contrast="pixelwise", random_state=0)
    return ld.fit(prompts, images, np.random.default_rng(1).uniform(0.5, 2.0, 1200))


# moments of latents: 6 prompts x 12 x 12 pixels x 8 bytes are more than max_memory
TWO_PASSES = {"n_components": 3, "max_memory": 3000}
KINDS = {
    "onehot": lambda: fitted(),
    "one component": lambda: fitted(n_components=1),
    "scaled": lambda: fitted(scale=True, sampler="one_step"),
    "bytes": lambda: fitted(np.uint8, guidance_scale=2.5),
    "float32": lambda: fitted(np.float32, schedule=Karras(sigma_max=50.0), sampler="heun"),
    "words": lambda: fitted(text_encoder="words"),
    "positions": lambda: fitted(np.uint8, text_encoder="positions", sampler=ddim(7, eta=0.5)),
    "embeddings": lambda: fitted(embeddings=True),
    "embeddings streamed": streamed_embeddings,
    "two passes": lambda: fitted(**TWO_PASSES),
    "joint strings": lambda: many_prompts(n_components=3, text_encoder="words", max_memory=2048),
    "styles": lambda: fitted(n_styles=3, contrast="affine"),
    "styles in two passes": lambda: fitted(np.float32, n_styles=2, **TWO_PASSES),
    "styles shared": lambda: fitted(np.uint8, n_styles=2, text_encoder="words", contrast="histogram"),
    "basis": lambda: on_basis(contrast="affine"),
    "basis with styles": lambda: on_basis(n_styles=2),
    "histogram": lambda: fitted(contrast="histogram", random_state=7),
    "streamed": lambda: streamed(contrast="histogram"),
    "pixelwise": lambda: fitted(np.uint8, contrast="pixelwise", style_rank=0.5, **TWO_PASSES),
    "styles pixelwise": lambda: fitted(n_styles=3, contrast="pixelwise"),
    "styles ranked": lambda: ranked(),
    "merged": lambda: fitted(seed=1).merge(fitted(np.uint8, seed=2)),
    "weighted": lambda: LinearDiffusion().fit(pairs(60), images_of(60), np.linspace(0, 3, 60)),
}


def asked(ld):
    known = ld.statistics_.prompts
    return list(known[:6]) if known else np.array([[0.3, -1.0], [0.0, 2.0]])


def drawn(ld):
    return ld.predict(asked(ld), seed=[5] * len(asked(ld)))


def assert_same(a, b, where="state"):
    """Assert that two values are the same to the last bit, field by field."""
    assert type(a) is type(b), where
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        assert a.shape == b.shape, where
        assert a.strides == b.strides, where
        assert a.tobytes() == b.tobytes(), where
        assert a.flags.writeable == b.flags.writeable, where
    elif hasattr(a, "__dataclass_fields__"):
        for name in a.__dataclass_fields__:
            assert_same(getattr(a, name), getattr(b, name), f"{where}.{name}")
    else:
        assert a == b, where
