"""The solution: what follows from the moments, and how a request becomes latents.

A request is a list of prompts, some of them alike. Each distinct one is a condition: a weighted sum of
parts, which are symbols (one Gaussian each), embeddings (one regression for all), or everything (the pooled
Gaussian, for guidance). A plain prompt is one part of weight 1.

    "7"                        (7, 1)
    {"3": 0.5, "8": 0.5}       (3, 1/2) (8, 1/2)
    "7" guided by w            (7, w) (everything, 1 - w)

Where prompts have styles, a symbol is a style, and "7" names a family of them: each image draws one.

Conditions that recur are composed once into a map and remembered, so an image costs one product, whatever
the number of steps. Embeddings given as numbers are as many as the images, and are walked instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import noise
from lineardiffusion.affine import Affine
from lineardiffusion.contrast import Contrast
from lineardiffusion.denoise import Denoiser, GaussianDenoiser, MixtureDenoiser
from lineardiffusion.encode import ImageEncoder
from lineardiffusion.guide import Combination
from lineardiffusion.moments import Array, Moments
from lineardiffusion.regression import RegressionDenoiser
from lineardiffusion.styles import Styles
from lineardiffusion.text import TextEncoder, symbols
from lineardiffusion.trajectory import Plan, compose, walk

MAPS_KEPT = 1024  # composed maps remembered
ALTERNATIVES = 1000  # components of a mixture at most
WALK_BYTES = 2**27  # of matrices, one an embedding, at a time


class Family(NamedTuple):
    """All styles of a prompt, by its place among the known ones."""

    prompt: int


Part: TypeAlias = "int | Family | tuple[float, ...] | None"  # a symbol, styles, an embedding, everything
Condition: TypeAlias = tuple[tuple[Part, float], ...]


@dataclass(frozen=True)
class Request:
    """What to draw: image i under ``conditions[place[i]]``, or under ``embeddings[i]``."""

    place: NDArray[np.intp]
    conditions: list[Condition]
    embeddings: Array | None = None

    def __len__(self) -> int:
        return len(self.place)


@dataclass
class Solution:
    """The fitted parts.

    Attributes
    ----------
    encoder : ImageEncoder
    known : tuple of str
        The prompts of the training data; empty when they were embeddings.
    text : TextEncoder or None
        None for one symbol a prompt.
    everything : GaussianDenoiser
        Of the pooled moments.
    given : GaussianDenoiser or RegressionDenoiser
        Of the prompts: one Gaussian a symbol, or the regression on embeddings.
    law : Moments
        Of the latents that the exact sampler draws, one group a Gaussian of theirs.
    styles : Styles or None
        The styles, if `given` has one Gaussian for each.
    contrast : Contrast or None
        The last step of decoding, once it is solved.
    maps : dict
        Composed maps, by condition and plan.
    """

    encoder: ImageEncoder
    known: tuple[str, ...]
    text: TextEncoder | None
    everything: GaussianDenoiser
    given: GaussianDenoiser | RegressionDenoiser
    law: Moments
    styles: Styles | None = None
    contrast: Contrast | None = None
    maps: dict[tuple[Any, ...], Affine] = field(default_factory=dict)

    @property
    def d(self) -> int:
        """Entries of a latent."""
        return len(self.encoder.components)

    # ------------------------------------------------------------------ prompts to conditions

    def request(self, prompts: Sequence[Any] | Array, guidance_scale: float, negative: Any = None) -> Request:
        """The request for these prompts: strings, weights of strings, or an array of embeddings."""
        scale = check_guidance(guidance_scale, negative)
        away = ((None, 1.0),) if negative is None else self.condition(negative)
        if isinstance(prompts, np.ndarray):
            if isinstance(self.given, GaussianDenoiser):
                raise ValueError(
                    'a model of text_encoder="onehot" has no embeddings; pass weights of prompts, '
                    '{"3": 0.5, "8": 0.5}'
                )
            k = len(self.given.whitening) - 1
            if prompts.shape[1] != k:
                raise ValueError(f"embeddings of this model have {k} entries, got {prompts.shape[1]}")
            return Request(np.arange(len(prompts)), [guided(((None, 1.0),), away, scale)], prompts)
        keys = [p if isinstance(p, str) else tuple(check_weights(p).items()) for p in prompts]
        place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        conditions = [
            guided(self.condition(key if isinstance(key, str) else dict(key)), away, scale) for key in place
        ]
        return Request(np.array([place[key] for key in keys], np.intp), conditions)

    def condition(self, prompt: Any) -> Condition:
        """The condition of a prompt, of weighted prompts, or of an embedding."""
        weights = check_weights({prompt: 1.0} if isinstance(prompt, str) else prompt)
        if self.text is None:
            return tuple((self._symbol(prompt), weight) for prompt, weight in weights.items())
        embeddings = self.text.embed(list(weights))
        return ((tuple((np.array(list(weights.values())) @ embeddings).tolist()), 1.0),)

    def _symbol(self, prompt: str) -> int | Family:
        """The symbol of a prompt; its family if it has styles; the style if it names one."""
        name, tilde, number = prompt.rpartition("~")
        if self.styles is None:
            return int(symbols([prompt], self.known)[0])
        if prompt in self.known or not tilde or not number.isdecimal():
            return Family(int(symbols([prompt], self.known)[0]))
        (place,) = symbols([name], self.known).tolist()
        own = np.flatnonzero(self.styles.prompt == place)
        if int(number) >= len(own):
            raise ValueError(f"{name!r} has the styles 0 to {len(own) - 1}, not {number}")
        return int(own[int(number)])

    def family(self, part: Part) -> list[tuple[Part, float]]:
        """The styles of a family with their frequencies; any other part alone."""
        if not isinstance(part, Family) or self.styles is None:
            return [(part, 1.0)]
        own = np.flatnonzero(self.styles.prompt == part.prompt)
        weight = self.styles.moments.weight[own]
        return [(int(g), float(w)) for g, w in zip(own, weight / weight.sum(), strict=True) if w]

    def alternatives(self, condition: Condition) -> list[tuple[Condition, float]]:
        """The conditions that a condition of families stands for, with their probabilities."""
        families = [self.family(part) for part, _ in condition]
        if math.prod(map(len, families)) > ALTERNATIVES:
            raise ValueError("too many styles to combine; name them, as in '7~12'")
        weights = [w for _, w in condition]
        return [
            (
                tuple((part, w) for (part, _), w in zip(choice, weights, strict=True)),
                math.prod(p for _, p in choice),
            )
            for choice in product(*families)
        ]

    def settle(self, request: Request, seeds: int | list[int]) -> Request:
        """Draw a style for every image whose prompt leaves it open."""
        if self.styles is None:
            return request
        m = max(sum(isinstance(part, Family) for part, _ in c) for c in request.conditions)
        # a stream a column: no image's style depends on what else is in the batch, or on guidance
        streams = [(*noise.STYLES, j) for j in range(m)]
        chance = [noise.uniform(seeds, len(request), stream) for stream in streams]
        place = np.empty_like(request.place)
        settled: dict[Condition, int] = {}
        for i, condition in enumerate(request.conditions):
            members = np.flatnonzero(request.place == i)
            columns, j = [], 0
            for part, _ in condition:
                edges = np.cumsum([w for _, w in self.family(part)])[:-1]
                u = chance[j][members] if isinstance(part, Family) else np.zeros(len(members))
                columns.append(np.searchsorted(edges, u, side="right"))
                j += isinstance(part, Family)
            choices, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
            for k, choice in enumerate(choices.tolist()):
                chosen = tuple(
                    (self.family(part)[at][0], w) for at, (part, w) in zip(choice, condition, strict=True)
                )
                place[members[which.ravel() == k]] = settled.setdefault(chosen, len(settled))
        return Request(place, list(settled))

    def denoiser(self, condition: Condition) -> Denoiser:
        """The denoiser of one condition, in the coordinates of the latents."""
        parts = [self._part(part) for part, _ in condition]
        return parts[0] if len(parts) == 1 else Combination(parts, [w for _, w in condition])

    def _part(self, part: Part) -> GaussianDenoiser | RegressionDenoiser:
        if isinstance(part, Family):
            raise ValueError(
                f"{self.known[part.prompt]!r} has {len(self.family(part))} styles; name one, as in "
                f"'{self.known[part.prompt]}~0'"
            )
        return self.everything if part is None else self.given.select(np.array([part]))

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
        self.maps.update(((c, plan.key), maps[c]) for c in missing)
        for old in list(self.maps)[:-MAPS_KEPT]:
            del self.maps[old]
        return [maps[c] for c in conditions]

    def draw(self, request: Request, start: Array, seeds: int | list[int], plan: Plan) -> Array:
        """Latents (n, d) of a request from starting noise (n, d)."""
        if request.embeddings is not None:
            rows, place = np.unique(request.embeddings, axis=0, return_inverse=True)
            if not plan.stochastic and len(rows) * (self.d + 1) > len(request):
                *_, latents = self.walk(request, start, seeds, plan)
                return latents
            (_, *away) = request.conditions[0]
            weight = request.conditions[0][0][1]
            conditions = [((tuple(row), weight), *away) for row in rows.tolist()]
            request = Request(place.ravel(), conditions)
        maps = self.compose(request.conditions, plan)
        latents, added = np.empty_like(start), None
        if any(x.n_noises for x in maps):
            added = noise.draw(seeds, len(start), self.d, noise.SAMPLER)
        for i, x in enumerate(maps):
            members = request.place == i
            extra = None if added is None else added[members][None]
            latents[members] = x(start[members][None], extra)[0]
        return latents

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
            yield latents

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
                    styles, weights = zip(*self.family(part), strict=True)
                    denoiser = MixtureDenoiser(self.given.select(np.array(styles)), np.array(weights))
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


def guided(condition: Condition, away: Condition, scale: float) -> Condition:
    """``away + scale (condition - away)``, the condition's parts first."""
    if scale == 1.0:
        return condition
    return (
        *((part, scale * w) for part, w in condition),
        *((part, (1.0 - scale) * w) for part, w in away),
    )


def check_guidance(guidance_scale: Any, negative: Any) -> float:
    """The guidance scale as a float, if it is one that makes sense."""
    if isinstance(guidance_scale, bool) or not isinstance(guidance_scale, int | float | np.number):
        raise TypeError(f"guidance_scale must be a number, got {guidance_scale!r}")
    if not math.isfinite(guidance_scale):
        raise ValueError(f"guidance_scale must be finite, got {guidance_scale!r}")
    if negative is not None and guidance_scale == 1.0:
        raise ValueError(
            "negative_prompt needs a guidance_scale: at 1, which is no guidance, it changes nothing"
        )
    return float(guidance_scale)


def check_weights(weights: Any) -> dict[str, float]:
    """The weights of prompts, none negative, made to sum to 1."""
    numbers = isinstance(weights, Mapping) and all(
        isinstance(p, str) and isinstance(w, int | float | np.number) for p, w in weights.items()
    )
    if not numbers:
        raise TypeError(f'expected a prompt, or weights of prompts {{"3": 0.5, ...}}; got {weights!r}')
    values = np.array(list(weights.values()), dtype=float)
    if not values.size or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(
            f"weights of prompts must be 0 or more and not all 0, got {dict(weights)!r}; for less than "
            "nothing of a prompt there is negative_prompt"
        )
    kept = {p: float(w) for p, w in zip(weights, values / values.sum(), strict=True) if w}
    return dict(sorted(kept.items()))
