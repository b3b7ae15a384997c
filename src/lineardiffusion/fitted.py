"""The fitted model: everything solved, and how conditions become latents.

Conditions (encoders/conditioning.py) that recur are composed once into an affine map, so an image costs one
product, whatever the number of steps. Embeddings that are given as numbers differ from image to image, and for few
images a numerical flow costs less to simulate than to compose; both are simulated instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from lineardiffusion import _noise
from lineardiffusion._arrays import Array, Images, Indices, freeze
from lineardiffusion._cache import Cache, computed_once
from lineardiffusion._device import namespace, to_device, to_numpy
from lineardiffusion._linalg import side_by_side
from lineardiffusion._validation import warn
from lineardiffusion.contrast import Contrast, PixelwiseContrast
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser, MixtureDenoiser
from lineardiffusion.diffusion.guidance import Combination, TimedWeight
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.diffusion.samplers import Sampler, exact, get_sampler, heun
from lineardiffusion.diffusion.schedules import Cosine
from lineardiffusion.diffusion.trajectory import Trajectory, compose, simulate
from lineardiffusion.distributions.gaussian import DiagonalGaussian, Gaussian
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.encoders.conditioning import Condition, Conditioner, Part, Request, StyleMixture, alternatives
from lineardiffusion.encoders.image import Encoder, ImageEncoder
from lineardiffusion.inverse.measurement import PixelModel
from lineardiffusion.inverse.posterior import LatentLaws
from lineardiffusion.parameters import Parameters, check_guidance
from lineardiffusion.statistics.dataset import Statistics

Latents = TypeVar("Latents", bound=Images)
TERMINAL_SNR = 0.01  # in the strongest direction; above it the start holds signal that noise alone lacks
SIMULATED_BELOW = 1 / 8  # images for each entry of a latent, below which a numerical flow is not composed
THREADED = 2**24  # products of a drawing, below which threads cost more than they save
SIMULATED_BYTES = 2**27  # of matrices, one an embedding, at a time
ENTRY_BYTES = 2000  # of a map in the cache, beside its rows: its key and its objects
FARTHEST = 1e30  # pixels beyond which single precision ends; also latents, of pixels in double precision
GUIDED_VARIANCE = 4.0  # times the data's, beyond which a guided law is warned of
GUIDANCE_STEPS = 16  # of the approximation by which that is found out


class SamplerSettings(TypedDict, total=False):
    """Settings of the sampler; the model's parameters stand for those that are left out or None."""

    sampler: Any
    num_steps: int | None
    guidance_scale: Any
    negative_prompt: Any


class Course(NamedTuple):
    """Times that a sampler visits, where they are not all those of the schedule; see :class:`Trajectory`."""

    times: tuple[float, ...] | None = None
    stop: float | None = None
    at: int | None = None


FULL = Course()


class Resolved(NamedTuple):
    """Conditions, and the trajectory that draws under them."""

    request: Request
    trajectory: Trajectory
    per_image: bool = True  # whether a condition belongs to each image; otherwise an image may have any of them


class Drawing(NamedTuple):
    """Inputs of a drawing of n images."""

    request: Request
    trajectory: Trajectory
    start: Array  # starting noise, (n, d)
    seeds: int | list[int]  # of further noise
    standard: bool = False  # whether the start is standard normal noise, which single precision holds


@dataclass(frozen=True, eq=False, repr=False)
class FittedDiffusion:
    """A solved model; it never changes.

    It is the attribute ``fitted_`` of a :class:`LinearDiffusion`, whose methods check what a user gives and call
    those of this class.

    Attributes
    ----------
    parameters : Parameters
        Parameters that it was solved with.
    statistics : Statistics
        Sufficient statistics of the training data.
    encoder : Encoder
        Images to latents and back.
    conditioner : Conditioner
        Prompts to conditions.
    unconditional : GaussianDenoiser
        Denoiser of the pooled moments.
    conditional : GaussianDenoiser or RegressionDenoiser
        Denoisers of the prompts: one Gaussian per symbol or style, or a regression.
    shrinkage : ndarray of shape (p,) or None
        Share of the covariance within all prompts in that of each (with styles, within its styles); None for a
        regression.
    within : ndarray of shape (p, d, d) or None
        Covariance within the styles of each prompt, towards which theirs are shrunk where images are scored.
    pixel_model : PixelModel or None
        Law of the pixels given the latents; None if the encoder is not linear.
    contrast : AffineContrast, HistogramContrast, PixelwiseContrast or None
        The last step of decoding.
    cache : Cache
        Composed maps and laws, by condition and trajectory.
    temperature : float
        Temperature of the likelihood where prompts are inferred, see inference.py.

    See Also
    --------
    LinearDiffusion : The estimator, and its parameters.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> fitted = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0]).fitted_
    >>> fitted.d, fitted.statistics
    (2, <Statistics of images of shape (2,) under 1 prompts, weight 1>)
    """

    parameters: Parameters
    statistics: Statistics
    encoder: Encoder
    conditioner: Conditioner
    unconditional: GaussianDenoiser
    conditional: GaussianDenoiser | RegressionDenoiser
    shrinkage: Array | None
    within: Array | None
    pixel_model: PixelModel | None
    contrast: Contrast | None
    cache: Cache
    temperature: float = 1.0

    def __post_init__(self) -> None:
        freeze(self)

    @property
    def d(self) -> int:
        """Number of entries of a latent."""
        return int(self.unconditional.mean.shape[1])

    @computed_once
    def scored(self) -> GaussianDenoiser | RegressionDenoiser:
        """Denoisers of the Gaussians by which images are scored; those of styles have all directions."""
        if self.within is None:
            return self.conditional
        assert self.statistics.styles is not None
        return GaussianDenoiser(self.statistics.styles.moments.mean, *self.statistics.styles.scored(self.within))

    # ------------------------------------------------------------------ inputs

    def resolve(
        self,
        prompts: Sequence[Any] | Array,
        sampling: SamplerSettings,
        every_step: bool = False,
        strength: float = 1,
        course: Course = FULL,
        from_noise: bool = True,
    ) -> Resolved:
        """Return the conditions and the trajectory of checked prompts and settings of the sampler.

        Parameters
        ----------
        prompts : list of str or dict, or ndarray of shape (n, k)
            Checked prompts.
        sampling : dict
            Settings ``sampler``, ``num_steps``, ``guidance_scale`` and ``negative_prompt``; the parameters of the
            model stand for those that are left out or None.
        every_step : bool, default=False
            Whether the states at all steps are wanted.
        strength : float, default=1
            Share of the steps that is taken.
        course : Course, default=FULL
            Times to visit; those of the schedule by default.
        from_noise : bool, default=True
            Whether sampling starts from noise alone. It then warns if the first level holds signal.

        Returns
        -------
        Resolved
            Conditions and trajectory.

        Raises
        ------
        TypeError
            If a setting is unknown.
        ValueError
            If a prompt is unknown, or a setting is out of its range.
        """
        if unknown := sorted(set(sampling) - set(SamplerSettings.__annotations__)):
            known = ", ".join(SamplerSettings.__annotations__)
            raise TypeError(f"unknown setting {unknown[0]!r}; the settings of the sampler are {known}")
        sampler, num_steps = sampling.get("sampler"), sampling.get("num_steps")
        trajectory = self._trajectory(sampler, num_steps, every_step, strength, course)
        if from_noise:
            self._warn_of_signal(trajectory)
        given, negative = sampling.get("guidance_scale"), sampling.get("negative_prompt")
        scale = self.parameters.guidance_scale if given is None else given
        if given is not None or negative is not None:
            check_guidance(scale, negative)
        if callable(scale):
            scale = TimedWeight.of(scale, trajectory.own_schedule, trajectory.times)
        return Resolved(self.conditioner.request(prompts, scale, negative), trajectory)

    def _trajectory(
        self, sampler: Any, num_steps: int | None, every_step: bool, strength: float, course: Course
    ) -> Trajectory:
        found = self.parameters.trajectory
        if sampler is not None or num_steps is not None or every_step or strength != 1.0 or course != FULL:
            if course.times is not None:
                if num_steps is not None and num_steps != len(course.times) - 1:
                    what = f"{len(course.times)} times are {len(course.times) - 1} steps"
                    raise ValueError(f"{what}, not {num_steps}; leave out num_steps")
                num_steps = len(course.times) - 1
            if sampler is None:
                sampler = found.sampler
            elif num_steps is None and not isinstance(sampler, Sampler):
                num_steps = self.parameters.num_steps
            found = Trajectory(get_sampler(sampler, num_steps), found.schedule, every_step, strength, *course)
        _ = found.levels  # which checks them
        return found

    def _warn_of_signal(self, trajectory: Trajectory) -> None:
        alpha, sigma = trajectory.start
        ratio = float(self.unconditional.variance.max()) * (alpha / sigma) ** 2
        if ratio > TERMINAL_SNR and trajectory.strength == 1.0 and not trajectory.sampler.keeps_signal:
            level = f"alpha={alpha:.3g}, sigma={sigma:.3g}, ratio {ratio:.2g} in the strongest direction"
            what = "sampling starts from noise alone: images will be too similar; use a schedule that ends in noise"
            warn(f"the schedule's first level still holds signal ({level}), but {what}")

    def drawing(
        self, resolved: Resolved, seed: _noise.Seed, latents: Array | None, images: NDArray[Any] | None
    ) -> Drawing:
        """Return the inputs of a drawing, whose noise comes from the seed, given latents, or noised images.

        Parameters
        ----------
        resolved : Resolved
            Conditions and trajectory.
        seed : int, list of int or None
            Seed, as in :meth:`LinearDiffusion.predict`.
        latents : ndarray of shape (n, d) or None
            Starting noise of standard deviation 1.
        images : ndarray of shape (n, ...) or None
            Images to noise and to start from.

        Returns
        -------
        Drawing
            Inputs of :meth:`draw` and :meth:`simulate`.
        """
        request, trajectory, _ = resolved
        n, d = len(request.place), self.d
        seeds = _noise.check_seed(seed, n, self.parameters.random_state)
        start = _noise.draw(seeds, n, d) if latents is None else latents
        if images is not None:  # alpha z + sigma n = sigma (n + alpha z / sigma)
            alpha, sigma = trajectory.start
            start = start + (alpha / sigma) * to_numpy(self.encoder.encode(images))
        request = self.conditioner.choose_styles(request, seeds)
        self._warn_of_guidance(request, trajectory)
        return Drawing(request, trajectory, start, seeds, latents is None and images is None)

    def _warn_of_guidance(self, request: Request, trajectory: Trajectory) -> None:
        """Warn once if a guided law has many times the variance of the data.

        The law of the flow, which would have to be solved numerically, is approximated by a few steps of Heun's
        method.
        """
        guided = [c for c in request.conditions if any(isinstance(w, TimedWeight) or w < 0 for _, w in c)]
        if not guided or "_warned" in vars(self):
            return
        if trajectory.sampler.solves_flow:
            trajectory = Trajectory(heun(GUIDANCE_STEPS), trajectory.schedule)
        for condition in guided if request.embeddings is None else request.gathered().conditions[:1]:
            key = ("variance", condition, trajectory.key)
            if (times := self.cache.get(key)) is None:
                (x,) = self.compose([condition], trajectory)
                part, data = condition[0][0], self.unconditional.variance
                if isinstance(part, int) and isinstance(self.conditional, GaussianDenoiser):
                    data = self.conditional.variance[part]
                times = float((x.rows[:, :-1] ** 2).sum() / (data.sum() or 1.0))  # in any basis
                if trajectory.key is not None and not _is_timed(condition):
                    self.cache.put(key, times, 64)
            if times > GUIDED_VARIANCE:
                vars(self)["_warned"] = True  # no answer depends on it
                what = f"guidance multiplies the variance of the prompt's images by {times:,.3g}"
                return warn(f"{what}; use a guidance_scale nearer 1, or a function of t that is 1 at high noise")

    # ------------------------------------------------------------------ denoisers, maps and laws

    def denoiser(self, condition: Condition, mixed: bool = False, scored: bool = False) -> Any:
        """Return the denoiser of one condition.

        Parameters
        ----------
        condition : tuple of (part, weight)
            Weighted sum of denoisers.
        mixed : bool, default=False
            Whether a prompt with styles has the denoiser of their mixture; otherwise it is refused.
        scored : bool, default=False
            Whether the denoiser is that of the Gaussians by which images are scored.

        Returns
        -------
        Denoiser
            ``denoiser(x, alpha, sigma)`` takes states (1, n, d).
        """
        parts = [self._part(part, mixed and len(condition) == 1, scored) for part, _ in condition]
        return parts[0] if len(parts) == 1 else Combination(parts, [w for _, w in condition])

    def _part(self, part: Part, mixed: bool = False, scored: bool = False) -> Any:
        if not isinstance(part, StyleMixture):
            conditional = self.scored if scored else self.conditional
            return self.unconditional if part is None else conditional.select(np.array([part]))
        if mixed and isinstance(self.conditional, GaussianDenoiser):
            return MixtureDenoiser(self.conditional.select(np.array(part.styles)), np.array(part.frequencies))
        raise ValueError(f"{part.prompt!r} has {len(part.styles)} styles; name one, as in '{part.prompt}~0'")

    def denoise(self, request: Request, images: NDArray[Any], sigma: float) -> Images:
        """Return the expected clean images of noisy ones.

        Parameters
        ----------
        request : Request
            Conditions of the images.
        images : ndarray of shape (n, ...)
            Noisy images, in pixel units.
        sigma : float
            Standard deviation of the noise, in pixel units.

        Returns
        -------
        ndarray of shape (n, ...)
            Expected clean images, in pixel units.
        """
        x = to_numpy(self.encoder.encode(images))
        level = sigma / getattr(self.encoder, "scaling_factor", 1.0)
        level = min(max(level, 1e-100), 1e100)  # the squares of others are no numbers
        clean = np.empty_like(x)
        for members, shape, denoiser in self._groups(request, mixed=True):
            clean[members] = denoiser(x[members].reshape(shape), 1.0, level).reshape(len(members), -1)
        return self.encoder.decode(self._check_range(clean))

    def maps(self, resolved: Resolved) -> tuple[list[Affine], list[float]]:
        """Return the composed map of one prompt, or the maps of its styles, and their probabilities.

        Parameters
        ----------
        resolved : Resolved
            Conditions and trajectory of one prompt.

        Returns
        -------
        maps : list of Affine
            Maps from starting noise to latents.
        weights : list of float
            Probability of each.
        """
        (condition,) = resolved.request.gathered().conditions
        conditions, weights = zip(*alternatives(condition), strict=True)
        return self.compose(conditions, resolved.trajectory), list(weights)

    def law(self, resolved: Resolved, start: Gaussian | Request | None = None) -> Gaussian | Mixture:
        """Return the law of the latents of one prompt.

        Parameters
        ----------
        resolved : Resolved
            Conditions and trajectory of one prompt.
        start : Gaussian, Request or None, default=None
            Law of the state at the first time: noise alone if None, a Gaussian, or the marginal of the prompt that
            a request without guidance has.

        Returns
        -------
        Gaussian, or Mixture of the prompt's styles
            Law of the state at the last time.
        """
        maps, weights = self.maps(resolved)
        if start is None:
            laws = [_gaussian(x) for x in maps]
        else:
            starts = self._marginals(resolved, start) if isinstance(start, Request) else [start] * len(maps)
            sigma = resolved.trajectory.start[1]
            laws = [_started(x, one, sigma) for x, one in zip(maps, starts, strict=True)]
        return laws[0] if len(laws) == 1 else Mixture(weights, laws)

    def _marginals(self, resolved: Resolved, plain: Request) -> list[Gaussian]:
        """Return the law of alpha z + sigma n at the first time, for each alternative of one prompt.

        z has the law that the exact sampler draws from pure noise under the request `plain`, which has no guidance.
        It is N(m, C) for a symbol or a style.
        """
        (guided,), (unguided,) = resolved.request.gathered().conditions, plain.gathered().conditions
        own = [
            tuple((part, weight) for (part, _), (_, weight) in zip(condition, unguided, strict=False))
            for condition, _ in alternatives(guided)
        ]
        alpha, sigma = resolved.trajectory.start
        laws = [_gaussian(z) for z in self.compose(own, Trajectory(exact(), Cosine()))]
        scaling, noise = scipy.sparse.diags_array(np.full(self.d, alpha)), np.full(self.d, sigma**2)
        return [law.transform(scaling, noise_covariance=noise) for law in laws]

    def pixel_law(self, law: Gaussian | Mixture, residual: bool = False) -> Gaussian | Mixture:
        """Return the law of the pixels of images whose latents have a law, without contrast.

        Parameters
        ----------
        law : Gaussian or Mixture
            Law of latents, of d coordinates.
        residual : bool, default=False
            Whether the discarded directions have their mean residual variance, as real images do. Without it the
            law is that of the images that the model draws.

        Returns
        -------
        Gaussian or Mixture
            Law of D pixels, in the order of ``image.ravel()`` and in pixel units. It is singular where d < D,
            unless the residual is added.

        Raises
        ------
        ValueError
            If the image encoder is not linear.
        """
        encoder = self.require_pixel_model().encoder
        V, r = encoder.components, encoder.pixel_scale
        if encoder.pixels is None:
            rest = residual * encoder.residual_variance
            noise = rest * (np.diag(r**2) - (r[:, None] * V.T) @ (V * r)) if rest else None
            return law.transform(encoder.synthesis.T, encoder.mean, noise)
        inside = np.isin(np.arange(len(r)), encoder.pixels)
        noise = np.where(inside, 0.0, residual * encoder.residual_variance * r**2)
        return law.transform(scipy.sparse.csr_array(encoder.synthesis.T), encoder.mean, noise)

    def compose(
        self, conditions: Sequence[Condition], trajectory: Trajectory, keep: bool = True, scored: bool = False
    ) -> list[Affine]:
        """Return the map of each condition: composed once, those of plain symbols side by side, and cached.

        Parameters
        ----------
        conditions : sequence of tuple
            Conditions, each a weighted sum of denoisers.
        trajectory : Trajectory
            Sampler and noise levels.
        keep : bool, default=True
            Whether to keep the maps in the cache.
        scored : bool, default=False
            Whether the maps are those of the Gaussians by which images are scored.

        Returns
        -------
        list of Affine
            Maps from starting noise to latents, one for each condition.
        """
        conditional, scored = (self.scored, self.within is not None) if scored else (self.conditional, False)
        key = trajectory.key, scored
        found: dict[Condition, Any] = {c: None if _is_timed(c) else self.cache.get((c, key)) for c in conditions}
        missing = [c for c, x in found.items() if x is None]
        if plain := [c for c in missing if len(c) == 1 and isinstance(c[0][0], int)]:
            symbols, bases, beyond = np.array([c[0][0] for c in plain]), None, None
            if trajectory.sampler.isotropic and isinstance(conditional, GaussianDenoiser):
                bases, beyond, together = (
                    conditional.basis,
                    conditional.beyond,
                    conditional.coordinates.select(symbols),
                )
            else:
                together = conditional.select(symbols)  # type: ignore[assignment]
            stack = compose(together, len(plain), self.d, trajectory)
            for i, symbol in enumerate(symbols.tolist()):
                own = slice(symbol, symbol + 1)
                basis = None if bases is None else bases[own]  # the model's own, not a copy
                rest = None if beyond is None else beyond[own]
                # a view would keep the whole stack in memory for as long as one of its maps is kept
                found[plain[i]] = Affine(stack.rows[i : i + 1].copy(), stack.diagonal, stack.n_noises, basis, rest)
        for c in missing:
            if found[c] is None:
                found[c] = compose(self.denoiser(c, scored=scored), 1, self.d, trajectory)
            freeze(found[c])
            self._check_range(found[c].rows)
            if keep and trajectory.key is not None and not _is_timed(c):
                self.cache.put((c, key), found[c], found[c].rows.nbytes + ENTRY_BYTES)
        return [found[c] for c in conditions]

    def latent_laws(self, conditions: Sequence[Condition], trajectory: Trajectory) -> LatentLaws:
        """Return the law of each condition's latents by which images are scored.

        Parameters
        ----------
        conditions : sequence of tuple
            Conditions, each a weighted sum of denoisers.
        trajectory : Trajectory
            Sampler and noise levels.

        Returns
        -------
        LatentLaws
            Gaussians, one for each condition.
        """
        key, kept = ("laws", tuple(conditions), trajectory.key), not any(map(_is_timed, conditions))
        laws: LatentLaws | None = self.cache.get(key)
        if laws is None:
            maps = self.compose(conditions, trajectory, keep=False, scored=True)
            floor, mean = self.require_pixel_model().floor, np.concatenate([x.offset for x in maps])
            if all(x.basis is not None for x in maps):
                variance = np.concatenate([x.variance for x in maps])
                bases = [x.basis[0] for x in maps if x.basis is not None]
                laws = LatentLaws.of_spectra(mean, variance, bases, floor)
            else:
                laws = LatentLaws.of(mean, np.concatenate([x.covariance for x in maps]), floor)
            if trajectory.key is not None and kept:
                self.cache.put(key, laws, laws.nbytes)
        return laws

    def require_pixel_model(self) -> PixelModel:
        """Return the pixel model of a linear encoder.

        Returns
        -------
        PixelModel
            Law of the pixels given the latents.

        Raises
        ------
        ValueError
            If the encoder is not linear.
        """
        if self.pixel_model is None:
            instead = "fit on its latents instead: LinearDiffusion().fit(prompts, encoder.encode(images))"
            raise ValueError(f"likelihoods and posteriors of pixels need a linear image encoder; {instead}")
        return self.pixel_model

    # ------------------------------------------------------------------ drawing

    def finish(
        self, images: Any, conditions: Sequence[Condition], place: Indices, contrast: Contrast | None = None
    ) -> Any:
        """Apply the contrast, the last step of decoding.

        Parameters
        ----------
        images : ndarray or Tensor of shape (n, ...)
            Decoded images, in pixel units.
        conditions : sequence of tuple
            Conditions that they were drawn under.
        place : ndarray of int, shape (n,)
            Place of each image's condition among them.
        contrast : Contrast, default=None
            Contrast; None for the model's.

        Returns
        -------
        ndarray or Tensor of shape (n, ...)
            Finished pictures, in pixel units.
        """
        contrast = self.contrast if contrast is None else contrast
        if isinstance(contrast, PixelwiseContrast):
            return contrast(images, conditions, place)
        return images if contrast is None else contrast(images)

    def posterior_contrast(self, residual_noise: bool) -> Contrast | None:
        """Return the contrast of draws from posteriors, which vary in all directions.

        Parameters
        ----------
        residual_noise : bool
            Whether the draws have the variance that the encoder discards.

        Returns
        -------
        Contrast or None
            Contrast, None if the model has none.
        """
        if not isinstance(self.contrast, PixelwiseContrast):
            return self.contrast
        return self._noisy_contrast if residual_noise else self._scored_contrast

    @computed_once
    def _scored_contrast(self) -> PixelwiseContrast:
        return self._rescaled(False)

    @computed_once
    def _noisy_contrast(self) -> PixelwiseContrast:
        return self._rescaled(True)

    def _rescaled(self, residual_noise: bool) -> PixelwiseContrast:
        assert isinstance(self.contrast, PixelwiseContrast)
        assert isinstance(self.encoder, ImageEncoder)
        assert isinstance(self.conditional, GaussianDenoiser)
        assert isinstance(self.scored, GaussianDenoiser)
        return self.contrast.rescaled(self.conditional, self.scored, self.encoder, residual_noise)

    def draw(self, drawing: Drawing, device: Any = None) -> Any:
        """Return the latents of a drawing.

        Parameters
        ----------
        drawing : Drawing
            Conditions, trajectory, starting noise and seeds.
        device : str or torch.device, default=None
            Device of PyTorch for the products; None for NumPy.

        Returns
        -------
        ndarray or Tensor of shape (n, d)
            Latents, in single precision if the images are and the start is standard normal noise.
        """
        (request, trajectory, start, seeds, standard), d = drawing, self.d
        if request.embeddings is not None:
            gathered = request.gathered()
            if not trajectory.sampler.stochastic and len(gathered.conditions) * (d + 1) > len(request):
                *_, simulated = self.simulate(drawing)
                return simulated if device is None else to_device(simulated, device)
            request = gathered
        single = self.encoder.dtype if standard and isinstance(self.encoder, ImageEncoder) else np.float64
        latents: Any = np.empty(start.shape, single)
        composed = []
        for members, condition in zip(request.groups(), request.conditions, strict=True):
            closed = len(condition) == 1 and isinstance(self.conditional, GaussianDenoiser)
            numerical = trajectory.sampler.solves_flow and not closed  # a map takes d such flows
            few = len(members) < SIMULATED_BELOW * d
            if numerical and few and self.cache.get((condition, trajectory.key)) is None:
                own = Request(np.zeros(len(members), np.intp), [condition])
                *_, latents[members] = self.simulate(Drawing(own, trajectory, start[members], 0))
            else:
                composed.append((members, condition))
        maps = self.compose([condition for _, condition in composed], trajectory)
        noisy = any(x.n_noises for x in maps)
        added = _noise.draw(seeds, len(start), d, _noise.SAMPLER) if noisy else None
        exact = [noise for noise in (start, added) if noise is not None]
        noises: list[Any] = [noise.astype(latents.dtype, copy=False) for noise in exact]
        if device is not None:
            noises, latents = [to_device(noise, device) for noise in noises], to_device(latents, device)

        def fill(i: int) -> None:
            members, _ = composed[i]
            # the conversion of a matrix to single precision costs as much as some products with it
            few = device is None and len(members) <= d
            z, *n = (noise[members][None] for noise in (exact if few else noises))
            latents[members] = maps[i](z, *n)[0]

        if device is None and len(start) * d**2 >= THREADED:
            side_by_side(fill, range(len(composed)))
        else:
            for i in range(len(composed)):
                fill(i)
        return self._check_range(latents)

    def simulate(self, drawing: Drawing) -> Iterator[Array]:
        """Yield the latents of a drawing at every step.

        Parameters
        ----------
        drawing : Drawing
            Conditions, trajectory, starting noise and seeds.

        Yields
        ------
        ndarray of shape (n, d)
            Latents after 0, 1, ... steps.
        """
        request, trajectory, start, seeds, _ = drawing
        fresh = _noise.generators(seeds, len(start))
        groups = list(self._groups(request))
        runs = [
            simulate(denoiser, start[members].reshape(shape), trajectory, [fresh[i] for i in members])
            for members, shape, denoiser in groups
        ]
        for states in zip(*runs, strict=True):
            latents = np.empty_like(start)
            for (members, _, _), x in zip(groups, states, strict=True):
                latents[members] = x.reshape(len(members), -1)
            yield self._check_range(latents)

    def _groups(self, request: Request, mixed: bool = False) -> Iterator[tuple[Indices, tuple[int, int, int], Any]]:
        """Yield the images that share a denoiser, the shape (p, m, d) of their latents, and the denoiser."""
        if request.embeddings is None:
            for members, condition in zip(request.groups(), request.conditions, strict=True):
                yield members, (1, len(members), self.d), self.denoiser(condition, mixed)
            return
        (_, *away), weights = zip(*request.conditions[0], strict=True)
        assert isinstance(self.conditional, RegressionDenoiser)
        step = max(1, SIMULATED_BYTES // (8 * self.d * len(self.conditional.eigenvalues)))
        for first in range(0, len(request), step):
            members = np.arange(first, min(first + step, len(request)))
            denoiser: Any = self.conditional.select(request.embeddings[members])
            if away:
                denoiser = Combination([denoiser, *map(self._part, away)], weights)
            yield members, (len(members), 1, self.d), denoiser

    def _check_range(self, latents: Any) -> Any:
        """Return latents, or rows of maps to them; a ValueError if their images exceed single precision."""
        farthest = FARTHEST
        if isinstance(self.encoder, ImageEncoder):
            unit = self.encoder.scaling_factor * max(float(self.encoder.pixel_scale.max()), 1.0)
            farthest /= unit if self.encoder.dtype == np.float32 else min(unit, 1.0)
        if not (namespace(latents).abs(latents) < farthest).all():
            how = "a guidance_scale nearer 1, positive weights of prompts, and latents of standard deviation 1"
            raise ValueError(f"these images are beyond the range of numbers; {how} keep them within")
        return latents


def _is_timed(condition: Condition) -> bool:
    """Return whether a weight is a user's function, which may read what changes, so that nothing may be kept."""
    return any(isinstance(weight, TimedWeight) for _, weight in condition)


def _gaussian(x: Affine) -> Gaussian:
    """Return the law of the values of a map of one prompt; in d numbers where the map is diagonal."""
    if x.diagonal and x.basis is None:
        return Gaussian.diagonal(x.offset[0], x.variance[0])
    return Gaussian(x.offset[0].copy(), x.covariance[0])


def _started(x: Affine, start: Gaussian, sigma: float) -> Gaussian:
    """Return the law of a map's values where the state at the first time, sigma z, has the law `start`."""
    if x.diagonal and x.basis is None and isinstance(start, DiagonalGaussian):
        gain, added = x.rows[0, 0] / sigma, (x.rows[0, 1:-1] ** 2).sum(axis=0)
        return Gaussian.diagonal(x.offset[0] + start.mean * gain, gain**2 * start.variance + added)
    matrix = x.matrix[0] / sigma
    covariance = matrix.T @ start.covariance @ matrix
    if x.n_noises:
        root = x.root[0]
        covariance += root.T @ root
    return Gaussian(x.offset[0] + start.mean @ matrix, 0.5 * (covariance + covariance.T))
