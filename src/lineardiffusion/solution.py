"""The solution: what follows from the moments, and how a condition becomes latents.

Conditions (language.py) that recur are composed once into a map and remembered, so an image costs one
product, whatever the number of steps. Embeddings given as numbers are as many as the images, and conditions
whose flow is followed numerically for a few images only; both are walked instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import noise
from lineardiffusion.affine import Affine
from lineardiffusion.contrast import Contrast
from lineardiffusion.denoise import Denoiser, GaussianDenoiser, MixtureDenoiser
from lineardiffusion.encode import ImageEncoder
from lineardiffusion.evidence import Laws
from lineardiffusion.guide import Combination
from lineardiffusion.language import Condition, Family, Language, Part, Request
from lineardiffusion.measurement import Canvas
from lineardiffusion.moments import Array, Moments
from lineardiffusion.regression import RegressionDenoiser
from lineardiffusion.trajectory import Plan, compose, walk

MAPS_KEPT = 1024  # composed maps remembered
WALK_FROM = 8  # times fewer images than entries of a latent: their flow is followed without a map
WALK_BYTES = 2**27  # of matrices, one an embedding, at a time
FARTHEST = 1e30  # pixels, which are numbers in single precision


@dataclass
class Solution:
    """The fitted parts.

    Attributes
    ----------
    encoder : ImageEncoder
    language : Language
        Prompts to conditions.
    everything : GaussianDenoiser
        Of the pooled moments.
    given : GaussianDenoiser or RegressionDenoiser
        Of the prompts: one Gaussian a symbol, or the regression on embeddings.
    law : Moments
        Of the latents, one group a Gaussian of theirs: what the exact sampler draws where it starts from
        pure noise and prompts are symbols, and nearly so otherwise. The contrast is solved for it.
    rest : Array or None
        Variances (g, d) of `given`'s styles in their bases that are not drawn.
    contrast : Contrast or None
        The last step of decoding, once it is solved.
    maps : dict
        Composed maps, by condition and plan.
    whole : dict
        The laws that were last asked for, by conditions and plan.
    """

    encoder: ImageEncoder
    language: Language
    everything: GaussianDenoiser
    given: GaussianDenoiser | RegressionDenoiser
    law: Moments
    rest: Array | None = None
    contrast: Contrast | None = None
    maps: dict[tuple[Any, ...], Affine] = field(default_factory=dict)
    whole: dict[tuple[Any, ...], Laws] = field(default_factory=dict)

    @property
    def d(self) -> int:
        """Entries of a latent."""
        return len(self.encoder.components)

    def denoiser(self, condition: Condition) -> Denoiser:
        """The denoiser of one condition, in the coordinates of the latents."""
        parts = [self._part(part) for part, _ in condition]
        return parts[0] if len(parts) == 1 else Combination(parts, [w for _, w in condition])

    def _part(self, part: Part) -> GaussianDenoiser | RegressionDenoiser:
        if isinstance(part, Family):
            raise ValueError(
                f"{part.prompt!r} has {len(part.styles)} styles; name one, as in '{part.prompt}~0'"
            )
        return self.everything if part is None else self.given.select(np.array([part]))

    def undrawn(self, condition: Condition) -> Array | None:
        """The covariance (d, d) of what the sampler leaves out of the condition's style, if it has one."""
        style = condition[0][0]
        if self.rest is None or not isinstance(style, int) or not isinstance(self.given, GaussianDenoiser):
            return None
        assert self.given.basis is not None
        basis = self.given.basis[style]
        return np.asarray((basis * self.rest[style]) @ basis.T)

    # ------------------------------------------------------------------ conditions to latents

    def compose(self, conditions: Sequence[Condition], plan: Plan) -> list[Affine]:
        """The map of each condition, worked out once and remembered."""
        found = {c: self.maps.get((c, plan.key)) for c in conditions}
        missing = [c for c, x in found.items() if x is None]
        plain = [c for c in missing if len(c) == 1 and isinstance(c[0][0], int)]
        if plain:
            together = self.given.select(np.array([c[0][0] for c in plain]))
            stack = compose(together, len(plain), self.d, plan)
            found.update((c, stack[i]) for i, c in enumerate(plain))
        for c in missing:
            if found[c] is None:
                found[c] = compose(self.denoiser(c), 1, self.d, plan)
        maps = {c: x for c, x in found.items() if x is not None}
        for c in missing:
            self._within(maps[c].rows)
        self.maps.update(((c, plan.key), maps[c]) for c in missing)
        for old in list(self.maps)[:-MAPS_KEPT]:
            del self.maps[old]
        return [maps[c] for c in conditions]

    def laws(self, conditions: Sequence[Condition], plan: Plan, canvas: Canvas) -> Laws:
        """The law of each condition's latents, with what a style leaves out when it is drawn."""
        key = (tuple(conditions), plan.key)
        if key not in self.whole:
            maps = self.compose(conditions, plan)
            covariance = np.concatenate([x.covariance for x in maps])
            for C, condition in zip(covariance, conditions, strict=True):
                if (more := self.undrawn(condition)) is not None:
                    C += more
            self.whole = {key: Laws.of(np.concatenate([x.offset for x in maps]), covariance, canvas)}
        return self.whole[key]

    def draw(self, request: Request, start: Array, seeds: int | list[int], plan: Plan) -> Array:
        """Latents (n, d) of a request from starting noise (n, d)."""
        if request.embeddings is not None:
            gathered = request.gathered()
            if not plan.stochastic and len(gathered.conditions) * (self.d + 1) > len(request):
                *_, latents = self.walk(request, start, seeds, plan)
                return latents
            request = gathered
        latents, composed = np.empty_like(start), []
        for i, condition in enumerate(request.conditions):
            members = np.flatnonzero(request.place == i)
            if self._sooner_walked(condition, len(members), plan):
                few = Request(np.zeros(len(members), np.intp), [condition])
                *_, latents[members] = self.walk(few, start[members], 0, plan)
            else:
                composed.append((members, condition))
        maps = self.compose([condition for _, condition in composed], plan)
        added = (
            noise.draw(seeds, len(start), self.d, noise.SAMPLER) if any(x.n_noises for x in maps) else None
        )
        for (members, _), x in zip(composed, maps, strict=True):
            extra = None if added is None else added[members][None]
            latents[members] = x(start[members][None], extra)[0]
        return self._within(latents)

    def _sooner_walked(self, condition: Condition, n: int, plan: Plan) -> bool:
        """Whether n images come sooner by a flow of their own than by a map, which is a flow of d."""
        plain = len(condition) == 1 and isinstance(self.given, GaussianDenoiser)
        known = (condition, plan.key) in self.maps
        return plan.key[0] == "exact" and not plain and not known and WALK_FROM * n < self.d

    def walk(self, request: Request, start: Array, seeds: int | list[int], plan: Plan) -> Iterator[Array]:
        """Latents (n, d) at every step."""
        fresh = noise.generators(seeds, len(start))
        groups = list(self.groups(request))
        walks = [
            walk(denoiser, start[members].reshape(shape), plan, [fresh[i] for i in members])
            for members, shape, denoiser in groups
        ]
        for states in zip(*walks, strict=True):
            latents = np.empty_like(start)
            for (members, _, _), x in zip(groups, states, strict=True):
                latents[members] = x.reshape(len(members), -1)
            yield self._within(latents)

    def groups(
        self, request: Request, mixed: bool = False
    ) -> Iterator[tuple[NDArray[np.intp], tuple[int, int, int], Denoiser]]:
        """The images that share a denoiser, the shape (p, m, d) of their latents, and the denoiser.

        With `mixed` a family is denoised by all its styles, as the mixture that it is.
        """
        if request.embeddings is None:
            for i, condition in enumerate(request.conditions):
                members = np.flatnonzero(request.place == i)
                ((part, _), *others) = condition
                denoiser: Any
                if (
                    mixed
                    and isinstance(part, Family)
                    and not others
                    and isinstance(self.given, GaussianDenoiser)
                ):
                    among = self.given.select(np.array(part.styles))
                    denoiser = MixtureDenoiser(among, np.array(part.chances))
                else:
                    denoiser = self.denoiser(condition)
                yield members, (1, len(members), self.d), denoiser
            return
        ((_, weight), *away) = request.conditions[0]
        step = max(1, WALK_BYTES // (8 * self.d * self.given.width))
        for first in range(0, len(request), step):
            members = np.arange(first, min(first + step, len(request)))
            denoiser = self.given.select(request.embeddings[members])
            if away:
                further = [self._part(part) for part, _ in away]
                denoiser = Combination([denoiser, *further], [weight, *(w for _, w in away)])
            yield members, (len(members), 1, self.d), denoiser

    def _within(self, latents: Array) -> Array:
        """The latents, or maps to them, unless no image is so far away."""
        unit = self.encoder.scaling_factor * max(float(self.encoder.pixel_scale.max()), 1.0)
        if not (np.abs(latents) < FARTHEST / unit).all():
            raise ValueError(
                "these images are beyond the range of numbers; a guidance_scale nearer 1, weights of prompts "
                "that are positive, and latents of standard deviation 1 keep them within"
            )
        return latents
