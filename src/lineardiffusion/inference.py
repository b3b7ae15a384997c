"""Inference with a fitted model: likelihoods, prompts by Bayes' rule, posteriors, inversion.

The law of every prompt is known, so Bayes' rule needs no approximation:

    p(x) = sum_u p(u) sum_k p(k | u) p(x | u, k)        prompts u and styles k by their frequencies
    p(u | x) = p(u) p(x | u) / p(x)

The law is that of the sampler. The discarded directions of pixel space have their mean residual variance
(inverse/measurement.py), and every direction at least the variance of rounding to 256 grey levels, so a law on a
plane has a density too: a very small one off the plane. NaN pixels are missing, and an image with missing pixels
is scored by the marginal law of the others.

**Typicality.** For a Gaussian of D seen pixels, -2 log p(x) is a constant plus the squared Mahalanobis distance,
a chi-square variable of D degrees of freedom. The typicality of x is the two-sided tail probability of its
log-density l under the law's own, 2 min(F(l), 1 - F(l)). A plain image near the mean is likelier than any draw,
and so it is as atypical as noise. The F of a mixture is that of its parts,

    F(l) = sum_k w_k P(log w_k + log p_k(X_k) <= l) = sum_k w_k P(chi2_D >= 2 (log w_k + log p_k(m_k) - l))

with log w_k + log p_k(X_k) in place of log p(X_k). That is exact for parts that do not overlap. Otherwise it
moves l by log 1/w_k at most, while the standard deviation of l is sqrt(D / 2). A typicality p below 1e-300,
as most real photographs have, is replaced by 1e-300 log(1e-300) / log(p), which keeps the order and has no other
meaning.

**Calibration.** Images are no draws from these laws, and the density of many pixels is surer of a prompt than the
images allow. One temperature T of the likelihood corrects that (Guo et al. 2017),

    p_T(u | x) = p(u) p(x | u)^(1/T) / sum_v p(v) p(x | v)^(1/T)

where prompts are inferred: in `classify` and `posterior`. The style of a prompt has the probability p(k | x, u) at
any T. T minimises the Brier score of the right prompts u_i of held-out images,

    B(T) = mean_i sum_u (p_T(u | x_i) - [u = u_i])^2

a strictly proper score. Unlike the logarithmic score of Guo et al. it is bounded: a few images of which the law is
wrong by hundreds of nats would determine T alone, and leave all others with too little confidence. There is no T if
every right prompt is the likeliest (T = 0 is best), or if the prior alone is as good (T = infinity).

A linear measurement of the image,

    y = A x + n,        n ~ N(0, noise_std^2 I),

leaves a Gaussian law Gaussian and a mixture a mixture, whose components are weighted by their marginal
likelihoods. So inpainting, super-resolution and deblurring are one formula (inverse/posterior.py), without
iterations. Inversion solves the sampler's map for the starting noise.

References
----------
Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks. ICML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammainc, gammaincc, gammaln, logsumexp, softmax

from lineardiffusion import _noise
from lineardiffusion._arrays import BLOCK, Array, Images, Indices, groups_of_equal
from lineardiffusion._device import cast, is_tensor
from lineardiffusion._linalg import split
from lineardiffusion.encoders.conditioning import Condition, alternatives
from lineardiffusion.fitted import FittedDiffusion, Resolved, SamplerSettings
from lineardiffusion.inverse.measurement import Measurement, PixelModel, ReducedMeasurement
from lineardiffusion.inverse.posterior import (
    LatentLaws,
    MeasuredLaws,
    Share,
    posterior_draw,
    posterior_mean,
    shares,
)
from lineardiffusion.statistics.moments import Moments

SINGLE_FROM = 64  # images, from which products in single precision are worth the conversion of the laws
LEAST = float(np.log(1e-300))  # logarithm of a typicality, below which only the order is told
Mask = NDArray[np.bool_]
Reduced = tuple[Indices, Measurement, ReducedMeasurement]  # images, and their reduced measurements


@dataclass(frozen=True, eq=False)
class Candidates:
    """The laws that some images may come from."""

    members: Indices  # the images
    conditions: Sequence[Condition]  # K conditions
    laws: LatentLaws  # of the conditions
    log_prior: Array  # log-probability of each law before an image is seen, (K,)
    first: Indices  # index of the first law of each prompt

    def by_prompt(self, log_prob: Array) -> tuple[Array, Array]:
        """Return log p(u) (p,) and log p(x | u) (n, p) of the prompts, from joint log-densities (n, K)."""
        prior = np.logaddexp.reduceat(self.log_prior, self.first)
        return prior, np.logaddexp.reduceat(log_prob, self.first, axis=1) - prior

    def temper(self, log_prob: Array, temperature: float) -> Array:
        """Return log-densities (n, K) whose likelihoods of the prompts have the exponent 1 / temperature."""
        if temperature == 1.0 or len(self.first) == 1:
            return log_prob
        more = (1.0 / temperature - 1.0) * self.by_prompt(log_prob)[1]
        return log_prob + np.repeat(more, np.diff(self.first, append=len(self.log_prior)), axis=1)


def resolve(fitted: FittedDiffusion, n: int, prompts: Any, sampling: SamplerSettings) -> Resolved:
    """Return the conditions of n images: of their checked prompts, or with None of all known prompts."""
    if prompts is not None:
        request, trajectory, _ = fitted.resolve(prompts, sampling)
        if len(request) != n:
            raise ValueError(f"{len(request)} prompts for {n} images; pass one prompt per image")
        return Resolved(request.gathered(), trajectory)
    known = fitted.statistics.prompts
    if not known or not isinstance(fitted.statistics.moments, Moments):
        what = "this model knows no frequency of embeddings, or of prompts too many to keep one block each"
        raise ValueError(f"{what}; pass the prompts of the images")
    return fitted.resolve(list(known), sampling)._replace(per_image=False)


def score(fitted: FittedDiffusion, rows: Any, missing: Mask, resolved: Resolved) -> Array:
    """Return the log-density (n,) of images (n, D) in pixel units, without their missing pixels."""
    found = np.empty(len(rows))

    def work(members: Indices, candidates: Candidates, seen: MeasuredLaws, reduced: ReducedMeasurement) -> None:
        found[members] = logsumexp(seen.log_likelihood(reduced) + candidates.log_prior, axis=1)

    _each_block(fitted, rows, missing, resolved, work)
    return found


def typicality(fitted: FittedDiffusion, rows: Any, missing: Mask, resolved: Resolved) -> Array:
    """Return the typicality (n,) of images (n, D), without their missing pixels; that of no pixel is 1."""
    found = np.zeros(len(rows))

    def work(members: Indices, candidates: Candidates, seen: MeasuredLaws, reduced: ReducedMeasurement) -> None:
        if n_seen := seen.measurement.size:
            log_prob = seen.log_likelihood(reduced) + candidates.log_prior
            log_weight = candidates.log_prior - logsumexp(candidates.log_prior)
            half = candidates.log_prior + seen.peaks - logsumexp(log_prob, axis=1, keepdims=True)
            tails = _log_gamma_tails(n_seen / 2, np.maximum(half, 0.0))
            found[members] = np.log(2) + np.minimum(*(logsumexp(tail + log_weight, axis=1) for tail in tails))

    _each_block(fitted, rows, missing, resolved, work)
    return np.where(found > LEAST, np.exp(np.minimum(found, 0.0)), np.exp(LEAST) * LEAST / np.minimum(found, LEAST))


def _log_gamma_tails(a: float, x: Array) -> tuple[Array, Array]:
    """Return log P(X <= x) and log P(X >= x) of a gamma variable of shape a, far in the tails too.

    There x^a e^-x / Gamma(a) is divided by the beginning of a continued fraction (DLMF 8.9).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        leading = a * np.log(x) - x - gammaln(a)
        lower = leading - np.log(a - a * x / (a + 1 + x / (a + 2)))
        upper = leading - np.log(x + 1 - a + (a - 1) / (x + 3 - a))
        exact = np.log(gammainc(a, x)), np.log(gammaincc(a, x))
    return np.where(exact[0] < -600, lower, exact[0]), np.where(exact[1] < -600, upper, exact[1])


def classify(fitted: FittedDiffusion, rows: Any, missing: Mask, resolved: Resolved) -> Array:
    """Return the probability (n, p) of each known prompt."""
    found = np.empty((len(rows), len(fitted.statistics.prompts)))

    def work(members: Indices, candidates: Candidates, seen: MeasuredLaws, reduced: ReducedMeasurement) -> None:
        log_prob = seen.log_likelihood(reduced) + candidates.log_prior
        found[members] = softmax(_by_prompt(fitted, candidates, log_prob), axis=1)

    _each_block(fitted, rows, missing, resolved, work, with_rest=False)
    return found


def labels(fitted: FittedDiffusion, rows: Any, missing: Mask, resolved: Resolved) -> Indices:
    """Return the place (n,) of the most probable prompt of each image.

    The products with the laws are in single precision. An image is compared again in double precision if the bounds
    of rounding (inverse/posterior.py) leave two prompts possible, so the labels are those of double precision.
    """
    found = np.zeros(len(rows), np.intp)

    def work(members: Indices, candidates: Candidates, seen: MeasuredLaws, reduced: ReducedMeasurement) -> None:
        near = np.arange(len(members))
        if len(members) >= SINGLE_FROM:
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number is compared again
                log_prob = seen.log_likelihood(reduced, np.float32) + candidates.log_prior
                error = seen.single_error * (seen.peaks + candidates.log_prior - log_prob)
                least, most = (_by_prompt(fitted, candidates, log_prob + sign * error) for sign in (-1, 1))
            best = found[members] = least.argmax(axis=1)
            rest = np.where(np.arange(least.shape[1]) == best[:, None], -np.inf, most).max(axis=1)
            near = np.flatnonzero(~(least.max(axis=1) > rest))
        log_prob = seen.log_likelihood(reduced[near]) + candidates.log_prior
        found[members[near]] = _by_prompt(fitted, candidates, log_prob).argmax(axis=1)

    _each_block(fitted, rows, missing, resolved, work, with_rest=False)
    return found


def _by_prompt(fitted: FittedDiffusion, candidates: Candidates, log_prob: Array) -> Array:
    """Return the tempered joint log-densities (n, p) of images and prompts from those of the laws (n, K)."""
    tempered = candidates.temper(log_prob, fitted.temperature)
    return np.asarray(np.logaddexp.reduceat(tempered, candidates.first, axis=1))


def temperature(fitted: FittedDiffusion, rows: Any, missing: Mask, resolved: Resolved, right: Indices) -> float:
    """Return the temperature of the least Brier score, for the `right` prompts (n,), places of known ones."""
    n, p = len(rows), len(fitted.statistics.prompts)
    likelihood, prior = np.empty((n, p)), np.empty(p)

    def work(members: Indices, candidates: Candidates, seen: MeasuredLaws, reduced: ReducedMeasurement) -> None:
        log_prob = seen.log_likelihood(reduced) + candidates.log_prior
        prior[:], likelihood[members] = candidates.by_prompt(log_prob)

    _each_block(fitted, rows, missing, resolved, work, with_rest=False)
    of_right = likelihood[np.arange(len(rows)), right]

    def score(T: float) -> float:
        p = softmax(prior + likelihood / T, axis=1)
        return float((np.square(p).sum(axis=1) - 2 * p[np.arange(len(rows)), right]).mean())

    if np.ptp(likelihood, axis=1).max() == 0.0:
        raise ValueError("these images tell nothing about their prompts: every pixel is missing; hide fewer")
    if (of_right == likelihood.max(axis=1)).all():
        instead = "give more images, or hide some of their pixels by mask"
        raise ValueError(
            f"these images determine no temperature: each is likeliest under its own prompt; {instead}"
        )
    largest = float(np.ptp(likelihood, axis=1).max())
    grid = largest * 2.0 ** np.arange(-30, 11)  # the score has one minimum at least, and is smooth in log T
    least = min(grid, key=score)
    if score(least) >= score(np.inf):
        what = "these images are no likelier under their own prompts than under others"
        raise ValueError(f"{what}, so no temperature fits; does the order of prompts match that of the images?")
    bounds = np.log(least) - 1, np.log(least) + 1
    found = minimize_scalar(lambda t: score(np.exp(t)), bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(np.exp(found.x))


def reduce_pixels(fitted: FittedDiffusion, rows: Any, missing: Mask) -> Iterator[Reduced]:
    """Yield the images (n, D) that miss the same pixels, with their reduced measurements."""
    for members, measurement in _measurements(fitted.require_pixel_model(), missing):
        yield members, measurement, _reduce(measurement, rows[members], missing[members[0]])


def posterior(
    fitted: FittedDiffusion,
    reduced: Iterable[Reduced],
    n: int,
    resolved: Resolved,
    seed: _noise.Seed,
    m: int,
    residual_noise: bool,
) -> tuple[Images, Indices]:
    """Draw m times from the posterior of n images: (n, m, D) in pixel units, and the places of their prompts.

    With m = 0, return the posterior mean (n, 1, D), and the places of the most probable prompts. Without
    `residual_noise` what the encoder discards has its conditional mean.
    """
    pixel_model, encoder = fitted.require_pixel_model(), fitted.require_pixel_model().encoder
    seeds, (d, D) = _noise.check_seed(seed, n, fitted.parameters.random_state), encoder.components.shape
    latent = [_noise.draw(seeds, n, d, (*_noise.LATENT, j)) for j in range(m)]
    discarded = [_noise.draw(seeds, n, D, (*_noise.DISCARDED, j)) for j in range(m)]
    uniform = [_noise.uniform(seeds, n, (*_noise.CHOSEN, j)) for j in range(m)]
    every = list(_candidates(fitted, n, resolved))
    found = np.empty((n, max(m, 1), len(pixel_model.scale)), encoder.dtype)
    read = np.zeros((n, max(m, 1)), np.intp)
    owner = _owners(every, n)
    of_draw = np.zeros((m, n), np.intp)  # the condition of each draw
    contrast = fitted.posterior_contrast(residual_noise) if m else None
    conditions = [condition for candidates in every for condition in candidates.conditions]
    first = np.cumsum([0, *(len(candidates.conditions) for candidates in every)])
    for group, measurement, of_group in reduced:
        parts: list[list[Share]] = [[] for _ in range(max(m, 1))]
        for candidates, place in _owned(every, owner, group):
            members, own = group[place], of_group[place].without_rest()
            seen = MeasuredLaws.of(measurement, candidates.laws, len(members))
            if fitted.temperature == 1.0 or len(candidates.first) == 1:
                log_prob = seen.log_joint(own, candidates.log_prior)
            else:  # negligible shares may not be so at another temperature
                log_prob = seen.log_likelihood(own) + candidates.log_prior
                log_prob = candidates.temper(log_prob, fitted.temperature)
            share = shares(log_prob)
            if not m:
                for k in np.flatnonzero(share.any(axis=0)).tolist():
                    weighed = np.flatnonzero(share[:, k])
                    parts[0].append(Share(place[weighed], seen, k, share[weighed, k]))
                read[members, 0] = np.logaddexp.reduceat(log_prob, candidates.first, axis=1).argmax(axis=1)
            edges = np.cumsum(share, axis=1)[:, :-1]
            for j in range(m):
                chosen = (edges <= uniform[j][members, None]).sum(axis=1)
                of_draw[j, members] = first[owner[members]] + chosen
                for k in np.unique(chosen).tolist():
                    drawn = np.flatnonzero(chosen == k)
                    parts[j].append(Share(place[drawn], seen, k, np.ones(len(drawn))))
                read[members, j] = np.searchsorted(candidates.first, chosen, side="right") - 1
        if not m:
            xi = posterior_mean(measurement, of_group, parts[0])
            found[group, 0] = encoder.mean + pixel_model.scale * xi
        for j in range(m):
            for_y = None
            if measurement.noise_std:
                for_y = _noise.draw(seeds, n, of_group.centred.shape[1], (*_noise.MEASURED, j))[group]
            noise = latent[j][group], discarded[j][group], for_y
            xi = posterior_draw(measurement, of_group, parts[j], *noise, residual_noise)
            pixels = (encoder.mean + pixel_model.scale * xi).astype(encoder.dtype)
            found[group, j] = fitted.finish(pixels, conditions, of_draw[j, group], contrast)
    return found, read


def invert(fitted: FittedDiffusion, latents: Array, resolved: Resolved) -> Array:
    """Return the starting noise (n, d) that the sampler maps to these latents (n, d)."""
    request, trajectory, _ = resolved
    start = np.empty_like(latents)
    for members, x in zip(request.groups(), fitted.compose(request.conditions, trajectory), strict=True):
        if x.n_noises:
            what = f"the sampler {trajectory.sampler} adds noise and has no inverse"
            raise ValueError(f"{what}; use sampler='exact', or 'ddim'")
        U, spread, Vt = x.singular()
        if spread.min() <= 1e-10 * spread.max():
            kept = int(np.sum(spread > 1e-10 * spread.max()))
            what = f"the sampler's map has no inverse: it keeps {kept} of {len(spread)} directions"
            instead = "use fewer components, or more images; the maps of styles rarely have an inverse"
            raise ValueError(f"{what}; {instead}")
        start[members] = ((latents[members] - x.offset[0]) @ Vt.T / spread) @ U.T
    return start


# ---------------------------------------------------------------------- laws, and images that share a mask


def _candidates(fitted: FittedDiffusion, n: int, resolved: Resolved) -> Iterator[Candidates]:
    """Yield the laws of each prompt with the images that show it, or the laws of all prompts for all images."""
    request, trajectory, per_image = resolved
    if per_image:
        for members, condition in zip(request.groups(), request.conditions, strict=True):
            found, probabilities = zip(*alternatives(condition), strict=True)
            laws = fitted.latent_laws(found, trajectory)
            yield Candidates(members, found, laws, np.log(probabilities), np.zeros(1, np.intp))
        return
    weight = fitted.statistics.moments.weight  # type: ignore[union-attr]
    groups = [alternatives(request.conditions[i]) for i in request.place]
    sizes = [len(group) for group in groups]
    conditions, of_style = zip(*(one for group in groups for one in group), strict=True)
    prior = np.repeat(weight / weight.sum(), sizes) * of_style
    laws = fitted.latent_laws(conditions, trajectory)
    yield Candidates(np.arange(n), conditions, laws, np.log(prior), np.cumsum([0, *sizes[:-1]]))


def _each_block(
    fitted: FittedDiffusion,
    rows: Any,
    missing: Mask,
    resolved: Resolved,
    work: Callable[[Indices, Candidates, MeasuredLaws, ReducedMeasurement], None],
    with_rest: bool = True,
) -> None:
    """Call `work` with images that miss the same pixels, the laws that they may come from, and what is measured.

    Blocks of images run side by side. Without the rest, what is measured is what tells laws apart.
    """

    def of_blocks(
        own: Indices, to: Measurement, candidates: Candidates, seen: MeasuredLaws, starts: Indices
    ) -> None:
        for start in starts:
            members = own[start : start + BLOCK]
            work(members, candidates, seen, _reduce(to, rows[members], missing[members[0]], with_rest))

    every = list(_candidates(fitted, len(rows), resolved))
    owner = _owners(every, len(rows))
    for group, measurement in _measurements(fitted.require_pixel_model(), missing):
        for candidates, place in _owned(every, owner, group):
            own = group[place]
            seen = MeasuredLaws.of(measurement, candidates.laws, len(own))
            if len(own) > BLOCK:
                seen.peaks  # before the threads ask for it  # noqa: B018
            work_on, starts = partial(of_blocks, own, measurement, candidates, seen), np.arange(0, len(own), BLOCK)
            if is_tensor(rows):
                work_on(starts)
            else:
                split(work_on, starts)


def _owners(every: list[Candidates], n: int) -> Indices:
    """Return the place (n,) of each image's candidates in the list."""
    owner = np.empty(n, np.intp)
    for i, candidates in enumerate(every):
        owner[candidates.members] = i
    return owner


def _owned(every: list[Candidates], owner: Indices, group: Indices) -> Iterator[tuple[Candidates, Indices]]:
    """Yield the candidates of some images, and the places of those images in the group."""
    order = np.argsort(owner[group], kind="stable")
    known, first = np.unique(owner[group][order], return_index=True)
    yield from zip((every[i] for i in known), np.split(order, first[1:]), strict=False)  # none of no images


def _measurements(pixel_model: PixelModel, missing: Mask) -> Iterator[tuple[Indices, Measurement]]:
    """Yield the images that miss the same pixels, `missing` (n, D), and the measurement of the others."""
    if not missing.any():
        yield np.arange(len(missing)), Measurement.of_pixels(pixel_model, ~missing[0])
        return
    for members in groups_of_equal(missing):
        yield members, Measurement.of_pixels(pixel_model, ~missing[members[0]])


def _reduce(measurement: Measurement, rows: Any, missing: Mask, with_rest: bool = True) -> ReducedMeasurement:
    """Reduce images (n, D) without their missing pixels (D,)."""
    y = cast(rows if not missing.any() else rows[:, ~missing], np.float64)
    return measurement.reduce(y) if with_rest else measurement.reduce_inside(y)
