"""Seeds and the noise that is drawn from them.

``seed=137`` is ``numpy.random.default_rng(137)``, drawn row by row: image i is the same in a batch of any
size, and the noise is that of the original. A list of seeds gives each image a generator of its own, so
image i depends on seed i alone; the first image of a seed is the same either way.

The noise that a stochastic sampler adds, the choice of a style and the draws of a posterior come from streams
of their own (spawn keys of the seed), so the starting noise is the same whatever the sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from lineardiffusion._arrays import Array

Seed: TypeAlias = "int | Sequence[int] | None"

START, SAMPLER, PROMPTS, STYLES = (), (1,), (2,), (3,)  # streams of one seed
LATENT, DISCARDED, MEASURED, CHOSEN = (4,), (5,), (6,), (7,)  # streams for draws from a posterior


def check_seed(seed: Seed, n: int, random_state: object = None) -> int | list[int]:
    """Return the seed as one int, or one for each of `n` images; None is the `random_state`, or a fresh seed."""
    if seed is None:
        if isinstance(random_state, int | np.integer):
            return _whole(random_state)
        drawing = random_state if isinstance(random_state, np.random.RandomState) else np.random
        return int(drawing.randint(2**31))
    if np.ndim(seed) == 0:
        return _whole(seed)
    seeds = [_whole(one) for one in seed]  # type: ignore[union-attr]
    if len(seeds) != n:
        raise ValueError(f"{len(seeds)} seeds for {n} images; pass one int per image, or one for all")
    return seeds


def check_random_state(random_state: object) -> None:
    """Raise an error unless this is None, a RandomState or a seed."""
    if random_state is not None and not isinstance(random_state, np.random.RandomState):
        try:
            _whole(random_state)
        except ValueError:
            instead = "of a Generator, pass int(generator.integers(2**31))"
            kinds = "None, an int of 0 or more, or a numpy RandomState"
            raise ValueError(f"random_state must be {kinds}, got {random_state!r}; {instead}") from None


def for_kmeans(random_state: Any) -> Any:
    """Return the seed of scikit-learn's k-means, which takes 32 bits; None is 0."""
    if isinstance(random_state, int | np.integer) and random_state >= 2**32:
        return int(np.random.SeedSequence(int(random_state)).generate_state(1)[0])
    return 0 if random_state is None else random_state


def generator(seed: int, stream: tuple[int, ...] = START) -> np.random.Generator:
    """Return the generator of one stream of a seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def draw(seed: int | list[int], n: int, d: int, stream: tuple[int, ...] = START) -> Array:
    """Draw standard normal noise, one row per image, shape (n, d)."""
    if isinstance(seed, int):
        return generator(seed, stream).normal(size=(n, d))
    rows = [generator(one, stream).normal(size=d) for one in seed]
    return np.reshape(rows, (n, d))


def uniform(seed: int | list[int], n: int, stream: tuple[int, ...]) -> Array:
    """Draw uniform numbers between 0 and 1, one per image, shape (n,)."""
    if isinstance(seed, int):
        return generator(seed, stream).random(n)
    return np.array([generator(one, stream).random() for one in seed])


def generators(seed: int | list[int], n: int) -> list[np.random.Generator]:
    """Return one generator per image, for a stochastic sampler that is simulated step by step."""
    if isinstance(seed, int):
        return [generator(seed, (*SAMPLER, i)) for i in range(n)]
    return [generator(one, (*SAMPLER, 0)) for one in seed]


def _whole(seed: object) -> int:
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"a seed must be an int of 0 or more, or a list of them, or None; got {seed!r}")
    return int(seed)
