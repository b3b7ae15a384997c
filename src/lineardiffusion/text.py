"""The text encoder: prompts to symbols, or to vectors.

One-hot, the default: a whole prompt is one symbol, so prompt u's embedding is the u-th unit vector and all
that is kept of it is u, its place in the sorted vocabulary. A bag of words, or which word stands where, are
vectors whose entries prompts share, so that a prompt that was never seen can be read; and any scikit-learn
transformer of strings is an encoder too. Encoders are fitted on the distinct prompts, not on the images.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import check_array

from lineardiffusion.moments import Array

SHOWN = 20  # prompts named in an error


def vocabulary(prompts: Iterable[str]) -> tuple[str, ...]:
    """The distinct prompts, sorted."""
    return tuple(sorted(set(prompts)))


def symbols(prompts: Sequence[str], known: Sequence[str], what: str = "prompt") -> NDArray[np.intp]:
    """The place of each prompt (or other `what`) among the known ones, shape (n,).

    Raises
    ------
    ValueError
        For a prompt that is not known; the message names it, the nearest and the known ones.
    """
    place = {prompt: u for u, prompt in enumerate(known)}
    try:
        return np.array(list(map(place.__getitem__, prompts)), dtype=np.intp)
    except KeyError as error:
        raise ValueError(_unknown(error.args[0], known, what)) from None


def _unknown(prompt: str, known: Sequence[str], what: str) -> str:
    shown = ", ".join(map(repr, known[:SHOWN]))
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    near = difflib.get_close_matches(prompt, known, n=3)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    return f"unknown {what} {prompt!r}{hint}; the model knows: {shown}{more}"


class TextEncoder(Protocol):
    """Prompts to vectors."""

    def embed(self, prompts: Sequence[str]) -> Array:
        """Embeddings of shape (n, k); a ValueError for a prompt it cannot read."""
        ...


@dataclass(frozen=True)
class BagOfWords:
    """How often each word stands in the prompt: "4 2" is "2 4".

    Attributes
    ----------
    words : tuple of str
        The words it knows, sorted; a word is what stands between spaces.
    """

    words: tuple[str, ...]

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
    """Which word stands where: "4 2" is not "2 4".

    Attributes
    ----------
    words : tuple of tuple of str
        The words it knows at each place, sorted.
    """

    words: tuple[tuple[str, ...], ...]

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
                    f"the prompt {prompt!r} has {len(words)} words, but those of the training data "
                    f"have {len(self.words)} at most"
                )
            for place, word in enumerate(words):
                (at,) = symbols([word], self.words[place], f"word at place {place + 1}:")
                row[starts[place] + at] = 1.0
        return embeddings


@dataclass(frozen=True)
class Transformer:
    """Any scikit-learn transformer of a list of strings."""

    transformer: Any

    @classmethod
    def fit(cls, transformer: Any, prompts: Sequence[str]) -> Transformer:
        return cls(clone(transformer).fit(list(prompts)))

    def embed(self, prompts: Sequence[str]) -> Array:
        embeddings = self.transformer.transform(list(prompts))
        dense = embeddings.toarray() if hasattr(embeddings, "toarray") else embeddings
        return check_array(dense, dtype=np.float64)  # type: ignore[no-any-return]


def fit_text_encoder(text_encoder: Any, prompts: Sequence[str]) -> TextEncoder | None:
    """The encoder of this name, fitted on the distinct prompts; None for one symbol a prompt."""
    if text_encoder is None or text_encoder == "onehot":
        return None
    if text_encoder == "words":
        return BagOfWords.fit(prompts)
    if text_encoder == "positions":
        return Positions.fit(prompts)
    return Transformer.fit(text_encoder, prompts)


def check_text_encoder(text_encoder: Any) -> None:
    """Refuse what is neither a name nor a transformer."""
    names = ("onehot", "words", "positions")
    if isinstance(text_encoder, str) and text_encoder not in names:
        raise ValueError(
            f"unknown text_encoder {text_encoder!r}; choose one of {', '.join(map(repr, names))}, "
            "or pass a scikit-learn transformer of strings"
        )
    if not (text_encoder is None or isinstance(text_encoder, str) or hasattr(text_encoder, "transform")):
        raise TypeError(f"text_encoder must be a name or a scikit-learn transformer, got {text_encoder!r}")


def split(prompt: str) -> list[str]:
    """The words of a prompt."""
    words = prompt.split()
    if not words:
        raise ValueError(f"the prompt {prompt!r} has no word; write at least one")
    return words
