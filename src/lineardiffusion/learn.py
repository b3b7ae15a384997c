"""Learning: from prompts and images to moments.

``fit`` measures the data once and keeps its moments; ``partial_fit`` and ``merge`` add to them, and ``refit``
solves them anew. A new state is made beside the old one and adopted at the end: bad input or an interrupt
leaves the model as it was.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import (
    check_is_fitted,
    validate_data,
)

from lineardiffusion.fitted import Fitted, Prompts
from lineardiffusion.joint import JointMoments
from lineardiffusion.moments import Moments
from lineardiffusion.solution import Solution
from lineardiffusion.state import State
from lineardiffusion.text import vocabulary


class Learner(Fitted):
    """What :class:`LinearDiffusion` learns with; see there for the parameters and attributes."""

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
            of the pixels under every prompt take more than ``max_memory``, or ``contrast`` is
            ``"histogram"`` and was not from the first batch on. The model stays as it was.
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
        if not first:
            self._check_counts(self._state)
        state = self._recipe().measure_pixels(batch)
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
            only (see ``max_memory``) or, with ``contrast="histogram"``, no histogram of its pixels.
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
        for state in (mine, theirs):
            self._check_counts(state)
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
            latents, and fix ``n_components`` and ``scale``; and ``contrast="histogram"`` needs the
            pixels' histogram, which is kept only if they were fitted so. The model stays as it was.

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
            self._check_counts(self._state)
            self._solved = {"solution": self._recipe().solve(self._state)}
        except BaseException:
            self.set_params(**before)
            raise
        return self

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
