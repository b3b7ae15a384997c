"""The page's JavaScript computes what the library computes, to the tolerances that a person cannot see.

Pictures are within 0.2 of 255 grey levels, posterior means within 0.5, probabilities within 1e-3, and Wasserstein
distances within 1e-3 of themselves (absolute below 1). Each number is an error in units of its tolerance.
"""

import base64
import gzip
import json
import math
from copy import deepcopy

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import chi2, norm

from lineardiffusion import Gaussian, LinearDiffusion, Mixture, _noise
from lineardiffusion.datasets import load_digits
from lineardiffusion.diffusion.samplers import SAMPLERS
from lineardiffusion.page import contents as page_contents
from lineardiffusion.page.contents import contents
from page_browser import chromium, modules, opened

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore:guidance multiplies")]

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
        self.page.evaluate(
            "async ([name, meta, data]) => {models[name] = await loadModel(meta, data)}", [name, meta, data]
        )

    def __call__(self, name, expression, **given):
        """Evaluate an expression of `model` and of what is given; arrays come and go as lists of numbers."""
        given = {key: np.asarray(v).tolist() if isinstance(v, np.ndarray) else v for key, v in given.items()}
        body = f"(text) => {{ const model = models[{json.dumps(name)}], {{{', '.join(given)}}} = JSON.parse(text);"
        return json.loads(self.page.evaluate(f"{body} return plain({expression}); }}", json.dumps(given)))


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def engine(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "engine.html"
    more = (
        "const models = {}, plain = (x) => JSON.stringify(x, (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v);"
    )
    path.write_text(f"<!doctype html><meta charset=utf-8><script>{modules('numerics', 'model')}\n{more}</script>")
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
    means = 100 + 3 * rng.normal(size=(p, D))
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
    """The first and the last of the symbols that have a weight."""
    symbols = engine(name, "model.symbols")
    able = [i for i, one in enumerate(symbols) if one["weight"] > 0]
    return [(i, symbols[i]) for i in sorted({able[0], able[-1]})]


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


def picture_error(engine, name, ld):
    """Error of the pictures of every deterministic sampler, with and without guidance."""
    z, worst = np.random.default_rng(1).normal(size=(2, ld.n_components_)), 0.0
    settings = [[s, *how] for s in SAMPLERS if s not in STOCHASTIC for how in ((1, 1.0), (6, 1.0), (6, 1.6))]
    for symbol, one in named_symbols(engine, name):
        found = engine(
            name,
            "settings.map(([sampler, numSteps, guidanceScale]) => predict(model, {symbol, sampler, numSteps, "
            "guidanceScale, latents: z.map((x) => Float64Array.from(x))})"
            ".map((x) => finish(model, decode(model, x), symbol, guidanceScale)))",
            symbol=symbol, z=z, settings=settings,
        )  # fmt: skip
        for (sampler, n, w), pictures in zip(settings, found, strict=True):
            how = {"sampler": sampler, "num_steps": n, "guidance_scale": w}
            expected = ld.predict([one["name"]] * 2, latents=z, **how).reshape(2, -1)
            worst = max(worst, np.abs(expected - pictures).max() / unit(ld))
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


def distance_error(engine, name, ld, steps=(1, 3, 20)):
    """Error of the distance of every sampler's law to the exact one, with and without guidance."""
    worst = 0.0
    settings = [[sampler, w] for sampler in SAMPLERS for w in (1.0, 1.6)]
    symbol, one = named_symbols(engine, name)[-1]
    exact = ld.law(one["name"], sampler="exact", guidance_scale=1.0)
    found = engine(
        name,
        "settings.map(([sampler, guidanceScale]) => stepCounts.map((numSteps) => "
        "wasserstein(model, {symbol, sampler, guidanceScale, numSteps})))",
        symbol=symbol, settings=settings, stepCounts=list(steps),
    )  # fmt: skip
    for (sampler, w), distances in zip(settings, found, strict=True):
        how = {"sampler": sampler, "guidance_scale": w}
        expected = np.array([ld.law(one["name"], num_steps=n, **how).wasserstein(exact) for n in steps])
        worst = max(worst, (np.abs(expected - distances) / np.maximum(1, expected)).max())
    return worst / DISTANCE


def posterior_errors(engine, name, ld, images):
    """Errors of probabilities and of posterior means."""
    share = mean = 0.0
    for mask in masks(ld):
        missing = np.where(mask, np.nan, images).reshape(-1, *ld.image_shape_)
        proba, expected = ld.classify_proba(missing), ld.inpaint(missing, n_samples=0).reshape(len(images), -1)
        found = engine(
            name,
            "((p) => images.map((x) => [p.observe(x).probabilities, p.mean()]))(new Posterior(model, seen))",
            images=np.where(mask, 0.0, images), seen=(~mask).astype(int),
        )  # fmt: skip
        share = max(share, np.abs(proba - np.array([one[0] for one in found])).max())
        mean = max(mean, np.abs(expected - np.array([one[1] for one in found])).max() / unit(ld))
    return share / SHARE, mean / MEAN


def denoise_error(engine, name, ld, images, levels=(0.02, 0.3, 2.0)):
    """Error of the denoised image and of the score times (sigma r)^2, r the scale of a pixel."""
    worst, rng, r = 0.0, np.random.default_rng(4), ld.fitted_.encoder.pixel_scale
    if ld.text_encoder is not None and ld.n_styles != 1:
        return 0.0  # a mixture of regressions is not linear, and the library has none
    for sigma in np.multiply(levels, unit(ld)).tolist():
        noisy = images[:3] + sigma * rng.normal(size=images[:3].shape)
        seen = ld.decode(ld.encode(noisy.reshape(3, *ld.image_shape_))).reshape(3, -1)
        for u, prompt in enumerate(ld.prompts_.tolist()[:2]):
            expected = ld.denoise([prompt] * 3, noisy.reshape(3, *ld.image_shape_), sigma).reshape(3, -1)
            found = engine(name, "images.map((x) => denoise(model, x, sigma, u))", images=noisy, sigma=sigma, u=u)
            image, score = (np.array([one[part] for one in found]) for part in ("image", "score"))
            for difference in (expected - image, expected - seen - (sigma * r) ** 2 * score):
                worst = max(worst, np.abs(difference).max() / unit(ld))
    return worst / GREY


def all_prompts_error(engine, name, ld, images):
    """Errors of the denoised image and of the probabilities under all prompts together.

    The mixture is computed from the laws of the styles and from the frequencies of the prompts.
    """
    parts = []
    of_data = deepcopy(ld).refit(
        sampler="exact", schedule="flow", guidance_scale=1.0
    )  # which starts from noise alone
    prior = ld.fitted_.statistics.moments.weight
    for prompt, share in zip(ld.prompts_.tolist(), prior / prior.sum(), strict=True):
        law = of_data.law(prompt)
        own = [(1.0, law)] if isinstance(law, Gaussian) else zip(law.weights, law.components, strict=True)
        parts += [(prompt, share * w, one.mean, one.covariance) for w, one in own if w > 0]
    image = share = 0.0
    for sigma in np.multiply((0.1, 0.5), unit(ld)).tolist():
        level = sigma / ld.fitted_.encoder.scaling_factor
        noisy = images[:3] + sigma * np.random.default_rng(5).normal(size=images[:3].shape)
        z = ld.encode(noisy.reshape(3, *ld.image_shape_))
        log, clean = [], []
        for _, w, mean, C in parts:
            total = C + level**2 * np.eye(len(mean))
            gap = np.linalg.solve(total, (z - mean).T).T
            log.append(np.log(w) - 0.5 * (np.sum((z - mean) * gap, axis=1) + np.linalg.slogdet(total)[1]))
            clean.append(mean + gap @ C)
        shares = softmax(np.array(log), axis=0)
        expected = ld.decode(np.einsum("kn,knd->nd", shares, clean)).reshape(3, -1)
        of = np.array([part[0] for part in parts])
        probabilities = np.array([shares[of == prompt].sum(axis=0) for prompt in ld.prompts_.tolist()]).T
        found = engine(name, "images.map((x) => denoise(model, x, sigma))", images=noisy, sigma=sigma)
        image = max(image, np.abs(expected - [one["image"] for one in found]).max() / unit(ld))
        share = max(share, np.abs(probabilities - [one["probabilities"] for one in found]).max())
    return image / GREY, share / SHARE


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


def test_denoiser_under_all_prompts(engine, case):
    """The mixture of all prompts; that of other frequencies must not pass."""
    name, ld = case
    if ld.text_encoder is not None:
        return  # the prompts share words, and have no mixture
    assert max(all_prompts_error(engine, name, ld, images_of(ld))) <= 1
    if name == "styles":
        weights = "model.symbols.forEach((one) => { if (one.prompt < 5) one.weight *= 2; })"
        engine.load("other frequencies", ld)
        engine("other frequencies", f"[{weights}]")
        image, share = all_prompts_error(engine, "other frequencies", ld, images_of(ld))
        assert share > 1
        assert image > 1


# ---------------------------------------------------------------------- rounding, and what must not pass


@pytest.fixture
def rounded(monkeypatch):
    """Arrays as integers of 16 bits, however few they are."""
    monkeypatch.setattr(page_contents, "SMALL", 0)


def errors(engine, name, ld):
    images = images_of(ld)
    of_images = *posterior_errors(engine, name, ld, images), denoise_error(engine, name, ld, images, (0.02, 0.3))
    return np.array([picture_error(engine, name, ld), distance_error(engine, name, ld), *of_images])


@pytest.fixture(scope="module")
def large():
    return digits(20, n_styles=4, contrast="affine")


def test_rounded_arrays_are_within_the_tolerances(engine, rounded, large):
    engine.load("rounded", large)
    assert {entry[0] for entry in contents(large).meta["arrays"].values()} == {"f4", "i2", "i3", "u1"}
    found = errors(engine, "rounded", large)
    assert (found <= 1).all()
    assert (found > 1e-4).all()  # they are rounded


def test_numbers_of_eight_bits_are_not(engine, rounded, large, monkeypatch):
    monkeypatch.setattr(page_contents._Arrays, "put", perturbed(page_contents._Arrays.put))
    engine.load("coarse", large)
    assert (errors(engine, "coarse", large) > 1).all()


@pytest.mark.parametrize("wrong", ["model.floor *= 1e5", "model.residual *= 1.5", "model.temperature = 2"])
def test_wrong_numbers_of_the_pixel_model_are_noticed(engine, large, wrong):
    engine.load("wrong", large)
    engine("wrong", f"({wrong})")
    assert max(posterior_errors(engine, "wrong", large, images_of(large))) > 1


# ---------------------------------------------------------------------- posteriors


def test_a_temperature_changes_the_probabilities_as_it_does_in_the_library(engine):
    prompts, images = load_digits()
    ld = digits(12, n_styles=2).calibrate(prompts[1500:], images[1500:])
    assert ld.temperature_ > 1.5
    engine.load("calibrated", ld)
    assert max(posterior_errors(engine, "calibrated", ld, images[1500:1520].reshape(20, -1))) <= 1


def z_scores(draws, others):
    """Differences of the means and of the variances of two samples (n, k), in their standard errors."""
    z = []
    for power in (1, 2):
        a, b = ((x - draws.mean(axis=0)) ** power for x in (draws, others))
        z.append((a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b)))
    return np.abs(np.concatenate(z))


@pytest.mark.parametrize("hidden", [0.4, 0.9], ids=["half is seen", "little is seen"])
def test_draws_have_the_law_of_the_librarys(engine, hidden):
    """Means, variances and prompts of 4,000 draws; draws with noise that is 5 % too large must not pass."""
    ld, n = digits(16, n_styles=2), 4000
    engine.load("draws", ld)
    images = load_digits()[1]
    mask = np.random.default_rng(0).random(64) < hidden
    image, hole = images[1700], mask.reshape(8, 8)
    theirs = ld.inpaint(image[None], hole, seed=1, n_samples=n).reshape(n, -1)[:, mask]
    directions = np.linalg.eigh(np.cov(theirs.T))[1][:, -10:]

    def drawn(size):
        """Coordinates of draws along the directions, and their prompts."""
        found = engine(
            "draws",
            "((p, g) => { p.observe(image); return Array.from({length: n}, () => { "
            "const one = p.draw(g.uniform, () => size * g.normal()), x = one.image.filter((_, j) => !seen[j]); "
            "return [...multiply(x, axes, 1, x.length, 10), one.prompt, one.image.every((y, j) => !seen[j] || "
            "y === image[j])]; }); })(new Posterior(model, seen), generator(7))",
            image=image.ravel(), seen=(~mask).astype(int), axes=directions.ravel(), n=n, size=size,
        )  # fmt: skip
        assert all(one[11] for one in found)  # the seen pixels are as they were
        return np.array([one[:10] for one in found]), [one[10] for one in found]

    ours, read = drawn(1.0)
    assert z_scores(ours, theirs @ directions).max() < 4.5
    assert z_scores(drawn(1.05)[0], theirs @ directions).max() > 4.5
    expected = n * ld.classify_proba(np.where(hole, np.nan, image)[None])[0]
    count = np.bincount(read, minlength=10)
    usual = expected > 5
    assert (count - expected)[usual] @ ((count - expected) / expected)[usual] < chi2.isf(1e-5, usual.sum())
    assert count[~usual].sum() < 60
    mean = ld.inpaint(image[None], hole, n_samples=0).ravel()[mask]
    z = (ours.mean(axis=0) - mean @ directions) / ours.std(axis=0) * np.sqrt(n)
    assert np.abs(z).max() < norm.isf(1e-5)


@pytest.mark.parametrize("contrast", [None, "affine", "histogram", "pixelwise"])
def test_contrast_of_pictures_and_of_draws(engine, contrast):
    ld = digits(14, n_styles=2, contrast=contrast)
    name = f"contrast {contrast}"
    engine.load(name, ld)
    fitted, images = ld.fitted_, images_of(ld) * 1.3 - 2
    for symbol, one in named_symbols(engine, name):
        conditions = fitted.conditioner.request([one["name"]], 1.0).conditions
        place = np.zeros(len(images), np.intp)
        for finish, kind in (("finish", None), ("finishPosterior", fitted.posterior_contrast(False))):
            expected = fitted.finish(images, conditions, place, kind)
            found = np.array(
                engine(name, f"images.map((x) => {finish}(model, x, symbol))", images=images, symbol=symbol)
            )
            different = np.abs(found - expected) > GREY * unit(ld)
            if contrast == "histogram":  # a step may lie between two roundings of a number
                assert different.mean() < 1e-3
            else:
                assert not different.any()
    if contrast == "pixelwise":
        both = [
            np.array(engine(name, f"images.map((x) => {f}(model, x, 0))", images=images))
            for f in ("finish", "finishPosterior")
        ]
        assert np.abs(both[0] - both[1]).max() > 10 * GREY * unit(ld)


@pytest.mark.parametrize("contrast", [None, "affine", "histogram", "pixelwise"])
def test_constant_pictures(engine, contrast):
    """Of images without any variance every picture and completion is that image."""
    ld = LinearDiffusion(3, contrast=contrast).fit(["a", "b"] * 6, np.full((12, 4, 4), 7.0))
    engine.load("blank", ld)
    z = np.ones((1, ld.n_components_))
    found = engine(
        "blank",
        "finish(model, decode(model, predict(model, {symbol: 0, latents: [Float64Array.from(z)]})[0]), 0)",
        z=z[0],
    )  # fmt: skip
    assert np.allclose(found, ld.predict(["a"], latents=z).ravel())
    assert max(posterior_errors(engine, "blank", ld, np.full((2, 16), 7.0))) <= 1
    shares = engine(
        "blank",
        "new Posterior(model, new Uint8Array(16).fill(1)).observe(new Float64Array(16).fill(9)).probabilities",
    )
    assert np.allclose(shares, [0.5, 0.5])


# ---------------------------------------------------------------------- numbers and random numbers


def test_linear_algebra(engine):
    """Decompositions of matrices with equal, zero and widely different eigenvalues."""
    rng = np.random.default_rng(0)
    for d in (1, 2, 3, 30):
        Q = np.linalg.qr(rng.normal(size=(d, d))).Q
        for spectrum in (np.ones(d), np.arange(d) // 2, 10.0 ** -np.arange(d)):
            A = (Q * spectrum) @ Q.T
            found = engine(None, "symmetricEigen(Float64Array.from(A), d)", A=A.ravel(), d=d)
            values, V = np.array(found["values"]), np.reshape(found["vectors"], (d, d))
            assert np.allclose(values, np.sort(spectrum), atol=1e-13 * max(spectrum.max(), 1))
            assert np.allclose(V.T @ V, np.eye(d), atol=1e-12)
            assert np.allclose((V * values) @ V.T, A, atol=1e-12)
            L = np.reshape(engine(None, "cholesky(Float64Array.from(A), d, true)", A=A.ravel(), d=d), (d, d))
            assert np.allclose(L, np.tril(L))
            assert np.allclose(L @ L.T, A, atol=1e-7)  # half of the digits where A is singular
    assert engine(None, "cholesky(Float64Array.of(1, 1, 1, 1), 2)") is None
    rows = rng.normal(size=(5, 9))
    found = engine(None, "singularValues(Float64Array.from(rows), 5, 9)", rows=rows.ravel())
    assert np.allclose(np.sort(found), np.sort(np.linalg.svd(rows, compute_uv=False)))


def test_random_numbers(engine):
    """Uniform and normal numbers by their moments, and the same ones again for the same seed."""
    u = np.array(engine(None, "((g) => Array.from({length: 40000}, g.uniform))(generator(3))"))
    n = np.array(engine(None, "generator(3).normals(40000)"))
    assert np.abs(np.mean(u[:, None] ** [1, 2, 3], axis=0) - [1 / 2, 1 / 3, 1 / 4]).max() < 4 / 200 / 3
    assert np.abs(np.mean(n[:, None] ** [1, 2, 3, 4], axis=0) - [0, 1, 0, 3]).max() < 5 * np.sqrt(96) / 200
    assert abs(np.corrcoef(n[:-1], n[1:])[0, 1]) < 5 / 200
    assert engine(None, "generator(3).normals(5)") == n[:5].tolist()
    assert engine(None, "generator(4).normals(5)") != n[:5].tolist()


def test_maps_are_kept_up_to_a_number_of_bytes(engine, large):
    """A map is kept beside one of 31.9 MB, and replaces it at 32 MB."""
    engine.load("maps", large)
    for size, kept in ((31.9e6, 2), (32e6, 1)):
        body = (
            "(() => { const settings = {symbol: 0, guidanceScale: 2, sampler: 'ddim', numSteps: 2}; "
            "composed(model, settings); const maps = model.cache.get('maps'); maps.clear(); "
            "maps.set('large', {rows: new Uint8Array(size)}); composed(model, settings); return maps.size; })()"
        )
        assert engine("maps", body, size=size) == kept


def test_points_of_the_plane(engine):
    """Score and paths of points under a mixture, against the library's law of the noisy points."""
    weights, means = [0.3, 0.7], [[-1.0, 0.5], [1.0, 0.0]]
    covariances = [[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.0]]]
    mixture = {"weights": weights, "means": means, "covariances": covariances}
    alpha, sigma, x, h = 0.8, 0.6, np.array([0.2, -0.4]), 1e-5
    parts = [
        Gaussian(alpha * np.array(m), alpha**2 * np.array(C) + sigma**2 * np.eye(2))
        for m, C in zip(means, covariances, strict=True)
    ]
    noisy = Mixture(weights, parts)
    slope = [(noisy.log_prob(x + h * e) - noisy.log_prob(x - h * e)) / (2 * h) for e in np.eye(2)]
    found = engine(None, "score(mixture, x, alpha, sigma)", mixture=mixture, x=x, alpha=alpha, sigma=sigma)
    assert np.allclose(found, slope, atol=1e-6)
    # one Gaussian: the paths end where the closed form does, whatever the sampler's order
    one = {"weights": [1.0], "means": means[:1], "covariances": covariances[:1]}
    values, V = np.linalg.eigh(np.array(covariances[0]))
    expected = np.array(means[0]) + (V * np.sqrt(values)) @ V.T @ x
    for sampler, tolerance in (("exact", 1e-5), ("rk4", 1e-3), ("dpm++2m", 1e-2)):
        states = engine(None, "pathsOf(mixture, [x], sampler, 40)", mixture=one, x=x, sampler=sampler)
        assert len(states) == 41
        assert np.abs(np.array(states[-1][0]) - expected).max() < tolerance


# ---------------------------------------------------------------------- what a page cannot hold


def test_models_that_a_page_cannot_hold_are_refused_with_advice():
    from lineardiffusion.diffusion.samplers import ddim

    rng = np.random.default_rng(0)
    embedded = LinearDiffusion(2).fit(rng.normal(size=(30, 2)), rng.normal(size=(30, 6)))
    cases = [
        (embedded, "prompts that are strings"),
        (digits(4, sampler=ddim(5, eta=0.5)), r"refit\(sampler="),
        (digits(4, schedule=lambda t: (1 - t, t)), r"refit\(schedule="),
        (digits(4, guidance_scale=lambda t: 1.0 + t), r"refit\(guidance_scale="),
    ]
    for ld, advice in cases:
        with pytest.raises(ValueError, match=advice):
            contents(ld)


# ---------------------------------------------------------------------- MNIST


@pytest.mark.mnist
def test_mnist(engine, mnist):
    """The model that ships, on real images and random masks."""
    ld, images = LinearDiffusion.from_pretrained("mnist-small"), mnist[1][60_000:60_060]
    engine.load("mnist", ld)
    assert len(gzip.compress(contents(ld).blob, 9)) < 650_000
    assert picture_error(engine, "mnist", ld) <= 1
    assert distance_error(engine, "mnist", ld) <= 1
    assert max(posterior_errors(engine, "mnist", ld, images.reshape(60, -1).astype(float))) <= 1
