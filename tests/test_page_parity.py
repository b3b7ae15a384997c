"""The page's JavaScript computes what the library computes, to the tolerances that a person cannot see.

Pictures are within 0.2 of 255 grey levels, posterior means within 0.5, probabilities within 1e-3, and Wasserstein
distances within 1e-3 of themselves (absolute below 1). Each number is an error in units of its tolerance.
"""

import base64
import gzip
import math

import numpy as np
import pytest
from scipy.stats import chi2, norm

from lineardiffusion import LinearDiffusion, _noise
from lineardiffusion.datasets import load_digits
from lineardiffusion.diffusion.samplers import SAMPLERS
from lineardiffusion.page import contents as page_contents
from lineardiffusion.page.contents import contents
from page_browser import chromium, modules, opened

pytestmark = pytest.mark.browser

GREY, MEAN = 0.2 / 255, 0.5 / 255  # of the range of the pixels
SHARE = DISTANCE = 1e-3
STOCHASTIC = {"ddpm", "em", "ei"}


class Engine:
    """The page's modules in a browser, with models by name."""

    def __init__(self, page):
        self.page = page

    def load(self, name, ld):
        meta, blob = contents(ld)
        data = base64.b64encode(gzip.compress(blob)).decode()
        self.page.evaluate("async ([name, meta, data]) => {models[name] = await loadModel(meta, data)}", [name, meta, data])

    def __call__(self, name, expression, **given):
        """Evaluate an expression of `model` and of what is given; arrays become lists of numbers."""
        given = {key: np.asarray(v).tolist() if isinstance(v, np.ndarray) else v for key, v in given.items()}
        names = ", ".join(given)
        body = f"([name, {{{names}}}]) => {{ const model = models[name]; return plain({expression}); }}"
        return self.page.evaluate(body, [name, given])


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def engine(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "engine.html"
    plain = "const plain = (x) => JSON.parse(JSON.stringify(x, (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v));"
    path.write_text(f"<!doctype html><meta charset=utf-8><script>{modules('numerics', 'model')}\n{plain} const models = {{}};</script>")
    with opened(browser, path) as page:
        yield Engine(page)


# ---------------------------------------------------------------------- models


def digits(n_components=16, start=0, **params):
    prompts, images = load_digits()
    return LinearDiffusion(n_components, random_state=0, **params).fit(prompts[start:1500], images[start:1500])


def synthetic(shape, prompts=("left", "right", "up"), n=240, rank=None, dtype=np.float64, **params):
    """A model of images of this shape that are Gaussian under each prompt."""
    rng, D, p = np.random.default_rng(0), math.prod(shape), len(prompts)
    mix = rng.normal(size=(p, rank or D, D)) * rng.uniform(0.3, 3, size=(p, 1, 1))
    means = 100 + 8 * rng.normal(size=(p, D))
    which = np.arange(n) % p
    images = np.stack([means[u] + rng.normal(size=rank or D) @ mix[u] for u in which])
    images = images.clip(0, 255).reshape(n, *shape).astype(dtype)
    return LinearDiffusion(**{"random_state": 0, **params}).fit([prompts[u] for u in which], images)


MODELS = {
    "styles": lambda: digits(20, n_styles=3, contrast="affine"),
    "thin styles": lambda: digits(12, n_styles=40, contrast="pixelwise", schedule="flow"),
    "every component": lambda: synthetic((4, 3), n_components=12),
    "histogram": lambda: digits(20, contrast="histogram", scale=True),
    "other settings": lambda: digits(10, n_styles=2, schedule="vp", sampler="ddim", num_steps=9),
    "guided": lambda: digits(10, schedule="karras", guidance_scale=1.3, sampler="heun"),
    "colour": lambda: synthetic((3, 4, 3), n_components=14, dtype=np.uint8, contrast="affine"),
    "vectors": lambda: synthetic((7,), n_components=3),
    "points": lambda: synthetic((2,), n_components=2, n_styles=2),
    "one prompt": lambda: synthetic((4, 3), prompts=("</script> & \"~\"",), n_components=5),
    "words": lambda: synthetic((4, 3), prompts=("a b", "a c", "d b", "d c"), n_components=5, text_encoder="words"),
    "words with styles": lambda: synthetic(
        (4, 3), prompts=("a b", "b a"), n_components=4, text_encoder="positions", n_styles=2
    ),
    "singular": lambda: synthetic((4, 3), n_components=8, rank=3, n=400),
    "few images": lambda: synthetic((4, 3), n_components=6, n=24, n_styles=5),
}  # fmt: skip


def perturbed(put):
    """Round arrays to three bits of mantissa, as numbers of 8 bits have."""

    def rounded(self, name, array, kind="f4"):
        if name == "components" or name.endswith((".roots", ".left")):
            mantissa, exponent = np.frexp(np.asarray(array, float))
            array = np.ldexp(np.rint(16 * mantissa) / 16, exponent)
        put(self, name, array, kind)

    return rounded


@pytest.fixture(scope="module", params=MODELS)
def case(request, engine):
    ld = MODELS[request.param]()
    engine.load(request.param, ld)
    return request.param, ld


def named_symbols(engine, name):
    """Symbols, two at least of different prompts, that have a weight."""
    symbols = engine(name, "model.symbols")
    able = [i for i, one in enumerate(symbols) if one["weight"] > 0]
    return [(i, symbols[i]) for i in sorted({able[0], able[len(able) // 2], able[-1]})]


def unit(ld):
    low, high = ld.pixel_range_
    return (high - low) or 1.0


def masks(ld, seed=0):
    """Masks of hidden pixels: of all, of half, of all but two, of none."""
    rng, D = np.random.default_rng(seed), math.prod(ld.image_shape_)
    few = np.ones(D, bool)
    few[rng.permutation(D)[: min(2, D - 1)]] = False
    half = rng.random(D) < 0.5
    rows = np.arange(D) >= D // 2
    return [np.zeros(D, bool), half, rows, few, np.ones(D, bool)]


def images_of(ld, n=12):
    """Images that the model draws, as real ones are: within the range."""
    drawn = ld.sample(n, seed=3)[0].astype(float)
    return np.clip(drawn, *ld.pixel_range_).reshape(n, -1)


# ---------------------------------------------------------------------- errors in units of the tolerances


def picture_error(engine, name, ld, samplers=tuple(SAMPLERS), steps=(1, 6), scales=(1.0, 1.6)):
    z, worst = np.random.default_rng(1).normal(size=(2, ld.n_components_)), 0.0
    for symbol, one in named_symbols(engine, name):
        for sampler in [s for s in samplers if s not in STOCHASTIC]:
            for n in steps:
                for w in scales:
                    settings = {"sampler": sampler, "num_steps": n, "guidance_scale": w}
                    expected = ld.predict([one["name"]] * 2, latents=z, **settings).reshape(2, -1)
                    found = engine(
                        name,
                        "predict(model, {symbol, latents: z.map((x) => Float64Array.from(x)), sampler, numSteps, guidanceScale})"
                        ".map((x) => finish(model, decode(model, x), symbol, guidanceScale))",
                        symbol=symbol, z=z, sampler=sampler, numSteps=n, guidanceScale=w,
                    )  # fmt: skip
                    worst = max(worst, np.abs(expected - found).max() / unit(ld))
    return worst / GREY


def simulated_error(engine, name, ld, n=5):
    """Errors of the states of stochastic samplers, with the library's noise."""
    d, worst = ld.n_components_, 0.0
    z = np.random.default_rng(2).normal(size=(1, d))
    symbol, one = named_symbols(engine, name)[0]
    noise = _noise.generators(8, 1)[0].normal(size=(n + 1) * d)
    for sampler in sorted(STOCHASTIC):
        for w in (1.0, 1.6):
            how = {"sampler": sampler, "num_steps": n, "guidance_scale": w}
            _, expected = ld.predict([one["name"]], 8, latents=z, return_trajectory=True, **how)
            found = engine(
                name,
                "trajectory(model, {symbol, latents: [Float64Array.from(z)], sampler, numSteps, guidanceScale, "
                "noise: () => noise.shift()}).map(([x]) => decode(model, x))",
                symbol=symbol, z=z[0], sampler=sampler, numSteps=n, guidanceScale=w, noise=noise,
            )  # fmt: skip
            difference = np.abs(ld.decode(expected[:, 0]).reshape(n + 1, -1) - found).max(axis=1)
            assert len(found) == n + 1
            worst = max(worst, difference[-1] / unit(ld), 0.2 * difference[:-1].max() / unit(ld))  # noise is larger
    return worst / GREY


def distance_error(engine, name, ld, samplers=tuple(SAMPLERS), steps=(1, 3, 20), scales=(1.0, 1.6)):
    worst = 0.0
    for symbol, one in named_symbols(engine, name)[:2]:
        exact = ld.law(one["name"], sampler="exact", guidance_scale=1.0)
        for sampler in samplers:
            for w in scales:
                settings = {"sampler": sampler, "guidance_scale": w}
                expected = np.array([ld.law(one["name"], num_steps=n, **settings).wasserstein(exact) for n in steps])
                found = engine(
                    name, "wassersteinCurve(model, {symbol, sampler, guidanceScale, stepCounts})",
                    symbol=symbol, sampler=sampler, guidanceScale=w, stepCounts=list(steps),
                )  # fmt: skip
                worst = max(worst, (np.abs(expected - found) / np.maximum(1, expected)).max())
    return worst / DISTANCE


def posterior_errors(engine, name, ld, images):
    """Errors of probabilities and of posterior means."""
    share = mean = 0.0
    for mask in masks(ld):
        missing = np.where(mask, np.nan, images).reshape(-1, *ld.image_shape_)
        proba, expected = ld.classify_proba(missing), ld.inpaint(missing, n_samples=0).reshape(len(images), -1)
        found = engine(
            name,
            "((posterior) => images.map((x) => [posterior.observe(x).probabilities, posterior.mean()]))(new Posterior(model, seen))",
            images=np.where(mask, 0.0, images), seen=(~mask).astype(int),
        )  # fmt: skip
        share = max(share, np.abs(proba - np.array([one[0] for one in found])).max())
        mean = max(mean, np.abs(expected - np.array([one[1] for one in found])).max() / unit(ld))
    return share / SHARE, mean / MEAN


def denoise_error(engine, name, ld, images):
    worst, rng = 0.0, np.random.default_rng(4)
    mixed = ld.text_encoder is None  # a mixture of regressions is not linear, and the library has none
    for sigma in (0.02 * unit(ld), 0.3 * unit(ld), 3 * unit(ld)):
        noisy = images[:3] + sigma * rng.normal(size=images[:3].shape)
        for u, prompt in enumerate(ld.prompts_.tolist()[:2]):
            if not mixed and ld.n_styles != 1:
                continue
            expected = ld.denoise([prompt] * 3, noisy.reshape(3, *ld.image_shape_), sigma).reshape(3, -1)
            found = engine(name, "images.map((x) => denoise(model, x, sigma, u))", images=noisy, sigma=sigma, u=u)
            worst = max(worst, np.abs(expected - [one["image"] for one in found]).max() / unit(ld))
            seen = ld.decode(ld.encode(noisy.reshape(3, *ld.image_shape_))).reshape(3, -1)
            scores = np.array([one["score"] for one in found]) * sigma**2
            worst = max(worst, np.abs(expected - seen - scores).max() / unit(ld))
    return worst / GREY


def test_pictures(engine, case):
    assert picture_error(engine, *case) <= 1


def test_simulated_states(engine, case):
    assert simulated_error(engine, *case) <= 1


def test_wasserstein_distances(engine, case):
    assert distance_error(engine, *case) <= 1


def test_probabilities_and_posterior_means(engine, case):
    name, ld = case
    share, mean = posterior_errors(engine, name, ld, images_of(ld))
    assert share <= 1
    assert mean <= 1


def test_denoiser_and_score(engine, case):
    name, ld = case
    assert denoise_error(engine, name, ld, images_of(ld)) <= 1
