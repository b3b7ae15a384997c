"""Inference: how likely images are, and which prompt they show.

Every prompt's law is known, so Bayes' rule needs no approximation:

    p(x) = sum_u p(u) sum_k p(k | u) p(x | u, k)        prompts u by their frequency, styles k by theirs
    p(u | x) = p(u) p(x | u) / p(x)

The law is that of the sampler, whichever it is; the discarded directions of pixel space have their pooled
residual variance (measurement.py), and every direction at least the variance of rounding to 256 grey levels,
so that a law on a plane has a density, too: a very low one beside the plane. NaN pixels are missing, and an
image with some is scored by the exact marginal law of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from lineardiffusion.batch import ROWS, check_images
from lineardiffusion.evidence import Laws, log_evidence
from lineardiffusion.fitted import Prompts
from lineardiffusion.language import Condition, alternatives
from lineardiffusion.measurement import Canvas, Measurement, Seen
from lineardiffusion.moments import Array, Moments
from lineardiffusion.parts import Parts


class Way(TypedDict, total=False):
    """The settings of a sampler; what is left out is the constructor's."""

    sampler: str
    num_steps: int
    eta: float
    guidance_scale: float
    negative_prompt: Any


@dataclass(frozen=True, eq=False)
class Asked:
    """The laws that some of the images may come from.

    Attributes
    ----------
    members : ndarray of int
        The images.
    laws : Laws
    log_chance : ndarray of shape (K,)
        Log-probability of each law, before an image is seen.
    first : ndarray of int
        Where each prompt's laws begin.
    """

    members: NDArray[np.intp]
    laws: Laws
    log_chance: Array
    first: NDArray[np.intp]


class Inference(Parts):
    """What of :class:`LinearDiffusion` reads images; see there for the parameters and attributes."""

    def score_samples(self, images: Any, prompts: Prompts = None, **way: Unpack[Way]) -> Array:
        """Log-density of each image, in pixel units.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape_)
            NaN pixels are missing: the density is that of the others.
        prompts : list of str or dict, or array-like of shape (n, k), default=None
            What they show; None for any of the known prompts, by their frequency.
        **way
            ``sampler``, ``num_steps``, ``eta``, ``guidance_scale`` and ``negative_prompt``, as in
            :meth:`predict`: the density is that of what this sampler draws.

        Returns
        -------
        ndarray of shape (n,)
            In nats. Proper in pixel space: the directions that the encoder discards have the mean variance
            of what they hold, and every direction at least that of rounding to 256 levels.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion().fit(prompts, images)
        >>> seven, noise = images[7:8], images[:1, ::-1, ::-1]
        >>> ld.score_samples(seven, ["7"]) > ld.score_samples(noise, ["7"])
        array([ True])
        """
        rows, hidden = self._look(images)
        found = np.empty(len(rows))
        for members, _, log_prob in self._log_joint(rows, hidden, prompts, way):
            found[members] = logsumexp(log_prob, axis=1)
        return found

    def bits_per_dim(self, images: Any, prompts: Prompts = None, **way: Unpack[Way]) -> Array:
        """Bits a number of each image, rounded to 256 levels of the data's range: -log2 p(x) / D.

        Parameters
        ----------
        images, prompts, **way
            As in :meth:`score_samples`.

        Returns
        -------
        ndarray of shape (n,)
            Where pixels are missing, bits a number that is there.
        """
        low, high = self.pixel_range_
        seen = (~self._look(images)[1]).sum(axis=1)
        log_prob = self.score_samples(images, prompts, **way)
        return np.asarray(-(log_prob / np.maximum(seen, 1) + np.log((high - low or 1.0) / 255)) / np.log(2))

    def score(self, X: Prompts, y: Any) -> float:
        """Mean log-density of images given their prompts, in nats an image: for model selection.

        Parameters
        ----------
        X : list of str, or array-like of shape (n, k)
        y : array-like of shape (n, \\*image_shape_)

        Returns
        -------
        float
            Higher is better. Proper in pixel space, so models with different ``n_components`` and
            ``n_styles`` compare, as :class:`sklearn.model_selection.GridSearchCV` does. Every fold must
            know every prompt: ``cv=list(StratifiedKFold(3).split(prompts, prompts))``.
        """
        return float(self.score_samples(y, X).mean())

    def classify_proba(self, images: Any, **way: Unpack[Way]) -> Array:
        """The probability of each known prompt, by Bayes' rule.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape_)
            NaN pixels are missing.
        **way
            As in :meth:`score_samples`.

        Returns
        -------
        ndarray of shape (n, len(prompts_))
            In the order of ``prompts_``; every row sums to 1.
        """
        rows, hidden = self._look(images)
        found = np.empty((len(rows), len(self.prompts_) if self._state.known else 0))
        for members, asked, log_prob in self._log_joint(rows, hidden, None, way):
            found[members] = softmax(np.logaddexp.reduceat(log_prob, asked.first, axis=1), axis=1)
        return found

    def classify(self, images: Any, **way: Unpack[Way]) -> NDArray[np.str_]:
        """The most probable prompt of each image.

        Parameters
        ----------
        images, **way
            As in :meth:`classify_proba`.

        Returns
        -------
        ndarray of str, shape (n,)

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion(30).fit(prompts[:1000], images[:1000])
        >>> float((ld.classify(images[1000:]) == prompts[1000:]).mean()) > 0.9
        True
        """
        best = self.classify_proba(images, **way).argmax(axis=1)
        return np.asarray(self.prompts_[best])

    # ------------------------------------------------------------------ behind the scenes

    def _canvas(self) -> Canvas:
        return Canvas.of(self._solution().encoder, self.pixel_range_)

    def _look(self, images: Any) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Images as rows (n, D), and which of their pixels are NaN."""
        self._solution()
        n = len(images) if np.ndim(images) else 0
        if not n:
            shape = ", ".join(map(str, self.image_shape_))
            raise ValueError(f"no images: expected an array of shape (n, {shape}), got {np.shape(images)}")
        array = check_images(images, n, self.image_shape_, missing=True)
        rows = array.reshape(len(array), -1)
        hidden = np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, bool)
        return rows, hidden

    def _asked(self, n: int, prompts: Prompts, way: Way) -> Iterator[Asked]:
        """The laws of each prompt, with the images that are said to show it; or of all prompts, for all."""
        check = {"sampler", "num_steps", "eta", "guidance_scale", "negative_prompt"}
        if unknown := sorted(set(way) - check):
            raise TypeError(f"unknown setting {unknown[0]!r}; there are {', '.join(sorted(check))}")
        solution = self._solution()
        plan = self._plan(way.get("sampler"), way.get("num_steps"), way.get("eta"))
        which = way.get("guidance_scale"), way.get("negative_prompt")
        if prompts is not None:
            request = self._request(prompts, *which).gathered()
            if len(request) != n:
                raise ValueError(f"{len(request)} prompts for {n} images; pass one prompt an image")
            for i, condition in enumerate(request.conditions):
                found, chances = zip(*alternatives(condition), strict=True)
                members = np.flatnonzero(request.place == i)
                laws = solution.laws(found, plan, self._canvas())
                yield Asked(members, laws, np.log(chances), np.zeros(1, np.intp))
            return
        if not self._state.known or not isinstance(self.moments_, Moments):
            raise ValueError(
                "this model knows no frequency of prompts, neither of embeddings nor of prompts too many to "
                "keep one block each; pass the prompts of the images"
            )
        request = self._request(list(self._state.known), *which)
        conditions: list[Condition] = []
        chance: list[float] = []
        first = []
        for i, prior in zip(request.place, self.prompt_prior_, strict=True):
            first.append(len(conditions))
            for found_one, share in alternatives(request.conditions[i]):
                conditions.append(found_one)
                chance.append(prior * share)
        laws = solution.laws(conditions, plan, self._canvas())
        yield Asked(np.arange(n), laws, np.log(chance), np.array(first))

    def _log_joint(
        self, rows: NDArray[np.generic], hidden: NDArray[np.bool_], prompts: Prompts, way: Way
    ) -> Iterator[tuple[NDArray[np.intp], Asked, Array]]:
        """Images, the laws that they may come from, and the log-density (n, K) of both."""
        every = list(self._asked(len(rows), prompts, way)) if len(rows) else []
        for group, measurement in looks(self._canvas(), hidden):
            for asked in every:
                own = np.intersect1d(asked.members, group, assume_unique=True)
                roots = asked.laws.roots(measurement) if len(own) else None
                for start in range(0, len(own), ROWS):
                    members = own[start : start + ROWS]
                    seen = see_pixels(measurement, rows[members], hidden[members[0]])
                    assert roots is not None
                    log_prob = log_evidence(measurement, seen, asked.laws, roots)
                    yield members, asked, log_prob + asked.log_chance


def looks(canvas: Canvas, hidden: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], Measurement]]:
    """The images that miss the same pixels, `hidden` (n, D), and the measurement of the others."""
    if not hidden.any():
        if len(hidden):
            yield np.arange(len(hidden)), Measurement.of_pixels(canvas, ~hidden[0])
        return
    _, first, place = np.unique(np.packbits(hidden, axis=1), axis=0, return_index=True, return_inverse=True)
    for i, one in enumerate(first):
        yield np.flatnonzero(place.ravel() == i), Measurement.of_pixels(canvas, ~hidden[one])


def see_pixels(measurement: Measurement, rows: NDArray[np.generic], hidden: NDArray[np.bool_]) -> Seen:
    """What is seen of images (n, D) without the hidden pixels (D,)."""
    return measurement.see(
        rows.astype(np.float64) if not hidden.any() else rows[:, ~hidden].astype(np.float64)
    )
