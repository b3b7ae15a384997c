"""Contents of a page: what a browser needs to compute what the library computes, in few bytes.

The page's arithmetic is float64, as the library's. What is stored is rounded, each array by what depends on it:

    components       (d, D)      integers of 24 bits, with a scale for each pixel
    covariances      (K, d, d)   roots C = D U^T U D (io/compact.py): U as integers of 16 bits with a scale for each
                                 entry, and D of 24 bits
    means            (K, d)      integers of 24 bits
    contrasts        (K, D)      of single pixels: integers of 16 bits for the logarithm of the gain, and for asinh
                                 of the value that the mean gets
    examples         (n, D)      bytes, where the pixels are

On MNIST (64 components, 100 styles, 22 masks of 300 images) this changes a probability by 4e-4, a posterior mean by
0.1 grey levels and a picture by 0.1 at most, in 0.62 MB. Components of 16 bits save 0.05 MB and change them by
1e-3, 0.2 and 0.1; half precision takes 0.67 MB and changes them by 3e-3, 0.9 and 0.2. A model whose arrays are
small has all of them in single precision.

One stack of covariances is stored. With styles it is C of each style, from which the page derives the drawn law and
the scored one as statistics/styles.py does: r leading directions of C with its whole variance, and
S = (1 - k) C + k W, W the covariance within the styles of a prompt, shrunk. The laws by which images are scored are
stored beside it where they are not these: where the model's own sampler is not exact from pure noise without
guidance, and where prompts share words (diffusion/regression.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion._linalg import one_thread
from lineardiffusion._triangles import pack, triangle
from lineardiffusion.contrast import AffineContrast, Contrast, HistogramContrast, PixelwiseContrast
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.diffusion.samplers import SAMPLERS, Sampler, exact
from lineardiffusion.diffusion.schedules import SCHEDULES, Schedule
from lineardiffusion.encoders.conditioning import Condition, alternatives
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.estimator import LinearDiffusion
from lineardiffusion.fitted import FittedDiffusion
from lineardiffusion.inverse.posterior import LatentLaws
from lineardiffusion.page.size import LARGEST, Layout, refusal
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.styles import FEW, PRIOR_IMAGES, ROUNDING, number_of_directions

EXAMPLES = 40  # images that the model draws, which a page shows and starts from
SMALL = 400_000  # bytes of all arrays in single precision, up to which nothing is rounded further
MOST = 12_000_000  # bytes of all arrays, above which no page is tried
PAGE_BYTES = 2.5  # of a number of 16 bits, by gzip and base64
WITHOUT_MODEL = 150_000  # bytes of a page
RANK_TOLERANCE = 1e-13  # of the largest eigenvalue, below which one is rounding
CODES = {"i2": 2**15 - 1, "i3": 2**23 - 1}  # the largest integers of 16 and 24 bits


class Contents(NamedTuple):
    """What a page holds: a description for JSON, and the concatenated arrays."""

    meta: dict[str, Any]
    blob: bytes


class _Arrays:
    """Arrays that are concatenated, with an index of their places, shapes and types."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.index: dict[str, list[Any]] = {}
        self.size = 0

    def put(self, name: str, array: Any, kind: str = "f4") -> None:
        """Append an array: f4, f8 or u1 as they are, i2 and i3 (n, m) as integers with a scale for each column."""
        array = np.asarray(array)
        self.index[name] = [kind, self.size, *array.shape]
        if kind in CODES:
            scale = (np.abs(array).max(axis=0, initial=0.0) / CODES[kind]).astype("<f4")
            codes = np.divide(array, scale, out=np.zeros(array.shape), where=scale > 0)
            # the highest bytes together, because they repeat
            planes = np.rint(codes).astype("<i4").reshape(-1, 1).view("u1").T[: int(kind[1])]
            raw = scale.tobytes() + planes.tobytes()
        else:
            raw = np.ascontiguousarray(array, f"<{kind}").tobytes()
        raw += b"\0" * (-len(raw) % 8)
        self.parts.append(raw)
        self.size += len(raw)


def contents(model: LinearDiffusion) -> Contents:
    """Return what a page of a model holds.

    Parameters
    ----------
    model : LinearDiffusion
        Fitted model.

    Returns
    -------
    Contents
        The description `meta`, which JSON holds, and the bytes `blob` of the arrays.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    ValueError
        If a page cannot hold the model: prompts that are numbers, an encoder that is not linear, a sampler, a
        schedule or a guidance scale that is a function or has settings of its own, or too many numbers.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> meta, blob = contents(LinearDiffusion(16).fit(*load_digits()))
    >>> meta["prompts"][:3], len(blob) < 100_000
    (['0', '1', '2'], True)
    """
    fitted = model.fitted_
    encoder, sampler, schedule = _check(fitted)
    symbols = _Symbols.of(fitted)
    d, D = encoder.components.shape
    regression = isinstance(fitted.conditional, RegressionDenoiser)
    derived = not regression and _is_exact(fitted, sampler)
    styles = fitted.statistics.styles
    own = styles is not None and fitted.within is not None and not regression
    now = Layout(d, len(symbols.weight), styles.moments.effective if own else None)  # type: ignore[union-attr]
    numbers = _numbers(fitted, now, D, derived)
    _check_size(fitted, numbers, now)
    arrays = _Arrays()
    precise = sum(numbers.values()) * 4 <= SMALL
    kind = "f4" if precise else "i2"

    pixel_model = fitted.require_pixel_model()
    meta: dict[str, Any] = {
        "shape": list(encoder.image_shape),
        "range": [float(number) for number in fitted.statistics.pixel_range],
        "prompts": list(fitted.statistics.prompts),
        "symbols": {"prompt": symbols.prompt, "style": symbols.style, "weight": symbols.weight},
        "scalingFactor": float(encoder.scaling_factor),
        "floor": float(pixel_model.floor),
        "residual": float(pixel_model.v),
        "temperature": float(fitted.temperature),
        "sampler": sampler.name,
        "numSteps": sampler.num_steps,
        "guidanceScale": float(fitted.parameters.guidance_scale),
        "schedule": {"name": _name_of(schedule), **asdict(schedule)},  # type: ignore[call-overload]
        "contrast": None,
        "styles": None,
    }
    arrays.put("mean", encoder.mean, "f4")
    if not (encoder.pixel_scale == 1.0).all():
        arrays.put("pixelScale", encoder.pixel_scale, "f4")
    arrays.put("components", encoder.components, "f4" if precise else "i3")
    _put_covariances(arrays, "pooled", fitted.unconditional.mean, _covariances(fitted.unconditional), "f4")
    if isinstance(fitted.conditional, RegressionDenoiser):
        _put_regression(arrays, fitted.conditional, symbols)
    elif styles is not None and fitted.within is not None:
        _put_covariances(arrays, "laws", styles.moments.mean, styles.moments.covariance, kind)
        meta["styles"] = _styles(fitted)
    else:
        _put_covariances(arrays, "laws", fitted.conditional.mean, _covariances(fitted.conditional), kind)
    if not derived:
        laws = _scored_laws(fitted, symbols)
        _put_covariances(arrays, "scored", laws.mean, laws.covariance, kind)
    meta["contrast"] = _put_contrast(arrays, fitted, kind)
    _put_examples(arrays, model, symbols)
    meta["arrays"] = arrays.index
    return Contents(meta, b"".join(arrays.parts))


class _Symbols(NamedTuple):
    """The symbols of a page: each prompt, or each style of each prompt."""

    prompt: list[int]
    style: list[int | None]
    weight: list[float]  # probability of the symbol, with the sum 1
    conditions: list[Condition]

    @classmethod
    def of(cls, fitted: FittedDiffusion) -> _Symbols:
        conditioner, moments = fitted.conditioner, fitted.statistics.moments
        assert isinstance(moments, Moments)
        prior = moments.weight / moments.weight.sum()
        found = cls([], [], [], [])
        for u, prompt in enumerate(fitted.statistics.prompts):
            (plain,) = conditioner.request([prompt], 1.0).conditions
            if conditioner.styles is None:
                found._append(u, None, prior[u], plain)
                continue
            frequencies = {condition: weight for condition, weight in alternatives(plain)}
            own = conditioner.styles.prompt == u
            count = len(conditioner.styles.of_all()) if conditioner.styles.shared else int(own.sum())
            for k in range(count):
                (named,) = conditioner.request([f"{prompt}~{k}"], 1.0).conditions
                found._append(u, k, prior[u] * frequencies.get(named, 0.0), named)
        return found

    def _append(self, prompt: int, style: int | None, weight: float, condition: Condition) -> None:
        self.prompt.append(prompt)
        self.style.append(style)
        self.weight.append(float(weight))
        self.conditions.append(condition)


def _check(fitted: FittedDiffusion) -> tuple[ImageEncoder, Sampler, Schedule]:
    """Return the encoder, the sampler and the schedule of a model that a page can hold."""
    statistics, parameters = fitted.statistics, fitted.parameters
    if not statistics.prompts or not isinstance(statistics.moments, Moments):
        what = "a page shows a model by its prompts, and this model knows none, or too many to keep a block each"
        raise ValueError(f"{what}; fit one on prompts that are strings")
    if not isinstance(fitted.encoder, ImageEncoder):
        what = "a page needs a linear image encoder, whose decoder is one product"
        raise ValueError(f"{what}; fit without image_encoder, or with ImageEncoder.from_basis")
    sampler, schedule = parameters.trajectory.sampler, parameters.trajectory.schedule
    plain = SAMPLERS.get(sampler.name)
    if plain is None or type(sampler) is not plain or sampler != plain(sampler.num_steps):
        known = ", ".join(map(repr, SAMPLERS))
        raise ValueError(
            f"a page knows the samplers {known}, without settings; got {sampler!r}; use refit(sampler=...)"
        )
    if type(schedule) not in SCHEDULES.values():
        known = ", ".join(map(repr, SCHEDULES))
        raise ValueError(f"a page knows the schedules {known}; got {schedule!r}; use refit(schedule=...)")
    if callable(parameters.guidance_scale):
        raise ValueError("a page needs a guidance_scale that is a number; use refit(guidance_scale=1.0)")
    return fitted.encoder, sampler, schedule


def _is_exact(fitted: FittedDiffusion, sampler: Sampler) -> bool:
    """Return whether the model's own sampler draws from the laws themselves."""
    no_signal = fitted.parameters.trajectory.start[0] == 0.0
    return isinstance(sampler, exact) and no_signal and fitted.parameters.guidance_scale == 1.0


def _numbers(fitted: FittedDiffusion, now: Layout, D: int, derived: bool) -> dict[str, int]:
    """Return about how many numbers the arrays have, by name."""
    K, d = int(now.K), now.d
    found = {"components": d * D, "pooled.roots": triangle(d)}
    if isinstance(fitted.conditional, RegressionDenoiser):
        found["regression.left"] = (len(fitted.conditional.mean) * d) ** 2
    else:
        found |= {"laws.roots": K * triangle(d), "laws.mean": 2 * K * d}
    if not derived:
        found |= {"scored.roots": K * triangle(d), "scored.mean": 2 * K * d}
    if isinstance(fitted.contrast, PixelwiseContrast):
        found["contrast.size"] = 3 * K * D
    return found


def _check_size(fitted: FittedDiffusion, numbers: dict[str, int], now: Layout) -> None:
    """Refuse a model that is too large by far before anything is computed."""
    if 2 * sum(numbers.values()) <= MOST:
        return
    found = numbers | ({"laws.roots": now.units("laws.roots")} if "laws.roots" in numbers else {})
    length = {name: PAGE_BYTES * number for name, number in found.items()}
    size = WITHOUT_MODEL + sum(length.values())
    raise ValueError(refusal(size, LARGEST, length, now, len(fitted.statistics.prompts)))


def _name_of(schedule: Schedule) -> str:
    return next(name for name, kind in SCHEDULES.items() if type(schedule) is kind)


def _covariances(law: GaussianDenoiser) -> Array:
    """Return the covariances (p, d, d) of Gaussians."""
    basis = law.eigenvectors
    with one_thread():
        return np.asarray((basis * law.variance[:, None]) @ basis.mT)


def _put_covariances(arrays: _Arrays, name: str, mean: Array, covariance: Array, kind: str) -> None:
    """Append the means (K, d), and the covariances (K, d, d) as D and the triangles of U."""
    g, d, _ = covariance.shape
    spread = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    roots = np.zeros((g, triangle(d)))
    with one_thread():
        for S, D, root in zip(covariance, spread, roots, strict=True):
            inverse = np.divide(1.0, D, out=np.zeros(d), where=D > 0)
            variance, basis = np.linalg.eigh(inverse[:, None] * S * inverse)  # for any rank
            kept = variance > RANK_TOLERANCE * variance[-1]  # a root has zeros for the rest, which take no space
            U = np.zeros((d, d))
            R = np.linalg.qr((basis[:, kept] * np.sqrt(variance[kept])).T).R
            U[: len(R)] = np.where(np.diagonal(R) < 0, -1.0, 1.0)[:, None] * R
            root[:] = pack(U[None])[0]
    finer = "i3" if kind == "i2" else kind
    arrays.put(f"{name}.mean", mean, finer)
    arrays.put(f"{name}.spread", spread, finer)
    arrays.put(f"{name}.roots", roots, kind)


def _styles(fitted: FittedDiffusion) -> dict[str, Any]:
    """Return what the drawn and the scored law of each style depend on beside its own moments."""
    styles = fitted.statistics.styles
    assert styles is not None
    assert fitted.shrinkage is not None
    n, d, rank = styles.moments.effective, styles.moments.mean.shape[1], fitted.parameters.style_rank
    few = n < FEW - ROUNDING
    images = np.where(few, n + PRIOR_IMAGES, n)
    r = number_of_directions(images, styles.rank if isinstance(rank, str) else float(rank), d)
    return {
        "images": n.tolist(),
        "few": few.astype(int).tolist(),
        "directions": r.tolist(),
        "priorImages": PRIOR_IMAGES,
        "shrinkage": fitted.shrinkage.tolist(),
    }


def _put_regression(arrays: _Arrays, denoiser: RegressionDenoiser, symbols: _Symbols) -> None:
    """Append the regression, and the embeddings of the symbols, whitened."""
    embeddings = np.array([condition[0][0] for condition in symbols.conditions], dtype=np.float64)
    r, d = denoiser.mean.shape
    arrays.put("regression.embeddings", denoiser.whitening[0] + embeddings @ denoiser.whitening[1:])
    arrays.put("regression.mean", denoiser.mean)
    arrays.put("regression.cross", denoiser.cross.reshape(r * d, r))
    arrays.put("regression.variance", denoiser.eigenvalues)
    arrays.put("regression.left", denoiser.left)
    # right = Q^T (h (x) I) has the least-squares solution h, because Q is orthonormal
    h = (denoiser.left @ denoiser.right).reshape(r, d, d)[:, 0, 0]
    arrays.put("regression.constant", h)


def _scored_laws(fitted: FittedDiffusion, symbols: _Symbols) -> LatentLaws:
    """Return the laws of the symbols by which images are scored, with the model's own settings."""
    resolved = fitted.resolve(list(fitted.statistics.prompts), {}, from_noise=False)
    named: Sequence[Condition] = symbols.conditions
    scale = fitted.parameters.guidance_scale
    if scale != 1.0:
        named = [(*((part, scale * w) for part, w in one), (None, 1.0 - scale)) for one in named]
    return fitted.latent_laws(named, resolved.trajectory)


def _put_contrast(arrays: _Arrays, fitted: FittedDiffusion, kind: str) -> dict[str, Any] | None:
    contrast: Contrast | None = fitted.contrast
    if isinstance(contrast, AffineContrast):
        return {"kind": "affine", **asdict(contrast)}
    if isinstance(contrast, HistogramContrast):
        arrays.put("contrast.thresholds", contrast.thresholds, "f8")
        arrays.put("contrast.values", contrast.values, "f8")
        return {"kind": "histogram"}
    if isinstance(contrast, PixelwiseContrast):
        assert isinstance(fitted.encoder, ImageEncoder)
        assert isinstance(fitted.conditional, GaussianDenoiser)
        encoder, law = fitted.encoder, fitted.conditional
        centre = encoder.mean + law.mean @ encoder.synthesis
        posterior = fitted.posterior_contrast(residual_noise=False)
        assert isinstance(posterior, PixelwiseContrast)
        # both are of all sizes, and an error of the gain is least about the mean of the pixel
        rest, unit = contrast.rest, (contrast.rest.high - contrast.rest.low) or 1.0
        constant = contrast.gain == 0
        size = np.log(np.where(constant, 1.0, contrast.gain), dtype=np.float64)
        middle = 0.5 * (size.min(axis=0) + size.max(axis=0))
        arrays.put("contrast.constant", constant, "u1")
        arrays.put("contrast.middle", middle)
        arrays.put("contrast.size", np.where(constant, 0.0, size - middle), kind)
        arrays.put("contrast.level", np.arcsinh((contrast.offset + contrast.gain * centre) / unit), kind)
        ratio = np.divide(posterior.gain, contrast.gain, out=np.zeros_like(contrast.gain), where=contrast.gain > 0)
        arrays.put("contrast.ratio", ratio, kind)
        return {"kind": "pixelwise", **asdict(rest)}
    return None


def _put_examples(arrays: _Arrays, model: LinearDiffusion, symbols: _Symbols) -> None:
    """Append images that the model draws, prompt by prompt."""
    statistics = model.fitted_.statistics
    prompts = [statistics.prompts[i % len(statistics.prompts)] for i in range(EXAMPLES)]
    images = model.predict(prompts, seed=list(range(EXAMPLES))).reshape(EXAMPLES, -1)
    if statistics.pixel_dtype == np.uint8:
        low, high = statistics.pixel_range
        arrays.put("examples", np.rint(np.clip(images, low, high)).astype(np.uint8), "u1")
    else:
        arrays.put("examples", images)
