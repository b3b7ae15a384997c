"""Text encoders: prompts to symbols, or to vectors.

``"onehot"`` (the default) takes a whole prompt as one symbol: the embedding of prompt u is the u-th unit
vector, and all that is kept of it is u, its place in the sorted vocabulary. ``"words"`` (a bag of words) and
``"positions"`` (which word stands where) give vectors whose entries prompts share, so that a prompt that was
never seen can be encoded. Any scikit-learn transformer of strings is a text encoder too. Text encoders are
fitted on the distinct prompts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_array

from lineardiffusion._arrays import Array, Indices

SHOWN = 20  # prompts named in an error


def vocabulary(prompts: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct prompts, sorted."""
    return tuple(sorted(set(prompts)))


def symbols(prompts: Sequence[str], known: Sequence[str], what: str = "prompt") -> Indices:
    """Return the place of each prompt (or other `what`) among the known ones, shape (n,)."""
    place = {prompt: u for u, prompt in enumerate(known)}
    try:
        return np.array(list(map(place.__getitem__, prompts)), dtype=np.intp)
    except KeyError as error:
        raise ValueError(unknown(error.args[0], known, what)) from None


def unknown(prompt: str, known: Sequence[str], what: str = "prompt") -> str:
    """Return the message that names an unknown prompt, the nearest and the known ones."""
    shown = ", ".join(map(repr, known[:SHOWN]))
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    near = difflib.get_close_matches(prompt, known, n=3)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    return f"unknown {what} {prompt!r}{hint}; the model knows: {shown}{more}"


class TextEncoder(Protocol):
    """The interface of a text encoder: prompts to vectors."""

    def embed(self, prompts: Sequence[str]) -> Array:
        """Return embeddings of shape (n, k); a ValueError for a prompt that cannot be encoded."""


@dataclass(frozen=True)
class BagOfWords:
    """Bag of words: how often each word occurs in the prompt, so "4 2" is "2 4"."""

    words: tuple[str, ...]  # known words, sorted; spaces separate them in a prompt

    @classmethod
    def fit(cls, prompts: Iterable[str]) -> BagOfWords:
        return cls(vocabulary(word for prompt in prompts for word in prompt.split()))

    def embed(self, prompts: Sequence[str]) -> Array:
        embeddings = np.zeros((len(prompts), len(self.words)))
        for row, prompt in zip(embeddings, prompts, strict=True):
            np.add.at(row, symbols(split(prompt), self.words, "word"), 1.0)
        return embeddings


@dataclass(frozen=True)
class Positions:
    """One-hot words at each position, so "4 2" is not "2 4"."""

    words: tuple[tuple[str, ...], ...]  # known words at each position, sorted

    @classmethod
    def fit(cls, prompts: Iterable[str]) -> Positions:
        places = zip_longest(*(prompt.split() for prompt in prompts))
        return cls(tuple(vocabulary(word for word in place if word is not None) for place in places))

    def embed(self, prompts: Sequence[str]) -> Array:
        starts = np.cumsum([0, *map(len, self.words)])
        embeddings = np.zeros((len(prompts), starts[-1]))
        for row, prompt in zip(embeddings, prompts, strict=True):
            words = split(prompt)
            if len(words) > len(self.words):
                raise ValueError(
                    f"the prompt {prompt!r} has {len(words)} words, but the prompts of the training data "
                    f"have {len(self.words)} at most"
                )
            for place, word in enumerate(words):
                (at,) = symbols([word], self.words[place], f"word at position {place + 1}:")
                row[starts[place] + at] = 1.0
        return embeddings


@dataclass(frozen=True)
class Transformer:
    """Text encoder made of a scikit-learn transformer of a list of strings."""

    transformer: Any  # fitted

    def embed(self, prompts: Sequence[str]) -> Array:
        embeddings = self.transformer.transform(list(prompts))
        dense = embeddings.toarray() if hasattr(embeddings, "toarray") else embeddings
        return check_array(dense, dtype=np.float64)  # type: ignore[no-any-return]


def fit_text_encoder(text_encoder: Any, prompts: Sequence[str]) -> TextEncoder | None:
    """Fit the text encoder of this name on the distinct prompts; None for one symbol per prompt."""
    if text_encoder is None or text_encoder == "onehot":
        return None
    if text_encoder == "words":
        return BagOfWords.fit(prompts)
    if text_encoder == "positions":
        return Positions.fit(prompts)
    return Transformer(clone(text_encoder).fit(list(prompts)))


def check_text_encoder(text_encoder: Any) -> None:
    """Raise an error unless this is a name or a transformer."""
    names = ("onehot", "words", "positions")
    if isinstance(text_encoder, str) and text_encoder not in names:
        raise ValueError(
            f"unknown text_encoder {text_encoder!r}; choose one of {', '.join(map(repr, names))}, "
            "or pass a scikit-learn transformer of strings"
        )
    if not (text_encoder is None or isinstance(text_encoder, str) or hasattr(text_encoder, "transform")):
        raise TypeError(f"text_encoder must be a name or a scikit-learn transformer, got {text_encoder!r}")


def split(prompt: str) -> list[str]:
    """Split a prompt into words."""
    words = prompt.split()
    if not words:
        raise ValueError(f"the prompt {prompt!r} has no word; write at least one")
    return words
