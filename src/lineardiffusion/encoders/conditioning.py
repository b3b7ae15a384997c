"""Conditioning: prompts to the conditions that the denoiser takes.

A request is a list of prompts, of which some may be equal. Each distinct one is a condition: a weighted sum of
parts, which are symbols (one Gaussian each), embeddings (one regression for all), or None (the unconditional
Gaussian of the pooled moments, for guidance). A plain prompt is one part of weight 1.

    "7"                        (7, 1)
    {"3": 0.5, "8": 0.5}       (3, 1/2) (8, 1/2)                 with symbols
                               (1/2 e("3") + 1/2 e("8"), 1)      with embeddings
    "7" guided by w            (7, w) (None, 1 - w)            w a number, or a function of the time

Where prompts have styles, a symbol is a style, or the style is one more word of the embedding. "7~12" names a
style, and "7" is a mixture of styles, of which each image draws one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lineardiffusion import _noise
from lineardiffusion._arrays import Array, Indices
from lineardiffusion._cache import computed_once
from lineardiffusion._validation import check_prompts
from lineardiffusion.encoders.text import TextEncoder, unknown

ALTERNATIVES = 1000  # components of a mixture at most

Single: TypeAlias = "int | tuple[float, ...] | None"  # a symbol, an embedding, the unconditional Gaussian


class StyleFrequencies(NamedTuple):
    """The prompt (g,) and the weight (g,) of every style; `shared` if style k of one prompt is that of all."""

    prompt: Indices
    weight: Array
    shared: bool

    def of_all(self) -> Array:
        """Return the frequencies (k,) of styles that all prompts share."""
        weight = self.weight.reshape(int(self.prompt.max()) + 1, -1).sum(axis=0)
        return np.asarray(weight / weight.sum())


class StyleMixture(NamedTuple):
    """A prompt whose style is not named: its styles and their frequencies."""

    prompt: str
    styles: tuple[Single, ...]
    frequencies: tuple[float, ...]


Part: TypeAlias = "Single | StyleMixture"
Condition: TypeAlias = tuple[tuple[Part, Any], ...]  # weights are floats, or depend on the time
Weighted: TypeAlias = tuple[tuple[str, float], ...]  # prompts and their weights, which sum to 1


@dataclass(frozen=True)
class Request:
    """The conditions of n images: image i has ``conditions[place[i]]``.

    With `embeddings` (n, k), image i has its embedding in place of the first part of ``conditions[0]``.
    """

    place: Indices
    conditions: list[Condition]
    embeddings: Array | None = None

    def __len__(self) -> int:
        return len(self.place)

    def groups(self) -> list[Indices]:
        """Return the images of each condition."""
        order = np.argsort(self.place, kind="stable")
        return np.split(order, np.searchsorted(self.place[order], np.arange(1, len(self.conditions))))

    def gathered(self) -> Request:
        """Return the same request with each distinct embedding as a condition."""
        if self.embeddings is None:
            return self
        rows, place = np.unique(self.embeddings, axis=0, return_inverse=True)
        ((_, weight), *away) = self.conditions[0]
        return Request(place.ravel(), [((tuple(row), weight), *away) for row in rows.tolist()])


@dataclass(frozen=True, eq=False)
class Conditioner:
    """Prompts to conditions."""

    known: tuple[str, ...]  # the prompts of the training data; empty when they were embeddings
    text: TextEncoder | None  # None for one symbol per prompt
    styles: StyleFrequencies | None
    size: int  # entries of an embedding without its style; with symbols, their number

    @computed_once
    def places(self) -> dict[str, int]:
        """The place of each known prompt."""
        return {prompt: u for u, prompt in enumerate(self.known)}

    def request(self, prompts: Sequence[Any] | Array, guidance_scale: Any, negative: Any = None) -> Request:
        """Return the request for prompts: strings, weights of strings, or an array of embeddings.

        `guidance_scale` is a number, or a weight that depends on the time and has the arithmetic of a number.
        """
        away = ((None, 1.0),) if negative is None else self._condition(_weighted(negative))
        keys: list[Any]
        condition: Callable[[Any], Condition]
        if isinstance(prompts, np.ndarray):
            if prompts.shape[1] != self.size:
                what = "weights of the prompts" if self.text is None and self.known else "embeddings"
                raise ValueError(f"{what} of this model have {self.size} entries, got {prompts.shape[1]}")
            if (self.text is None and not self.known) or (self.text is not None and self.styles is None):
                replaced = guided(((None, 1.0),), away, guidance_scale)
                return Request(np.arange(len(prompts)), [replaced], prompts)
            keys, condition = [tuple(row) for row in prompts.tolist()], self._embedded
        else:
            keys, condition = list(prompts), self._condition
            weighted = {one: _weighted(one) for one in set(keys)} if set(map(type, keys)) == {str} else None
            keys = [_weighted(one) for one in keys] if weighted is None else [weighted[one] for one in keys]
        where = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        conditions = [guided(condition(key), away, guidance_scale) for key in where]
        return Request(np.array([where[key] for key in keys], np.intp), conditions)

    def _condition(self, prompts: Weighted) -> Condition:
        """Return the condition of prompts with normalised weights."""
        if self.text is None:
            return tuple((self._symbol(prompt), weight) for prompt, weight in prompts)
        names, styles = zip(*(self.split(prompt) for prompt, _ in prompts), strict=True)
        w = np.array([weight for _, weight in prompts])
        name = " + ".join(prompt for prompt, _ in prompts)
        return ((self._with_style(name, w @ self.text.embed(names), styles, w), 1.0),)

    def _embedded(self, row: tuple[float, ...]) -> Condition:
        """Return the condition of an embedding; with symbols, its entries are their weights."""
        if self.text is None:
            return self._condition(_weighted(dict(zip(self.known, row, strict=True))))
        return ((self._with_style("this embedding", np.array(row), [None], np.ones(1)), 1.0),)

    def split(self, prompt: str) -> tuple[str, int | None]:
        """Split a prompt into its words and the number of its style, if it names one."""
        name, tilde, number = prompt.rpartition("~")
        if self.styles is None or prompt in self.places or not tilde or not number.isdecimal():
            return prompt, None
        return name, int(number)

    def _with_style(self, name: str, embedding: Array, styles: Sequence[int | None], weights: Array) -> Part:
        """Append the style to an embedding; prompts that name no style draw the same one."""
        if self.styles is None:
            return tuple(embedding.tolist())
        frequencies = self.styles.of_all()
        k, unnamed = len(frequencies), 0.0
        word = np.zeros(k)
        for number, weight in zip(styles, weights, strict=True):
            if number is None:
                unnamed += weight
            elif number < k:
                word[number] += weight
            else:
                raise ValueError(f"this model has the styles 0 to {k - 1}, not {number}")
        if not unnamed:
            return tuple(np.concatenate([embedding, word]).tolist())
        rows = np.hstack([np.tile(embedding, (k, 1)), word + unnamed * np.eye(k)])
        return StyleMixture(name, tuple(tuple(row) for row in rows.tolist()), tuple(frequencies.tolist()))

    def _symbol(self, prompt: str) -> Part:
        """Return the symbol of a prompt: its place, the mixture of its styles, or the style that it names."""
        name, number = self.split(prompt)
        if (place := self.places.get(name)) is None:
            raise ValueError(unknown(name, self.known))
        if self.styles is None:
            return place
        own = np.flatnonzero(self.styles.prompt == place)
        if number is None:
            weight = self.styles.weight[own]
            own, frequencies = own[weight > 0], weight[weight > 0] / weight.sum()
            return StyleMixture(prompt, tuple(own.tolist()), tuple(frequencies.tolist()))
        if number >= len(own):
            raise ValueError(f"{name!r} has the styles 0 to {len(own) - 1}, not {number}")
        return int(own[number])

    def choose_styles(self, request: Request, seeds: int | list[int]) -> Request:
        """Draw a style for every image whose prompt names none."""
        if self.styles is None:
            return request
        m = max(sum(isinstance(part, StyleMixture) for part, _ in c) for c in request.conditions)
        # one stream of random numbers for each column of parts: the style of an image depends neither on the
        # rest of the batch nor on guidance
        uniform = [_noise.uniform(seeds, len(request), (*_noise.STYLES, j)) for j in range(m)]
        place = np.empty_like(request.place)
        chosen: dict[Condition, int] = {}
        for members, condition in zip(request.groups(), request.conditions, strict=True):
            columns, streams = [], iter(uniform)
            for part, _ in condition:
                edges = np.cumsum([w for _, w in styles_of(part)])[:-1]
                u = next(streams)[members] if isinstance(part, StyleMixture) else np.zeros(len(members))
                columns.append(np.searchsorted(edges, u, side="right"))
            choices, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
            for k, choice in enumerate(choices.tolist()):
                named = tuple((styles_of(part)[at][0], w) for at, (part, w) in zip(choice, condition, strict=True))
                place[members[which.ravel() == k]] = chosen.setdefault(named, len(chosen))
        return Request(place, list(chosen))


def styles_of(part: Part) -> list[tuple[Single, float]]:
    """Return the styles of a mixture with their frequencies; any other part alone."""
    if isinstance(part, StyleMixture):
        return list(zip(part.styles, part.frequencies, strict=True))
    return [(part, 1.0)]


def alternatives(condition: Condition) -> list[tuple[Condition, float]]:
    """Return the conditions with named styles that a condition is a mixture of, and their probabilities."""
    choices = [styles_of(part) for part, _ in condition]
    if math.prod(map(len, choices)) > ALTERNATIVES:
        raise ValueError("too many styles to combine; name them, as in '7~12'")
    weights = [w for _, w in condition]
    return [
        (tuple((part, w) for (part, _), w in zip(choice, weights, strict=True)), math.prod(p for _, p in choice))
        for choice in product(*choices)
    ]


def guided(condition: Condition, away: Condition, scale: Any) -> Condition:
    """Return ``away + scale (condition - away)``, the parts of the condition first."""
    if not callable(scale) and scale == 1.0:
        return condition
    return (*((part, scale * w) for part, w in condition), *((part, (1.0 - scale) * w) for part, w in away))


def _weighted(weights: Any) -> Weighted:
    """Return a prompt with weight 1, or prompts with their weights divided by the sum; none may be negative."""
    if type(weights) is str:
        return ((weights, 1.0),)
    names: list[str] | None = None
    given: list[Any] = [1.0]
    if isinstance(weights, Mapping):
        names, given = check_prompts(list(weights)) if weights else [], list(weights.values())
    elif np.ndim(weights) == 0:
        names = check_prompts([weights])
    if names is None or not all(isinstance(w, int | float | np.number) for w in given):
        raise TypeError(f'expected a prompt, or weights of prompts {{"3": 0.5, ...}}; got {weights!r}')
    values = np.array(given, dtype=float)
    if not values.size or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(
            f"weights of prompts must be 0 or more and not all 0, got {dict(weights)!r}; negative_prompt "
            "moves away from a prompt"
        )
    values = values / values.max()  # first, for their sum may overflow
    return tuple(sorted((p, float(w)) for p, w in zip(names, values / values.sum(), strict=True) if w))
