"""The text encoder: prompts to symbols.

One-hot, the default: a whole prompt is one symbol, so prompt u's embedding is the u-th unit vector and all
that is kept of it is u, its place in the sorted vocabulary.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

SHOWN = 20  # prompts named in an error


def vocabulary(prompts: Iterable[str]) -> tuple[str, ...]:
    """The distinct prompts, sorted."""
    return tuple(sorted(set(prompts)))


def symbols(prompts: Sequence[str], known: Sequence[str]) -> NDArray[np.intp]:
    """The place of each prompt among the known ones, shape (n,).

    Raises
    ------
    ValueError
        For a prompt that is not known; the message names it, the nearest and the known ones.
    """
    place = {prompt: u for u, prompt in enumerate(known)}
    try:
        return np.array(list(map(place.__getitem__, prompts)), dtype=np.intp)
    except KeyError as error:
        raise ValueError(_unknown(error.args[0], known)) from None


def _unknown(prompt: str, known: Sequence[str]) -> str:
    shown = ", ".join(map(repr, known[:SHOWN]))
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    near = difflib.get_close_matches(prompt, known, n=3)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    return f"unknown prompt {prompt!r}{hint}; the model knows: {shown}{more}"
