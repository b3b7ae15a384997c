"""The fitted model: everything solved, and how conditions become latents.

Conditions (encoders/conditioning.py) that recur are composed once into an affine map, so an image costs one
product, whatever the number of steps. Embeddings that are given as numbers differ from image to image, and for few
images a numerical flow costs less to simulate than to compose; both are simulated instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import _noise
from lineardiffusion._arrays import Array, Images, freeze
from lineardiffusion._cache import Cache
from lineardiffusion._validation import warn
from lineardiffusion.contrast import Contrast
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import Denoiser, GaussianDenoiser, MixtureDenoiser
from lineardiffusion.diffusion.guidance import Combination
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.diffusion.samplers import Sampler, get_sampler
from lineardiffusion.diffusion.trajectory import Trajectory, compose, simulate
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.encoders.conditioning import Condition, Conditioner, Part, Request, StyleMixture, alternatives
from lineardiffusion.encoders.image import Encoder, ImageEncoder
from lineardiffusion.inverse.measurement import PixelModel
from lineardiffusion.inverse.posterior import LatentLaws
from lineardiffusion.parameters import Parameters, check_guidance
from lineardiffusion.statistics.dataset import Statistics

TERMINAL_SNR = 0.01  # in the strongest direction; above it the start holds signal that noise alone lacks
SIMULATED_BELOW = 1 / 8  # images for each entry of a latent, below which a numerical flow is not composed
SIMULATED_BYTES = 2**27  # of matrices, one an embedding, at a time
FARTHEST = 1e30  # pixels beyond which single precision ends


class SamplerSettings(TypedDict, total=False):
    """Settings of the sampler; the model's parameters stand for those that are left out or None."""

    sampler: Any
    num_steps: int | None
    guidance_scale: float | None
    negative_prompt: Any


class Resolved(NamedTuple):
    """Conditions, and the trajectory that draws under them.

    With `per_image`, one condition belongs to each image; otherwise each image may have any of the conditions.
    """

    request: Request
    trajectory: Trajectory
    per_image: bool = True


class Drawing(NamedTuple):
    """Inputs of a drawing: conditions, trajectory, starting noise (n, d), and the seeds of further noise."""

    request: Request
    trajectory: Trajectory
    start: Array
    seeds: int | list[int]


@dataclass(frozen=True, eq=False, repr=False)
class FittedDiffusion:
    """A solved model; it never changes.

    Attributes
    ----------
    parameters : Parameters
        The parameters that it was solved with.
    statistics : Statistics
        Sufficient statistics of the training data.
    encoder : Encoder
        Images to latents and back.
    conditioner : Conditioner
        Prompts to conditions.
    unconditional : GaussianDenoiser
        Denoiser of the pooled moments.
    conditional : GaussianDenoiser or RegressionDenoiser
        Denoiser of the prompts: one Gaussian per symbol or style, or the regression on embeddings.
    undrawn : ndarray of shape (g, d) or None
        Variances of the styles, in their bases, that are scored but not drawn.
    pixel_model : PixelModel or None
        Law of the pixels given the latents; None if the encoder is not linear.
    contrast : AffineContrast, HistogramContrast or None
        The last step of decoding.
    cache : Cache
        Composed maps and laws, by condition and trajectory.
    """

    parameters: Parameters
    statistics: Statistics
    encoder: Encoder
    conditioner: Conditioner
    unconditional: GaussianDenoiser
    conditional: GaussianDenoiser | RegressionDenoiser
    undrawn: Array | None
    pixel_model: PixelModel | None
    contrast: Contrast | None
    cache: Cache

    def __post_init__(self) -> None:
        freeze(self)

    @property
    def d(self) -> int:
        """Number of entries of a latent."""
        return int(self.unconditional.mean.shape[1])

    # ------------------------------------------------------------------ inputs

    def resolve(
        self,
        prompts: Sequence[Any] | Array,
        sampling: SamplerSettings,
        every_step: bool = False,
        strength: float = 1.0,
    ) -> Resolved:
        """Return the conditions and the trajectory of checked prompts and settings of the sampler."""
        if unknown := sorted(set(sampling) - set(SamplerSettings.__annotations__)):
            known = ", ".join(SamplerSettings.__annotations__)
            raise TypeError(f"unknown setting {unknown[0]!r}; the settings of the sampler are {known}")
        trajectory = self._trajectory(sampling.get("sampler"), sampling.get("num_steps"), every_step, strength)
        scale, negative = sampling.get("guidance_scale"), sampling.get("negative_prompt")
        if scale is not None or negative is not None:
            check_guidance(self.parameters.guidance_scale if scale is None else scale, negative)
        if scale is None:
            scale = self.parameters.guidance_scale
        return Resolved(self.conditioner.request(prompts, scale, negative), trajectory)

    def _trajectory(self, sampler: Any, num_steps: int | None, every_step: bool, strength: float) -> Trajectory:
        found = self.parameters.trajectory
        if sampler is not None or num_steps is not None or every_step or strength != 1.0:
            if sampler is None:
                sampler = found.sampler
            elif num_steps is None and not isinstance(sampler, Sampler):
                num_steps = self.parameters.num_steps
            found = Trajectory(get_sampler(sampler, num_steps), found.schedule, every_step, strength)
        alpha, sigma = found.start
        ratio = float(self.unconditional.variance.max()) * (alpha / sigma) ** 2
        if ratio > TERMINAL_SNR and strength == 1.0 and not found.sampler.keeps_signal:
            warn(
                f"the schedule's first level, alpha={alpha:.3g} and sigma={sigma:.3g}, still holds signal "
                f"(ratio {ratio:.2g} in the strongest direction), but sampling starts from noise alone: images "
                "will be too similar; use a schedule that ends in noise"
            )
        return found

    def drawing(
        self, resolved: Resolved, seed: _noise.Seed, latents: Array | None, images: NDArray[Any] | None
    ) -> Drawing:
        """Return the inputs of a drawing, whose noise comes from the seed, given latents, or noised images."""
        request, trajectory = resolved[:2]
        n, d = len(request.place), self.d
        seeds = _noise.check_seed(seed, n, self.parameters.random_state)
        start = _noise.draw(seeds, n, d) if latents is None else latents
        if images is not None:  # alpha z + sigma n = sigma (n + alpha z / sigma)
            alpha, sigma = trajectory.start
            start = start + (alpha / sigma) * self.encoder.encode(images)
        return Drawing(self.conditioner.choose_styles(request, seeds), trajectory, start, seeds)

    # ------------------------------------------------------------------ denoisers, maps and laws

    def denoiser(self, condition: Condition) -> Denoiser:
        """Return the denoiser of one condition."""
        parts = [self._part(part) for part, _ in condition]
        return parts[0] if len(parts) == 1 else Combination(parts, [w for _, w in condition])

    def _part(self, part: Part) -> GaussianDenoiser | RegressionDenoiser:
        if isinstance(part, StyleMixture):
            raise ValueError(f"{part.prompt!r} has {len(part.styles)} styles; name one, as in '{part.prompt}~0'")
        return self.unconditional if part is None else self.conditional.select(np.array([part]))

    def denoise(self, request: Request, images: NDArray[Any], sigma: float) -> Images:
        """Return the expected clean images of noisy ones; `sigma` in pixel units."""
        x = self.encoder.encode(images)
        level = sigma / getattr(self.encoder, "scaling_factor", 1.0)
        clean = np.empty_like(x)
        for members, shape, denoiser in self._groups(request, mixed=True):
            clean[members] = denoiser(x[members].reshape(shape), 1.0, level).reshape(len(members), -1)
        return self.encoder.decode(clean)

    def maps(self, resolved: Resolved) -> tuple[list[Affine], list[float]]:
        """Return the composed map of one prompt, or the maps of its styles, and their probabilities."""
        request, trajectory = resolved[:2]
        if request.embeddings is None:
            conditions, weights = zip(*alternatives(request.conditions[0]), strict=True)
            return self.compose(conditions, trajectory), list(weights)
        ((_, _, denoiser),) = self._groups(request)
        return [compose(denoiser, 1, self.d, trajectory)], [1.0]

    def law(self, resolved: Resolved) -> Gaussian | Mixture:
        """Return the law of the latents of one prompt."""
        maps, weights = self.maps(resolved)
        laws = [Gaussian(x.offset[0].copy(), x.covariance[0]) for x in maps]
        return laws[0] if len(laws) == 1 else Mixture(weights, laws)

    def compose(self, conditions: Sequence[Condition], trajectory: Trajectory) -> list[Affine]:
        """Return the map of each condition, composed once and kept in the cache."""
        key = trajectory.key
        found = {c: self.cache.get((c, key)) for c in conditions}
        if missing := [c for c, x in found.items() if x is None]:
            found.update(self._compose(missing, trajectory))
            for c in missing:
                self._check_range(found[c].rows)
                if key is not None:
                    self.cache.put((c, key), found[c], found[c].rows.nbytes)
        return [found[c] for c in conditions]

    def _compose(self, conditions: Sequence[Condition], trajectory: Trajectory) -> dict[Condition, Affine]:
        """Compose maps; those of plain symbols side by side."""
        found: dict[Condition, Affine] = {}
        plain = [c for c in conditions if len(c) == 1 and isinstance(c[0][0], int)]
        if plain:
            together = self.conditional.select(np.array([c[0][0] for c in plain]))
            stack = compose(together, len(plain), self.d, trajectory)
            # copies: a view would keep the whole stack in memory for as long as one of its maps is kept
            found.update((c, replace(stack[i], rows=stack.rows[i : i + 1].copy())) for i, c in enumerate(plain))
        for c in conditions:
            if c not in found:
                found[c] = compose(self.denoiser(c), 1, self.d, trajectory)
            freeze(found[c])
        return found

    def latent_laws(self, conditions: Sequence[Condition], trajectory: Trajectory) -> LatentLaws:
        """Return the law of each condition's latents, with the variance that a style leaves undrawn."""
        key = ("laws", tuple(conditions), trajectory.key)
        laws: LatentLaws | None = self.cache.get(key)
        if laws is None:
            missing = {c: self.cache.get((c, trajectory.key)) for c in conditions}
            missing.update(self._compose([c for c, x in missing.items() if x is None], trajectory))
            maps = [missing[c] for c in conditions]
            covariance = np.concatenate([x.covariance for x in maps])
            for C, x, condition in zip(covariance, maps, conditions, strict=True):
                self._check_range(x.rows)
                if (undrawn := self._undrawn(condition)) is not None:
                    C += undrawn
            mean = np.concatenate([x.offset for x in maps])
            laws = LatentLaws.of(mean, covariance, self.require_pixel_model().floor)
            if trajectory.key is not None:
                self.cache.put(key, laws, laws.nbytes)
        return laws

    def _undrawn(self, condition: Condition) -> Array | None:
        """Return the covariance (d, d) that the sampler leaves out of the condition's style, if it has one."""
        style = condition[0][0]
        if self.undrawn is None or not isinstance(style, int):
            return None
        assert isinstance(self.conditional, GaussianDenoiser)
        assert self.conditional.basis is not None
        basis = self.conditional.basis[style]
        return np.asarray((basis * self.undrawn[style]) @ basis.T)

    def require_pixel_model(self) -> PixelModel:
        """Return the pixel model; a ValueError if the encoder is not linear."""
        if self.pixel_model is None:
            raise ValueError(
                "likelihoods and posteriors of pixels need a linear image encoder; fit on the latents of this "
                "encoder instead: LinearDiffusion().fit(prompts, encoder.encode(images))"
            )
        return self.pixel_model

    # ------------------------------------------------------------------ drawing

    def draw(self, drawing: Drawing) -> Array:
        """Return latents (n, d)."""
        request, trajectory, start, seeds = drawing
        if request.embeddings is not None:
            gathered = request.gathered()
            if not trajectory.sampler.stochastic and len(gathered.conditions) * (self.d + 1) > len(request):
                *_, latents = self.simulate(drawing)
                return latents
            request = gathered
        latents, composed = np.empty_like(start), []
        for i, condition in enumerate(request.conditions):
            members = np.flatnonzero(request.place == i)
            if self._costs_less_simulated(condition, len(members), trajectory):
                few = Request(np.zeros(len(members), np.intp), [condition])
                *_, latents[members] = self.simulate(Drawing(few, trajectory, start[members], 0))
            else:
                composed.append((members, condition))
        maps = self.compose([condition for _, condition in composed], trajectory)
        added = None
        if any(x.n_noises for x in maps):
            added = _noise.draw(seeds, len(start), self.d, _noise.SAMPLER)
        for (members, _), x in zip(composed, maps, strict=True):
            latents[members] = x(start[members][None], None if added is None else added[members][None])[0]
        return self._check_range(latents)

    def _costs_less_simulated(self, condition: Condition, n: int, trajectory: Trajectory) -> bool:
        """Return whether n flows cost less than a map, which is d flows."""
        plain = len(condition) == 1 and isinstance(self.conditional, GaussianDenoiser)
        if plain or not trajectory.sampler.solves_flow or n >= SIMULATED_BELOW * self.d:
            return False
        return self.cache.get((condition, trajectory.key)) is None

    def simulate(self, drawing: Drawing) -> Iterator[Array]:
        """Yield latents (n, d) at every step."""
        request, trajectory, start, seeds = drawing
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

    def _groups(
        self, request: Request, mixed: bool = False
    ) -> Iterator[tuple[NDArray[np.intp], tuple[int, int, int], Denoiser]]:
        """Yield the images that share a denoiser, the shape (p, m, d) of their latents, and the denoiser.

        With `mixed`, a mixture of styles has the denoiser of the mixture.
        """
        if request.embeddings is None:
            for i, condition in enumerate(request.conditions):
                members = np.flatnonzero(request.place == i)
                ((part, _), *others) = condition
                denoiser: Any
                gaussians = self.conditional if isinstance(self.conditional, GaussianDenoiser) else None
                if mixed and isinstance(part, StyleMixture) and not others and gaussians is not None:
                    components = gaussians.select(np.array(part.styles))
                    denoiser = MixtureDenoiser(components, np.array(part.frequencies))
                else:
                    denoiser = self.denoiser(condition)
                yield members, (1, len(members), self.d), denoiser
            return
        ((_, weight), *away) = request.conditions[0]
        step = max(1, SIMULATED_BYTES // (8 * self.d * self.conditional.width))
        for first in range(0, len(request), step):
            members = np.arange(first, min(first + step, len(request)))
            denoiser = self.conditional.select(request.embeddings[members])
            if away:
                further = [self._part(part) for part, _ in away]
                denoiser = Combination([denoiser, *further], [weight, *(w for _, w in away)])
            yield members, (len(members), 1, self.d), denoiser

    def _check_range(self, latents: Array) -> Array:
        """Return latents, or rows of maps to them; a ValueError if their images exceed single precision."""
        if not (np.abs(latents) < self._farthest()).all():
            raise ValueError(
                "these images are beyond the range of numbers; a guidance_scale nearer 1, weights of prompts "
                "that are positive, and latents of standard deviation 1 keep them within"
            )
        return latents

    def _farthest(self) -> float:
        if not isinstance(self.encoder, ImageEncoder):
            return FARTHEST
        return FARTHEST / (self.encoder.scaling_factor * max(float(self.encoder.pixel_scale.max()), 1.0))
