"""The parts of the model, one by one: encoder, denoiser, map, law, styles, contrast.

What ``predict`` does in one go can be taken apart here, each part exact and open to view.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from lineardiffusion import noise
from lineardiffusion.affine import Affine
from lineardiffusion.batch import check_images
from lineardiffusion.contrast import AffineContrast, Contrast, HistogramContrast, check_contrast
from lineardiffusion.fitted import Prompts
from lineardiffusion.gaussian import Gaussian
from lineardiffusion.language import alternatives
from lineardiffusion.learn import Learner
from lineardiffusion.mixture import Mixture
from lineardiffusion.moments import Array
from lineardiffusion.noise import Seed
from lineardiffusion.trajectory import Plan, compose

Images = NDArray[np.floating]

TERMINAL_SNR = 0.01  # of the latent's strongest direction, above which noise alone is no honest start


class Parts(Learner):
    """What of :class:`LinearDiffusion` can be looked at; see there for the parameters and attributes."""

    def denoise(self, images: Any, sigma: float, prompts: Prompts) -> Images:
        """Denoise images: the expected clean image of image + sigma n, n ~ N(0, I).

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape_)
            Noisy images, in pixel units.
        sigma : float
            Standard deviation of the noise, in pixel units (of the standardised pixels if
            ``scale=True``).
        prompts : list of str, or array-like of shape (n, k)
            What they show.

        Returns
        -------
        ndarray of shape (n, \\*image_shape_)
        """
        request = self._request(prompts, 1.0, None)
        if not np.isfinite(sigma) or sigma <= 0:
            raise ValueError(f"sigma must be positive and finite, in pixel units; got {sigma!r}")
        solution = self._solution()
        x = solution.encoder.encode(check_images(images, len(request), self.image_shape_))
        level = sigma / solution.encoder.scaling_factor
        clean = np.empty_like(x)
        for members, shape, denoiser in solution.groups(request, mixed=True):
            found = denoiser(x[members].reshape(shape), 1.0, level)
            clean[members] = found.reshape(len(members), -1)
        return solution.encoder.decode(clean)

    def affine(
        self,
        prompt: Any,
        *,
        sampler: str | None = None,
        num_steps: int | None = None,
        eta: float | None = None,
        guidance_scale: float | None = None,
        negative_prompt: Any = None,
    ) -> tuple[Array, Array]:
        """The whole sampler as one map: ``latent = matrix @ noise + offset``.

        Parameters
        ----------
        prompt : str or dict, or array-like of shape (k,)
            One prompt, weights of prompts, or an embedding.
        sampler, num_steps, eta, guidance_scale, negative_prompt : default=None
            As in :meth:`predict`.

        Returns
        -------
        matrix : ndarray of shape (n_components_, n_components_)
        offset : ndarray of shape (n_components_,)
            From starting noise of standard deviation 1 to the latent, without the noise that a
            stochastic sampler adds on the way (see :meth:`law`).
        """
        (x, *others), _ = self._map(prompt, sampler, num_steps, eta, guidance_scale, negative_prompt)
        if others:
            raise ValueError(f"{prompt!r} has {1 + len(others)} styles, each a map; name one, as in '7~0'")
        return x.matrix[0].T.copy(), x.offset[0].copy()

    def law(
        self,
        prompt: Any,
        *,
        sampler: str | None = None,
        num_steps: int | None = None,
        eta: float | None = None,
        guidance_scale: float | None = None,
        negative_prompt: Any = None,
    ) -> Gaussian | Mixture:
        """The law that the latents of this prompt are drawn from, by this sampler.

        Parameters
        ----------
        prompt, sampler, num_steps, eta, guidance_scale, negative_prompt
            As in :meth:`affine`.

        Returns
        -------
        Gaussian, or Mixture of the prompt's styles
        """
        maps, weights = self._map(prompt, sampler, num_steps, eta, guidance_scale, negative_prompt)
        laws = [Gaussian(x.offset[0].copy(), x.covariance[0]) for x in maps]
        return laws[0] if len(laws) == 1 else Mixture(weights, laws)

    def encode(self, images: Any) -> Array:
        """Latents of shape (n, n_components_) of images of shape (n, \\*image_shape_)."""
        encoder = self._solution().encoder
        return encoder.encode(check_images(images, np.shape(images)[0], self.image_shape_))

    def decode(self, latents: Any) -> Images:
        """Images of shape (..., \\*image_shape_), in pixel units, of latents (..., n_components_)."""
        array, d = np.asarray(latents, dtype=np.float64), self.n_components_
        if array.ndim == 0 or array.shape[-1] != d:
            raise ValueError(f"latents must have the shape (..., {d}), got {array.shape}")
        return self._solution().encoder.decode(array)

    @property
    def styles_(self) -> dict[str, tuple[Array, Images]]:
        check_is_fitted(self)
        if self._state.styles is None:
            raise AttributeError("this model has no styles; fit with n_styles=2 or more")
        styles = self._state.styles
        weight = styles.moments.weight
        mean = np.where(weight[:, None] > 0, styles.moments.mean, styles.centres)
        return {
            prompt: (weight[styles.prompt == u], self.decode(mean[styles.prompt == u]))
            for u, prompt in enumerate(self._state.known)
        }

    @property
    def contrast_(self) -> Contrast | None:
        check_is_fitted(self)
        check_contrast(self.contrast)
        if self.contrast is None:
            return None
        self._check_counts(self._state)
        solution, histogram = self._solution(), self._state.histogram
        if self.contrast == "affine":
            if not isinstance(solution.contrast, AffineContrast):
                solution.contrast = AffineContrast.solve(solution.law, solution.encoder, self.pixel_range_)
        elif histogram is not None and not isinstance(solution.contrast, HistogramContrast):
            solution.contrast = HistogramContrast.solve(solution.law, solution.encoder, histogram)
        return solution.contrast

    # ------------------------------------------------------------------ behind the scenes

    def _plan(
        self,
        sampler: str | None,
        num_steps: int | None,
        eta: float | None,
        every_step: bool = False,
        strength: float = 1.0,
    ) -> Plan:
        """The plan of these settings, where None stands for the constructor's."""
        plan = Plan.of(
            self.sampler if sampler is None else sampler,
            self.num_steps if num_steps is None else num_steps,
            self.schedule,
            self.eta if eta is None else eta,
            every_step,
            strength,
        )
        encoder = self._solution().encoder
        alpha, sigma = plan.start
        ratio = float(encoder.variance[0]) * (alpha / (sigma * encoder.scaling_factor)) ** 2
        if ratio > TERMINAL_SNR and strength == 1.0 and plan.key[0] != "one_step":
            warnings.warn(
                f"the schedule's first level, alpha={alpha:.3g} and sigma={sigma:.3g}, still holds "
                f"signal (ratio {ratio:.2g} in the strongest direction), but sampling starts from "
                "noise alone: images will be too alike; use a schedule that ends in noise",
                stacklevel=3,
            )
        return plan

    def _start(
        self, n: int, seed: Seed, latents: Any, images: Any, plan: Plan
    ) -> tuple[Array, int | list[int]]:
        """Starting noise (n, d), and the seed for what noise a sampler adds."""
        d = self.n_components_
        seeds = noise.check_seed(seed, n, self.random_state)
        if latents is None:
            start = noise.draw(seeds, n, d)
        else:
            start = np.asarray(latents, dtype=np.float64)
            if start.shape != (n, d):
                raise ValueError(f"latents must have the shape {(n, d)}, got {start.shape}")
            if not np.isfinite(start).all():
                raise ValueError("latents must be finite, but some are NaN or infinite")
        if images is not None:  # alpha z + sigma n = sigma (n + alpha z / sigma)
            alpha, sigma = plan.start
            start = start + (alpha / sigma) * self.encode(check_images(images, n, self.image_shape_))
        return start, seeds

    def _map(
        self,
        prompt: Any,
        sampler: str | None,
        num_steps: int | None,
        eta: float | None,
        guidance_scale: float | None,
        negative_prompt: Any,
    ) -> tuple[list[Affine], list[float]]:
        """The composed map of one prompt, or those of its styles, and how often each is drawn."""
        plan = self._plan(sampler, num_steps, eta)
        if isinstance(prompt, str | dict):
            request = self._request([prompt], guidance_scale, negative_prompt)
            choices = alternatives(request.conditions[0])
            maps = self._solution().compose([condition for condition, _ in choices], plan)
            return maps, [weight for _, weight in choices]
        embedding = np.asarray(prompt)
        if embedding.ndim != 1 or embedding.dtype.kind not in "biuf":
            raise TypeError(f"expected one prompt, a string, weights or an embedding; got {prompt!r}")
        request = self._request(embedding[None], guidance_scale, negative_prompt)
        ((_, _, denoiser),) = self._solution().groups(request)
        return [compose(denoiser, 1, self.n_components_, plan)], [1.0]
