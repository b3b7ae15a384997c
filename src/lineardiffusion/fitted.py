"""The fitted model: its parameters, its state, and what is checked before either is used.

The state is all that the data left behind. The encoder and the denoisers follow from it in closed form and
are worked out when they are first needed, so a stream of batches costs one solve, not one a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    check_is_fitted,
    validate_data,
)

from lineardiffusion.batch import Batch, check_images, check_prompts
from lineardiffusion.contrast import check_contrast
from lineardiffusion.encode import ImageEncoder
from lineardiffusion.language import Request, check_guidance
from lineardiffusion.moments import Array, Moments
from lineardiffusion.recipe import Recipe
from lineardiffusion.solution import Solution
from lineardiffusion.state import State
from lineardiffusion.text import check_text_encoder
from lineardiffusion.trajectory import Plan

Prompts = Any  # a list of n strings, or an array of shape (n, k) of numbers


class Fitted(BaseEstimator):
    """What :class:`LinearDiffusion` holds; see there for the parameters and attributes."""

    n_components: int
    scale: bool
    schedule: Any
    sampler: str
    num_steps: int
    eta: float
    text_encoder: Any
    guidance_scale: float
    n_styles: int
    contrast: str | None
    random_state: Any
    max_memory: float

    moments_: Any
    prompts_: NDArray[np.str_]
    image_shape_: tuple[int, ...]
    pixel_range_: tuple[float, float]
    pixel_dtype_: np.dtype[np.generic]
    n_features_in_: int
    _state: State
    _solved: dict[str, Solution]

    @property
    def prompt_prior_(self) -> Array:
        check_is_fitted(self)
        if not isinstance(self.moments_, Moments):
            raise AttributeError(
                "joint moments keep no frequency of prompts, neither of embeddings nor of so many prompts "
                "that one block each would be too large"
            )
        weight = self.moments_.weight
        return np.asarray(weight / weight.sum())

    @property
    def mean_(self) -> Array:
        return self._image_encoder().mean

    @property
    def components_(self) -> Array:
        return self._image_encoder().components

    @property
    def n_components_(self) -> int:
        return len(self._image_encoder().components)

    @property
    def scaling_factor_(self) -> float:
        return self._image_encoder().scaling_factor

    # ------------------------------------------------------------------ behind the scenes

    def _recipe(self) -> Recipe:
        return Recipe(
            self.n_components,
            self.scale,
            self.text_encoder,
            self.n_styles,
            self.contrast,
            self.max_memory,
            0 if self.random_state is None else self.random_state,
        )

    def _image_encoder(self) -> ImageEncoder:
        """The encoder, which needs no styles."""
        check_is_fitted(self)
        if "solution" in self._solved:
            return self._solved["solution"].encoder
        if self._state.styles is None and self.n_styles > 1:
            return self._recipe().basis(self._state)
        return self._solution().encoder

    def _solution(self) -> Solution:
        """What follows from the moments; solved once."""
        check_is_fitted(self)
        if self._state.styles is None and self.n_styles > 1:
            raise ValueError(
                "styles take a second pass: after partial_fit, give the batches to partial_fit_styles, too"
            )
        if "solution" not in self._solved:
            self._solved["solution"] = self._recipe().solve(self._state)
        return self._solved["solution"]

    def _check_batch(self, X: Prompts, y: Any, sample_weight: Any, reset: bool) -> Batch:
        """Check everything that a user may get wrong, before anything is changed."""
        self._check_params()
        prompts = check_prompts(X)
        n = len(prompts) if prompts is not None else _num_samples(X)
        images = check_images(y, n, None if reset else self.image_shape_) if n else y
        places: Any = prompts
        if prompts is None:
            self._check_kind(strings=False, fitted=not reset)
            if reset:
                places = check_array(X, dtype=np.float64, estimator=self)
            else:
                places = validate_data(self, X, dtype=np.float64, reset=False)
        else:
            self._check_kind(strings=True, fitted=not reset)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, places, dtype=np.float64, ensure_non_negative=True
            )
            if not sample_weight.any():
                raise ValueError("sample weights are all zero: at least one image needs a weight")
        if prompts is None and self.n_styles > 1:
            raise ValueError("embeddings have no styles: n_styles needs prompts that are strings")
        return Batch.of(places, images, sample_weight)

    def _check_kind(self, strings: bool, fitted: bool) -> None:
        if fitted and strings != bool(self._state.known):
            has, got = ("strings", "numbers") if self._state.known else ("embeddings", "strings")
            raise ValueError(f"this model was fitted on prompts that are {has}, got {got}")

    def _check_counts(self, state: State) -> None:
        """Refuse a contrast that needs the pixels' histogram where there is none."""
        if self.contrast == "histogram" and state.histogram is None:
            raise ValueError(
                'contrast="histogram" needs the histogram of the data\'s pixels, which were not counted; '
                'fit again with contrast="histogram", or use "affine", which follows from the moments'
            )

    def _request(self, X: Prompts, guidance_scale: float | None, negative: Any) -> Request:
        """What to draw for these prompts; None guides as the constructor says."""
        check_is_fitted(self)
        if guidance_scale is None:
            guidance_scale = self.guidance_scale
        prompts = check_prompts(X, weights=True)
        language = self._solution().language
        if prompts is not None:
            self._check_kind(strings=True, fitted=True)
            return language.request(prompts, guidance_scale, negative)
        if not self._state.known:
            X = validate_data(self, X, dtype=np.float64, reset=False)
        return language.request(check_array(X, dtype=np.float64), guidance_scale, negative)

    def _check_params(self) -> None:
        n = self.n_components
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise TypeError(f"n_components must be an int, got {n!r}")
        if n < 1:
            raise ValueError(f"n_components must be 1 or more, got {n}")
        if not isinstance(self.max_memory, int | float | np.number) or not self.max_memory > 0:
            raise ValueError(f"max_memory must be a positive number of bytes, got {self.max_memory}")
        check_text_encoder(self.text_encoder)
        if isinstance(self.n_styles, bool) or not isinstance(self.n_styles, int | np.integer):
            raise TypeError(f"n_styles must be an int, got {self.n_styles!r}")
        if self.n_styles < 1:
            raise ValueError(f"n_styles must be 1 or more, got {self.n_styles}")
        check_contrast(self.contrast)
        check_guidance(self.guidance_scale, None)
        Plan.of(self.sampler, self.num_steps, self.schedule, self.eta, every_step=False)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        solved = {name: replace(one, maps={}, whole={}) for name, one in state.get("_solved", {}).items()}
        return {**state, "_solved": solved} if "_solved" in state else state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_state")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.non_deterministic = True
        return tags
