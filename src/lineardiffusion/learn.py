"""Learning: from prompts and images to moments, and from moments to the model's parts.

``fit`` measures the data once and keeps its moments; ``partial_fit`` and ``merge`` add to them. The encoder
and the denoiser follow from the moments in closed form. They are worked out when they are first needed, so
a stream of batches costs one solve, not one a batch.

A new state is made beside the old one and adopted at the end: bad input or an interrupt leaves the model as
it was.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

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
from lineardiffusion.encode import ImageEncoder
from lineardiffusion.joint import JointMoments
from lineardiffusion.moments import Array, Moments
from lineardiffusion.recipe import Recipe
from lineardiffusion.solution import Request, Solution, check_guidance
from lineardiffusion.state import State
from lineardiffusion.text import check_text_encoder, vocabulary
from lineardiffusion.trajectory import Plan

Prompts = Any  # a list of n strings, or an array of shape (n, k) of numbers


class Learner(BaseEstimator):
    """What :class:`LinearDiffusion` learns with; see there for the parameters and attributes."""

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

    def fit(self, X: Prompts, y: Any, sample_weight: Any = None) -> Self:
        """Fit in closed form.

        Parameters
        ----------
        X : list of str, or array-like of shape (n, k)
            One prompt an image: strings, each a symbol of its own, or embeddings.
        y : array-like of shape (n, h, w) or (n, h, w, c)
            The images, of any real dtype; any shape (n, ...) will do.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image; a weight of 2 is the same as the image given twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If lengths differ, pixels are NaN or infinite, there is no data, or a parameter is out of
            its range. The model stays as it was.
        """
        batch = self._check_batch(X, y, sample_weight, reset=True)
        recipe = self._recipe()
        state = recipe.measure(batch)
        if self.n_styles > 1:
            state = recipe.add_styles(state, batch)
        self._adopt(state, None if batch.known else X, recipe.solve(state))
        return self

    def partial_fit(self, X: Prompts, y: Any, sample_weight: Any = None) -> Self:
        """Add a batch: in any order and of any size, the batches give the model that ``fit`` gives.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in :meth:`fit`, if the images have another shape than those before, or if the moments
            of the pixels under every prompt take more than ``max_memory``. The model stays as it was.
        """
        first = not hasattr(self, "_state")
        batch = self._check_batch(X, y, sample_weight, reset=first)
        D = batch.rows.shape[1]
        known = batch.known if first else vocabulary([*batch.known, *self._state.known])
        needed = Moments.nbytes(len(known), D) if known else batch.nbytes(D)
        if needed > self.max_memory or (not first and self._state.encoder is not None):
            raise ValueError(
                f"partial_fit keeps the moments of all {D} pixels under every prompt, which takes "
                f"{needed / 1e9:.2f} GB here; give all images to fit, which then goes over them "
                f"twice, or allow it: LinearDiffusion(max_memory={needed:.3g}). A model that fit "
                "made in two passes cannot go on"
            )
        state = batch.state(batch.moments())
        self._adopt(state if first else self._state + state, None if known else X)
        return self

    def partial_fit_styles(self, X: Prompts, y: Any, sample_weight: Any = None) -> Self:
        """Add a batch's styles, in a second pass over a stream.

        After ``partial_fit`` has seen all batches, give them again. The first one chooses the styles'
        centres, so let it be a random few thousand images with every prompt among them; more
        ``partial_fit`` makes new latents, and the styles begin anew.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if not isinstance(self.n_styles, int | np.integer) or self.n_styles < 2:
            raise ValueError(f"n_styles must be 2 or more to have styles, got {self.n_styles!r}")
        batch = self._check_batch(X, y, sample_weight, reset=False)
        self._adopt(self._recipe().add_styles(self._state, batch))
        return self

    def merge(self, other: Self) -> Self:
        """The model of both data sets, with this one's parameters; neither is changed.

        Parameters
        ----------
        other : LinearDiffusion
            Fitted on images of the same shape.

        Returns
        -------
        LinearDiffusion
            A new one.

        Raises
        ------
        ValueError
            If the images' shapes or the kinds of prompts differ, or either kept moments of latents
            only (see ``max_memory``).
        """
        check_is_fitted(self)
        if not isinstance(other, Learner):
            raise TypeError(f"merge takes a LinearDiffusion, got {type(other).__name__}")
        check_is_fitted(other)
        mine, theirs = self._state, other._state
        if mine.image_shape != theirs.image_shape:
            raise ValueError(
                f"cannot merge models of images of shape {mine.image_shape} and {theirs.image_shape}"
            )
        if type(mine.moments) is not type(theirs.moments):
            raise ValueError("cannot merge a model of strings with one of embeddings")
        if not mine.known and self.n_features_in_ != other.n_features_in_:
            raise ValueError(
                f"cannot merge models of embeddings of {self.n_features_in_} and "
                f"{other.n_features_in_} entries"
            )
        if mine.encoder is not None or theirs.encoder is not None:
            raise ValueError(
                "cannot merge models that keep moments of latents: fit both with a max_memory that "
                "has room for the moments of the pixels"
            )
        merged = copy.copy(self)
        merged._adopt(mine + theirs)
        return merged

    def refit(self, **params: Any) -> Self:
        """Solve anew with other parameters, from the moments alone: the data is not needed.

        Parameters
        ----------
        **params
            As in the constructor.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the moments cannot tell: those of a model that ``fit`` made in two passes are moments of
            latents, and fix ``n_components`` and ``scale``. The model stays as it was.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion().fit(*load_digits())
        >>> ld.refit(n_components=20).n_components_
        20
        """
        check_is_fitted(self)
        fixed = [name for name in ("n_components", "scale") if name in params]
        if fixed and (self._state.encoder is not None or self._state.styles is not None):
            raise ValueError(f"{fixed[0]} is fixed by the moments, which are of latents; fit again")
        joint = isinstance(self._state.moments, JointMoments) and bool(self._state.known)
        if joint and params.get("text_encoder", self.text_encoder) != self.text_encoder:
            raise ValueError("text_encoder is fixed by the moments, which are joint; fit again")
        styles = self._state.styles
        if params.get("n_styles", self.n_styles) != (1 if styles is None else styles.requested):
            raise ValueError("other styles take the images: fit again, or partial_fit_styles")
        before = self.get_params(deep=False)
        try:
            self.set_params(**params)
            self._check_params()
            self._solved = {"solution": self._recipe().solve(self._state)}
        except BaseException:
            self.set_params(**before)
            raise
        return self

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

    def _adopt(self, state: State, X: Any = None, solution: Solution | None = None) -> None:
        """Make a new state this model's; `X` are its embeddings, if it has any."""
        if X is not None:
            validate_data(self, X, reset=True, skip_check_array=True)
        if state.known:
            self.prompts_ = np.array(state.known)
            self.__dict__.pop("n_features_in_", None)
            self.__dict__.pop("feature_names_in_", None)
        else:
            self.__dict__.pop("prompts_", None)
        self.moments_, self.image_shape_ = state.moments, state.image_shape
        self.pixel_range_, self.pixel_dtype_ = state.pixel_range, state.pixel_dtype
        self._solved = {} if solution is None else {"solution": solution}
        self._state = state

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

    def _request(self, X: Prompts, guidance_scale: float | None, negative: Any) -> Request:
        """What to draw for these prompts; None guides as the constructor says."""
        check_is_fitted(self)
        if guidance_scale is None:
            guidance_scale = self.guidance_scale
        prompts = check_prompts(X, weights=True)
        solution = self._solution()
        if prompts is not None:
            self._check_kind(strings=True, fitted=True)
            return solution.request(prompts, guidance_scale, negative)
        if not self._state.known:
            X = validate_data(self, X, dtype=np.float64, reset=False)
        elif solution.text is None:
            self._check_kind(strings=False, fitted=True)
        return solution.request(check_array(X, dtype=np.float64), guidance_scale, negative)

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
        if self.n_styles > 1 and self.text_encoder not in (None, "onehot"):
            raise ValueError('styles need text_encoder="onehot": a style is of one prompt')
        if self.contrast not in (None, "affine"):
            raise ValueError(f'contrast must be None or "affine", got {self.contrast!r}')
        check_guidance(self.guidance_scale, None)
        Plan.of(self.sampler, self.num_steps, self.schedule, self.eta, every_step=False)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        solved = {name: replace(solution, maps={}) for name, solution in state.get("_solved", {}).items()}
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
