"""Restoration: the exact posterior of an image, given a linear look at it.

    y = A x + n,        n ~ N(0, noise_std^2 I)

A Gaussian law stays Gaussian when something linear of it is known, and a mixture stays a mixture, its
components weighed by how well they explain what was seen. So inpainting, super-resolution and deblurring are
one formula (evidence.py), and nothing is iterated. Inversion goes the other way: from an image to the
starting noise that the sampler turns into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import noise
from lineardiffusion.evidence import log_evidence, posterior_draw, posterior_mean, shares
from lineardiffusion.fitted import Prompts
from lineardiffusion.infer import Inference, Way, looks, see_pixels
from lineardiffusion.measurement import Measurement, Seen, check_operator
from lineardiffusion.moments import Array
from lineardiffusion.noise import Seed
from lineardiffusion.parts import Images

Looks = Iterator[tuple[NDArray[np.intp], Measurement, Seen]]


class Restoration(Inference):
    """What of :class:`LinearDiffusion` restores images; see there for the parameters and attributes."""

    def inpaint(
        self,
        images: Any,
        mask: Any = None,
        prompts: Prompts = None,
        seed: Seed = None,
        n_samples: int | None = None,
        *,
        return_prompts: bool = False,
        **way: Unpack[Way],
    ) -> Any:
        """Complete images: draw the missing pixels from the exact posterior of the law, given the others.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape_)
            NaN pixels are missing.
        mask : array-like of bool, of shape image_shape_ or (n, \\*image_shape_), default=None
            True where a pixel is missing, too. One for all images, or one an image.
        prompts : list of str or dict, or array-like of shape (n, k), default=None
            What they show. None: each draw draws the prompt, too, from its posterior.
        seed : int, list of int or None, default=None
            As in :meth:`predict`.
        n_samples : int, default=None
            Draws of each image; None for one, without an axis for it, and 0 for the mean of them all.
        return_prompts : bool, default=False
            Whether to return the prompts that were drawn (of the mean, the most probable ones).
        **way
            As in :meth:`score_samples`.

        Returns
        -------
        images : ndarray of shape (n, \\*image_shape_) or (n, n_samples, \\*image_shape_)
            In pixel units; pixels that are not missing stay as they are. With ``contrast`` the draws of
            missing pixels have it, and the mean has not.
        prompts : ndarray of str, shape (n,) or (n, n_samples)
            Only with ``return_prompts``.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion().fit(prompts[100:], images[100:])
        >>> lower_half = np.arange(8)[:, None] >= np.full(8, 4)
        >>> whole, read = ld.inpaint(images[:4], lower_half, seed=0, return_prompts=True)
        >>> bool(np.all(whole[:, :4] == images[:4, :4])), read.shape
        (True, (4,))
        """
        rows, hidden = self._look(images)
        if mask is not None:
            hidden = hidden | self._check_mask(mask, len(rows))

        def see() -> Looks:
            for members, measurement in looks(self._canvas(), hidden):
                yield members, measurement, see_pixels(measurement, rows[members], hidden[members[0]])

        found, read = self._posterior(len(rows), see(), prompts, seed, n_samples, way)
        known = np.where(hidden, 0.0, rows.astype(found.dtype))
        found = np.where(hidden[:, None], found, known[:, None])
        return self._restored(found, read, prompts, n_samples, return_prompts)

    def restore(
        self,
        measurements: Any,
        operator: Any,
        noise_std: float,
        prompts: Prompts = None,
        seed: Seed = None,
        n_samples: int | None = None,
        *,
        return_prompts: bool = False,
        **way: Unpack[Way],
    ) -> Any:
        """Restore images from linear measurements ``operator @ image + noise``: draws of the exact posterior.

        Parameters
        ----------
        measurements : array-like of shape (n, m)
            Or (n, ...) with m numbers each, in pixel units.
        operator : array-like, scipy sparse matrix or LinearOperator of shape (m, D)
            What was measured of the flattened image; :mod:`lineardiffusion.operators` makes some.
        noise_std : float
            Standard deviation of the noise, in pixel units; 0 for none.
        prompts, seed, n_samples, return_prompts, **way
            As in :meth:`inpaint`.

        Returns
        -------
        images : ndarray of shape (n, \\*image_shape_) or (n, n_samples, \\*image_shape_)
            In pixel units. Without noise and contrast ``operator @ image`` is the measurement again.
        prompts : ndarray of str, shape (n,) or (n, n_samples)
            Only with ``return_prompts``.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion, operators
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion().fit(prompts[100:], images[100:])
        >>> A = operators.downsampling((8, 8), 2)
        >>> small = images[:4].reshape(4, -1) @ A.T
        >>> sharp = ld.restore(small, A, noise_std=0.0, prompts=prompts[:4], n_samples=0)
        >>> bool(abs(sharp.reshape(4, -1) @ A.T - small).max() < 1e-3)
        True
        """
        canvas = self._canvas()
        A = check_operator(operator, len(canvas.scale))
        real = isinstance(noise_std, int | float | np.number) and not isinstance(noise_std, bool)
        if not real or not 0 <= noise_std < np.inf:
            raise ValueError(f"noise_std must be 0 or more and finite, in pixel units; got {noise_std!r}")
        y = np.asarray(measurements)
        if y.ndim < 2 or y[0].size != A.shape[0]:
            raise ValueError(
                f"measurements must have the shape (n, {A.shape[0]}), as many numbers as the operator has "
                f"rows; got {y.shape}"
            )
        if y.dtype.kind not in "buif" or not np.isfinite(y).all():
            raise ValueError(
                "measurements must be finite real numbers; leave out rows that were not measured"
            )
        y = y.reshape(len(y), -1).astype(np.float64)
        measurement = Measurement.of(canvas, A, float(noise_std))
        see = iter([(np.arange(len(y)), measurement, measurement.see(y))])
        found, read = self._posterior(len(y), see, prompts, seed, n_samples, way)
        return self._restored(found, read, prompts, n_samples, return_prompts)

    def invert(self, images: Any, prompts: Prompts, **way: Unpack[Way]) -> Array:
        """The starting noise that the sampler turns into these images' latents.

        Under another prompt it draws another image by the same hand:
        ``predict(["8"] * n, latents=invert(images, ["3"] * n))``.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape_)
        prompts : list of str or dict, or array-like of shape (n, k)
            What they show; a style by its name, as in "3~0".
        **way
            As in :meth:`score_samples`.

        Returns
        -------
        ndarray of shape (n, n_components_)
            For ``predict(latents=...)``.

        Raises
        ------
        ValueError
            If the sampler adds noise of its own, or its map has no inverse: in some direction all starting
            noise ends in one place.
        """
        latents = self.encode(images)
        request = self._request(prompts, way.get("guidance_scale"), way.get("negative_prompt")).gathered()
        if len(request) != len(latents):
            raise ValueError(f"{len(request)} prompts for {len(latents)} images; pass one prompt an image")
        plan = self._plan(way.get("sampler"), way.get("num_steps"), way.get("eta"))
        if plan.stochastic:
            raise ValueError(
                f"{plan.key[0]} adds noise of its own and has no inverse; use sampler='exact', or 'ddim'"
            )
        start = np.empty_like(latents)
        for i, x in enumerate(self._solution().compose(request.conditions, plan)):
            members = np.flatnonzero(request.place == i)
            spread = np.linalg.svd(x.matrix[0], compute_uv=False)
            if spread[-1] <= 1e-10 * spread[0]:
                kept = int(np.sum(spread > 1e-10 * spread[0]))
                raise ValueError(
                    f"the sampler's map has no inverse: it keeps {kept} of {len(spread)} directions. Use "
                    "fewer components, or a prompt with more images; styles of few images are flat on purpose"
                )
            start[members] = np.linalg.solve(x.matrix[0].T, (latents[members] - x.offset[0]).T).T
        return start

    # ------------------------------------------------------------------ behind the scenes

    def _posterior(
        self, n: int, see: Looks, prompts: Prompts, seed: Seed, n_samples: int | None, way: Way
    ) -> tuple[Images, NDArray[np.intp]]:
        """Draws (n, m, D) in pixel units, or m = 1 means; and the place of each one's prompt (n, m)."""
        if n_samples is not None and (
            isinstance(n_samples, bool) or not isinstance(n_samples, int | np.integer) or n_samples < 0
        ):
            raise ValueError(
                f"n_samples must be an int of 0 or more, or None for one draw; got {n_samples!r}"
            )
        canvas, encoder = self._canvas(), self._solution().encoder
        seeds = noise.check_seed(seed, n, self.random_state)
        m = 1 if n_samples is None else n_samples
        fresh = [_fresh(seeds, n, encoder.components.shape, j) for j in range(m)]
        every = list(self._asked(n, prompts, way))
        found = np.empty((n, max(m, 1), len(canvas.scale)), encoder.dtype)
        read = np.zeros((n, max(m, 1)), np.intp)
        contrast = self.contrast_ if m else None
        for group, measurement, seen in see:
            for asked in every:
                members, place, _ = np.intersect1d(group, asked.members, True, return_indices=True)
                if not len(members):
                    continue
                own, laws, roots = seen[place], asked.laws, asked.laws.roots(measurement)
                log_prob = log_evidence(measurement, own, laws, roots) + asked.log_chance
                share = shares(log_prob)
                if not m:
                    xi = posterior_mean(measurement, own, laws, roots, share)
                    found[members, 0] = encoder.mean + canvas.scale * xi
                    read[members, 0] = np.logaddexp.reduceat(log_prob, asked.first, axis=1).argmax(axis=1)
                edges = np.cumsum(share, axis=1)[:, :-1]
                for j, (latent, discarded, u) in enumerate(fresh):
                    chosen = (edges <= u[members, None]).sum(axis=1)
                    for_y = None
                    if measurement.noise_std:
                        for_y = noise.draw(seeds, n, own.centred.shape[1], (*noise.MEASURED, j))[members]
                    xi = posterior_draw(
                        measurement, own, laws, roots, chosen, latent[members], discarded[members], for_y
                    )
                    pixels = (encoder.mean + canvas.scale * xi).astype(encoder.dtype)
                    found[members, j] = pixels if contrast is None else contrast(pixels)
                    read[members, j] = np.searchsorted(asked.first, chosen, side="right") - 1
        return found, read

    def _restored(
        self,
        found: Images,
        read: NDArray[np.intp],
        prompts: Prompts,
        n_samples: int | None,
        with_prompts: bool,
    ) -> Any:
        n, m, _ = found.shape
        images = found.reshape(n, m, *self.image_shape_)
        if prompts is None:
            names: Any = self.prompts_[read]
        else:
            names = np.repeat(np.asarray(prompts)[:, None], m, axis=1)
        if not n_samples:
            images, names = images[:, 0], names[:, 0]
        return (images, names) if with_prompts else images

    def _check_mask(self, mask: Any, n: int) -> NDArray[np.bool_]:
        """The mask as (n, D)."""
        array, shape = np.asarray(mask), self.image_shape_
        if array.dtype != bool:
            raise TypeError(f"mask must be bool, True where a pixel is missing; got {array.dtype}")
        if array.shape not in (shape, (n, *shape)):
            raise ValueError(
                f"mask must have the shape {shape}, one for all images, or {(n, *shape)}, one an image; got "
                f"{array.shape}"
            )
        return np.broadcast_to(array, (n, *shape)).reshape(n, -1)


def _fresh(seeds: int | list[int], n: int, shape: tuple[int, ...], j: int) -> tuple[Array, Array, Array]:
    """Noise of n images' j-th draws: for latents (n, d), what is discarded (n, D), and the choice (n,)."""
    d, D = shape
    latent = noise.draw(seeds, n, d, (*noise.LATENT, j))
    discarded = noise.draw(seeds, n, D, (*noise.DISCARDED, j))
    return latent, discarded, noise.uniform(seeds, n, (*noise.CHOSEN, j))
