"""The language: what a prompt asks for.

A request is a list of prompts, some of them alike. Each distinct one is a condition: a weighted sum of
parts, which are symbols (one Gaussian each), embeddings (one regression for all), or everything (the pooled
Gaussian, for guidance). A plain prompt is one part of weight 1.

    "7"                        (7, 1)
    {"3": 0.5, "8": 0.5}       (3, 1/2) (8, 1/2)                 with symbols
                               (1/2 e("3") + 1/2 e("8"), 1)      with embeddings
    "7" guided by w            (7, w) (everything, 1 - w)

Where prompts have styles, a symbol is a style, or the style is one more word of the embedding. "7~12" names
one, and "7" is a family of them, of which each image draws one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import noise
from lineardiffusion.moments import Array
from lineardiffusion.styles import Styles
from lineardiffusion.text import TextEncoder, symbols

ALTERNATIVES = 1000  # components of a mixture at most

Single: TypeAlias = "int | tuple[float, ...] | None"  # a symbol, an embedding, everything


class Family(NamedTuple):
    """A prompt whose style is open: its styles, and how often each is met."""

    prompt: str
    styles: tuple[Single, ...]
    chances: tuple[float, ...]


Part: TypeAlias = "Single | Family"
Condition: TypeAlias = tuple[tuple[Part, float], ...]


@dataclass(frozen=True)
class Request:
    """What to draw: image i under ``conditions[place[i]]``, or under ``embeddings[i]``."""

    place: NDArray[np.intp]
    conditions: list[Condition]
    embeddings: Array | None = None

    def __len__(self) -> int:
        return len(self.place)

    def gathered(self) -> Request:
        """The same, with each distinct embedding as a condition."""
        if self.embeddings is None:
            return self
        rows, place = np.unique(self.embeddings, axis=0, return_inverse=True)
        ((_, weight), *away) = self.conditions[0]
        return Request(place.ravel(), [((tuple(row), weight), *away) for row in rows.tolist()])


@dataclass(frozen=True)
class Language:
    """What reads prompts.

    Attributes
    ----------
    known : tuple of str
        The prompts of the training data; empty when they were embeddings.
    text : TextEncoder or None
        None for one symbol a prompt.
    styles : Styles or None
    size : int
        Entries of an embedding, its style left out; with symbols, their number.
    """

    known: tuple[str, ...]
    text: TextEncoder | None
    styles: Styles | None
    size: int

    def request(self, prompts: Sequence[Any] | Array, guidance_scale: float, negative: Any = None) -> Request:
        """The request for these prompts: strings, weights of strings, or an array of embeddings."""
        scale = check_guidance(guidance_scale, negative)
        away = ((None, 1.0),) if negative is None else self.condition(negative)
        if isinstance(prompts, np.ndarray):
            self._check_embeddings(prompts)
            if (self.text is None and not self.known) or (self.text is not None and self.styles is None):
                return Request(np.arange(len(prompts)), [guided(((None, 1.0),), away, scale)], prompts)
            rows = [tuple(row) for row in prompts.tolist()]
            place = {row: i for i, row in enumerate(dict.fromkeys(rows))}
            conditions = [guided(self._embedded(row), away, scale) for row in place]
            return Request(np.array([place[row] for row in rows], np.intp), conditions)
        keys = [p if isinstance(p, str) else tuple(check_weights(p).items()) for p in prompts]
        where = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        conditions = [
            guided(self.condition(key if isinstance(key, str) else dict(key)), away, scale) for key in where
        ]
        return Request(np.array([where[key] for key in keys], np.intp), conditions)

    def condition(self, prompt: Any) -> Condition:
        """The condition of a prompt, or of weighted prompts."""
        weights = check_weights({prompt: 1.0} if isinstance(prompt, str) else prompt)
        if self.text is None:
            return tuple((self._symbol(prompt), weight) for prompt, weight in weights.items())
        names, styles = zip(*map(self._split, weights), strict=True)
        w = np.array(list(weights.values()))
        embedding = w @ self.text.embed(names)
        return ((self._with_style(" + ".join(weights), embedding, styles, w), 1.0),)

    def _check_embeddings(self, embeddings: Array) -> None:
        if embeddings.shape[1] != self.size:
            what = "weights of the prompts" if self.text is None and self.known else "embeddings"
            raise ValueError(f"{what} of this model have {self.size} entries, got {embeddings.shape[1]}")

    def _embedded(self, row: tuple[float, ...]) -> Condition:
        """The condition of an embedding: of symbols it is their weights."""
        if self.text is None:
            return self.condition(dict(zip(self.known, row, strict=True)))
        return ((self._with_style("this embedding", np.array(row), [None], np.ones(1)), 1.0),)

    def _split(self, prompt: str) -> tuple[str, int | None]:
        """A prompt and the number of its style, if it names one that all prompts share."""
        name, _, number = prompt.rpartition("~")
        if self.styles is None or prompt in self.known or not name or not number.isdecimal():
            return prompt, None
        k = len(self.styles.frequency())
        if int(number) >= k:
            raise ValueError(f"this model has the styles 0 to {k - 1}, not {number}")
        return name, int(number)

    def _with_style(self, name: str, embedding: Array, styles: Sequence[int | None], weights: Array) -> Part:
        """An embedding with the style as one more word; all prompts that leave it open draw the same."""
        if self.styles is None:
            return tuple(embedding.tolist())
        chances = self.styles.frequency()
        word = np.zeros(len(chances))
        still_open = 0.0
        for number, weight in zip(styles, weights, strict=True):
            if number is None:
                still_open += weight
            else:
                word[number] += weight
        if not still_open:
            return tuple(np.concatenate([embedding, word]).tolist())
        rows = np.hstack([np.tile(embedding, (len(chances), 1)), word + still_open * np.eye(len(chances))])
        return Family(name, tuple(tuple(row) for row in rows.tolist()), tuple(chances.tolist()))

    def _symbol(self, prompt: str) -> Part:
        """The symbol of a prompt; its family if it has styles; the style if it names one."""
        name, tilde, number = prompt.rpartition("~")
        if self.styles is None:
            return int(symbols([prompt], self.known)[0])
        if prompt in self.known or not tilde or not number.isdecimal():
            own = np.flatnonzero(self.styles.prompt == symbols([prompt], self.known)[0])
            weight = self.styles.moments.weight[own]
            own, chances = own[weight > 0], weight[weight > 0] / weight.sum()
            return Family(prompt, tuple(own.tolist()), tuple(chances.tolist()))
        (place,) = symbols([name], self.known).tolist()
        own = np.flatnonzero(self.styles.prompt == place)
        if int(number) >= len(own):
            raise ValueError(f"{name!r} has the styles 0 to {len(own) - 1}, not {number}")
        return int(own[int(number)])

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
                edges = np.cumsum([w for _, w in family(part)])[:-1]
                u = chance[j][members] if isinstance(part, Family) else np.zeros(len(members))
                columns.append(np.searchsorted(edges, u, side="right"))
                j += isinstance(part, Family)
            choices, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
            for k, choice in enumerate(choices.tolist()):
                chosen = tuple(
                    (family(part)[at][0], w) for at, (part, w) in zip(choice, condition, strict=True)
                )
                place[members[which.ravel() == k]] = settled.setdefault(chosen, len(settled))
        return Request(place, list(settled))


def family(part: Part) -> list[tuple[Single, float]]:
    """The styles of a family with their frequencies; any other part alone."""
    if isinstance(part, Family):
        return list(zip(part.styles, part.chances, strict=True))
    return [(part, 1.0)]


def alternatives(condition: Condition) -> list[tuple[Condition, float]]:
    """The conditions that a condition of families stands for, with their probabilities."""
    families = [family(part) for part, _ in condition]
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
