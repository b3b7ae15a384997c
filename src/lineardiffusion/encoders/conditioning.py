"""Conditioning: prompts to the conditions that the denoiser takes.

A request is a list of prompts, of which some may be equal. Each distinct one is a condition: a weighted sum of
parts, which are symbols (one Gaussian each), embeddings (one regression for all), or None (the unconditional
Gaussian of the pooled moments, for guidance). A plain prompt is one part of weight 1.

    "7"                        (7, 1)
    {"3": 0.5, "8": 0.5}       (3, 1/2) (8, 1/2)                 with symbols
                               (1/2 e("3") + 1/2 e("8"), 1)      with embeddings
    "7" guided by w            (7, w) (None, 1 - w)

Where prompts have styles, a symbol is a style, or the style is one more word of the embedding. "7~12" names a
style, and "7" is a mixture of styles, of which each image draws one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import _noise
from lineardiffusion._arrays import Array
from lineardiffusion.encoders.text import TextEncoder, symbols

ALTERNATIVES = 1000  # components of a mixture at most

Single: TypeAlias = "int | tuple[float, ...] | None"  # a symbol, an embedding, the unconditional Gaussian


class StyleFrequencies(NamedTuple):
    """The prompt (g,) and the weight (g,) of every style; `shared` if style k of one prompt is that of all."""

    prompt: NDArray[np.intp]
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
Condition: TypeAlias = tuple[tuple[Part, float], ...]


@dataclass(frozen=True)
class Request:
    """The conditions of n images: image i has ``conditions[place[i]]``.

    With `embeddings` (n, k), image i has its embedding in place of the first part of ``conditions[0]``.
    """

    place: NDArray[np.intp]
    conditions: list[Condition]
    embeddings: Array | None = None

    def __len__(self) -> int:
        return len(self.place)

    def gathered(self) -> Request:
        """Return the same request with each distinct embedding as a condition."""
        if self.embeddings is None:
            return self
        rows, place = np.unique(self.embeddings, axis=0, return_inverse=True)
        ((_, weight), *away) = self.conditions[0]
        return Request(place.ravel(), [((tuple(row), weight), *away) for row in rows.tolist()])


@dataclass(frozen=True, eq=False)
class Conditioner:
    """Prompts to conditions.

    Attributes
    ----------
    known : tuple of str
        The prompts of the training data; empty when they were embeddings.
    text : TextEncoder or None
        The text encoder; None for one symbol per prompt.
    styles : StyleFrequencies or None
    size : int
        Entries of an embedding without its style; with symbols, their number.
    places : dict of str to int
        The place of each known prompt.
    """

    known: tuple[str, ...]
    text: TextEncoder | None
    styles: StyleFrequencies | None
    size: int
    places: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {prompt: u for u, prompt in enumerate(self.known)})

    def request(self, prompts: Sequence[Any] | Array, guidance_scale: float, negative: Any = None) -> Request:
        """Return the request for prompts: strings, weights of strings, or an array of embeddings."""
        away = ((None, 1.0),) if negative is None else self.condition(negative)
        if isinstance(prompts, np.ndarray):
            self._check_embeddings(prompts)
            if (self.text is None and not self.known) or (self.text is not None and self.styles is None):
                condition = guided(((None, 1.0),), away, guidance_scale)
                return Request(np.arange(len(prompts)), [condition], prompts)
            rows = [tuple(row) for row in prompts.tolist()]
            place = {row: i for i, row in enumerate(dict.fromkeys(rows))}
            conditions = [guided(self._embedded(row), away, guidance_scale) for row in place]
            return Request(np.array([place[row] for row in rows], np.intp), conditions)
        keys = [p if isinstance(p, str) else tuple(check_weights(p).items()) for p in prompts]
        where = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        conditions = [
            guided(self.condition(key if isinstance(key, str) else dict(key)), away, guidance_scale)
            for key in where
        ]
        return Request(np.array([where[key] for key in keys], np.intp), conditions)

    def condition(self, prompt: Any) -> Condition:
        """Return the condition of a prompt, or of weights of prompts."""
        weights = {prompt: 1.0} if isinstance(prompt, str) else check_weights(prompt)
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
        """Return the condition of an embedding; with symbols, its entries are their weights."""
        if self.text is None:
            return self.condition(dict(zip(self.known, row, strict=True)))
        return ((self._with_style("this embedding", np.array(row), [None], np.ones(1)), 1.0),)

    def _split(self, prompt: str) -> tuple[str, int | None]:
        """Split a prompt into its words and the number of its style, if it names a shared style."""
        name, _, number = prompt.rpartition("~")
        if self.styles is None or prompt in self.places or not name or not number.isdecimal():
            return prompt, None
        k = len(self.styles.of_all())
        if int(number) >= k:
            raise ValueError(f"this model has the styles 0 to {k - 1}, not {number}")
        return name, int(number)

    def _with_style(self, name: str, embedding: Array, styles: Sequence[int | None], weights: Array) -> Part:
        """Append the style to an embedding; prompts that name no style draw the same one."""
        if self.styles is None:
            return tuple(embedding.tolist())
        frequencies = self.styles.of_all()
        word = np.zeros(len(frequencies))
        unnamed = 0.0
        for number, weight in zip(styles, weights, strict=True):
            if number is None:
                unnamed += weight
            else:
                word[number] += weight
        if not unnamed:
            return tuple(np.concatenate([embedding, word]).tolist())
        words = word + unnamed * np.eye(len(frequencies))
        rows = np.hstack([np.tile(embedding, (len(frequencies), 1)), words])
        return StyleMixture(name, tuple(tuple(row) for row in rows.tolist()), tuple(frequencies.tolist()))

    def _symbol(self, prompt: str) -> Part:
        """Return the symbol of a prompt: its place, the mixture of its styles, or the style that it names."""
        if self.styles is None and prompt in self.places:
            return self.places[prompt]
        if self.styles is None:
            return int(symbols([prompt], self.known)[0])  # an error that names the nearest prompts
        name, tilde, number = prompt.rpartition("~")
        if prompt in self.places or not tilde or not number.isdecimal():
            own = np.flatnonzero(self.styles.prompt == symbols([prompt], self.known)[0])
            weight = self.styles.weight[own]
            own, frequencies = own[weight > 0], weight[weight > 0] / weight.sum()
            return StyleMixture(prompt, tuple(own.tolist()), tuple(frequencies.tolist()))
        (place,) = symbols([name], self.known).tolist()
        own = np.flatnonzero(self.styles.prompt == place)
        if int(number) >= len(own):
            raise ValueError(f"{name!r} has the styles 0 to {len(own) - 1}, not {number}")
        return int(own[int(number)])

    def choose_styles(self, request: Request, seeds: int | list[int]) -> Request:
        """Draw a style for every image whose prompt names none."""
        if self.styles is None:
            return request
        m = max(sum(isinstance(part, StyleMixture) for part, _ in c) for c in request.conditions)
        # one stream of random numbers for each column of parts: the style of an image depends neither on the
        # rest of the batch nor on guidance
        streams = [(*_noise.STYLES, j) for j in range(m)]
        uniform = [_noise.uniform(seeds, len(request), stream) for stream in streams]
        place = np.empty_like(request.place)
        chosen: dict[Condition, int] = {}
        for i, condition in enumerate(request.conditions):
            members = np.flatnonzero(request.place == i)
            columns, j = [], 0
            for part, _ in condition:
                edges = np.cumsum([w for _, w in styles_of(part)])[:-1]
                u = uniform[j][members] if isinstance(part, StyleMixture) else np.zeros(len(members))
                columns.append(np.searchsorted(edges, u, side="right"))
                j += isinstance(part, StyleMixture)
            choices, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
            for k, choice in enumerate(choices.tolist()):
                condition_k = tuple(
                    (styles_of(part)[at][0], w) for at, (part, w) in zip(choice, condition, strict=True)
                )
                place[members[which.ravel() == k]] = chosen.setdefault(condition_k, len(chosen))
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


def guided(condition: Condition, away: Condition, scale: float) -> Condition:
    """Return ``away + scale (condition - away)``, the parts of the condition first."""
    if scale == 1.0:
        return condition
    return (*((part, scale * w) for part, w in condition), *((part, (1.0 - scale) * w) for part, w in away))


def check_weights(weights: Any) -> dict[str, float]:
    """Return the weights of prompts, divided by their sum; none may be negative."""
    numbers = isinstance(weights, Mapping) and all(
        isinstance(p, str) and isinstance(w, int | float | np.number) for p, w in weights.items()
    )
    if not numbers:
        raise TypeError(f'expected a prompt, or weights of prompts {{"3": 0.5, ...}}; got {weights!r}')
    values = np.array(list(weights.values()), dtype=float)
    if not values.size or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(
            f"weights of prompts must be 0 or more and not all 0, got {dict(weights)!r}; negative_prompt "
            "moves away from a prompt"
        )
    values = values / values.max()  # first, for their sum may overflow
    kept = {p: float(w) for p, w in zip(weights, values / values.sum(), strict=True) if w}
    return dict(sorted(kept.items()))
