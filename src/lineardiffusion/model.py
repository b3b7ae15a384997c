"""The model: a short story that calls the rooms below.

    prompts and images -> moments -> encoder and denoiser -> sampler -> map and law -> images

``fit`` measures the data once and keeps its moments. The rest follows from them in closed form and is
worked out when it is first needed, so a stream of batches costs one solve, not one a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from lineardiffusion import noise
from lineardiffusion.affine import Affine
from lineardiffusion.batch import check_images
from lineardiffusion.gaussian import Gaussian
from lineardiffusion.images import to_pil
from lineardiffusion.learn import Learner, Prompts
from lineardiffusion.likelihood import log_density, rounding_variance
from lineardiffusion.moments import Array
from lineardiffusion.noise import Seed
from lineardiffusion.text import symbols
from lineardiffusion.trajectory import Plan, compose, walk

Images = NDArray[np.floating]

MAPS_KEPT = 256  # composed maps remembered
WALK_BYTES = 2**27  # of matrices, one an embedding, at a time
TERMINAL_SNR = 0.01  # of the latent's strongest direction, above which noise alone is no honest start


class LinearDiffusion(Learner):
    """Diffusion model of linear parts: PCA, one-hot prompts, linear regression.

    Parameters
    ----------
    n_components : int, default=144
        Entries of the latent at most; directions in which the images do not vary are left out.
    scale : bool, default=False
        Whether each pixel is standardised before the PCA.
    schedule : {"cosine", "vp", "karras", "flow"}, Schedule or callable, default="cosine"
        The noise schedule, by name or as a function t -> (alpha, sigma), t from 1 (noise) to 0.
    sampler : {"exact", "ddim", "ddpm", "euler", "heun", "dpm++2m", "one_step"}, default="exact"
        How noise becomes a latent. ``"exact"`` solves the probability-flow ODE in closed form and
        ``num_steps`` does not matter to it; ``"one_step"`` with ``scale=True`` is the model of April
        2023.
    num_steps : int, default=50
        Steps of the sampler.
    eta : float, default=0.0
        Fresh noise of ``"ddim"``: 0 for none, 1 for as much as ``"ddpm"``.
    max_memory : float, default=1e9
        Bytes that the moments of all prompts may take. If those of the pixels would take more, ``fit``
        goes over the images twice and keeps those of the latents.
    random_state : int, RandomState or None, default=None
        The seed of ``predict`` and ``sample`` when they are given none.

    Attributes
    ----------
    moments_ : Moments or JointMoments
        All that the data left behind.
    prompts_ : ndarray of str
        The prompts that the model knows, sorted. Not set when prompts are embeddings.
    prompt_prior_ : ndarray
        The frequency of each of them.
    image_shape_ : tuple of int
        Shape of one image.
    pixel_range_ : tuple of float
        Smallest and largest pixel seen.
    pixel_dtype_ : numpy dtype
        Type of the pixels seen.
    n_components_, mean_, components_, scaling_factor_ : int, ndarray, ndarray, float
        Size of the latent, mean image, orthonormal components (n_components_, D), and what their
        scores are divided by.
    n_features_in_ : int
        Length of the embedding, when prompts are embeddings.

    See Also
    --------
    sklearn.decomposition.PCA : The image encoder alone.
    sklearn.mixture.GaussianMixture : A density without prompts.

    References
    ----------
    Will Kurt (2023), Linear Diffusion. Count Bayesie.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> prompts, images = load_digits()
    >>> ld = LinearDiffusion(n_components=40).fit(prompts, images)
    >>> digits = ld.predict(["7", "3"], seed=137)
    >>> digits.shape
    (2, 8, 8)
    """

    def __init__(
        self,
        n_components: int = 144,
        *,
        scale: bool = False,
        schedule: Any = "cosine",
        sampler: str = "exact",
        num_steps: int = 50,
        eta: float = 0.0,
        max_memory: float = 1e9,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.scale = scale
        self.schedule = schedule
        self.sampler = sampler
        self.num_steps = num_steps
        self.eta = eta
        self.max_memory = max_memory
        self.random_state = random_state

    # ------------------------------------------------------------------ from prompts to images

    def predict(
        self,
        prompts: Prompts,
        seed: Seed = None,
        *,
        sampler: str | None = None,
        num_steps: int | None = None,
        eta: float | None = None,
        latents: Any = None,
        output_type: str = "np",
        return_trajectory: bool = False,
    ) -> Any:
        """Draw one image a prompt.

        Parameters
        ----------
        prompts : list of str, or array-like of shape (n, k)
            What to draw.
        seed : int, list of int or None, default=None
            An int: image i is the same in a batch of any size. A list: image i depends on its own seed
            alone. None: the model's ``random_state``.
        sampler, num_steps, eta : default=None
            As in the constructor; None for what is set there.
        latents : array-like of shape (n, n_components_), default=None
            The starting noise, of standard deviation 1, instead of one drawn from the seed.
        output_type : {"np", "pil"}, default="np"
            An array in the units of the training images, or a list of PIL images.
        return_trajectory : bool, default=False
            Whether to return the latents at every step too. A stochastic sampler is then run step by
            step, and draws another image of the same law.

        Returns
        -------
        images : ndarray of shape (n, \\*image_shape_) or list of PIL.Image.Image
            float32, or float64 if the training images were float64 or int32 and wider.
        trajectory : ndarray of shape (num_steps + 1, n, n_components_)
            Only with ``return_trajectory``: from the starting noise to the latents of `images`;
            ``decode(trajectory[i])`` shows step i.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For an unknown prompt, sampler or schedule, or ``num_steps`` below 1.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion().fit(*load_digits())
        >>> images, trajectory = ld.predict(
        ...     ["7"], seed=137, sampler="ddim", num_steps=10, return_trajectory=True
        ... )
        >>> trajectory.shape
        (11, 1, 61)
        """
        if output_type not in ("np", "pil"):
            raise ValueError(f'output_type must be "np" or "pil", got {output_type!r}')
        targets = self._check_targets(prompts)
        plan = self._plan(sampler, num_steps, eta, every_step=return_trajectory)
        start, seeds = self._start(len(targets), seed, latents)
        if return_trajectory:
            trajectory = np.stack(list(self._walk(targets, start, seeds, plan)))
            images: Any = self.decode(trajectory[-1])
        else:
            images = self.decode(self._draw(targets, start, seeds, plan))
        if output_type == "pil":
            images = to_pil(images, self.pixel_range_)
        return (images, trajectory) if return_trajectory else images

    def staged_predict(
        self,
        prompts: Prompts,
        seed: Seed = None,
        *,
        sampler: str | None = None,
        num_steps: int | None = None,
        eta: float | None = None,
        latents: Any = None,
    ) -> Iterator[Images]:
        """Watch the images come into being: yield them at every step, from the noise on.

        Parameters
        ----------
        prompts, seed, sampler, num_steps, eta, latents
            As in :meth:`predict`.

        Yields
        ------
        images : ndarray of shape (n, \\*image_shape_)
            The noisy images after 0, 1, ..., num_steps steps.
        """
        targets = self._check_targets(prompts)
        plan = self._plan(sampler, num_steps, eta, every_step=True)
        start, seeds = self._start(len(targets), seed, latents)
        return (self.decode(x) for x in self._walk(targets, start, seeds, plan))

    def sample(self, n_samples: int = 1, seed: Seed = None) -> tuple[Images, list[str]]:
        """Draw prompts by their frequency in training, and an image of each.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        seed : int or None, default=None
            As in :meth:`predict`.

        Returns
        -------
        images : ndarray of shape (n_samples, \\*image_shape_)
        prompts : list of str
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be 1 or more, got {n_samples}")
        if not self._known:
            raise ValueError("sample draws prompts by their frequency, but embeddings have none")
        one = noise.check_seed(seed, n_samples, self.random_state)
        key = one if isinstance(one, int) else one[0]
        drawn = noise.generator(key, noise.PROMPTS).choice(
            len(self._known), size=n_samples, p=self.prompt_prior_
        )
        prompts = [self._known[u] for u in drawn]
        return self.predict(prompts, seed=one), prompts

    # ------------------------------------------------------------------ the parts, one by one

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
        targets = self._check_targets(prompts)
        if not np.isfinite(sigma) or sigma <= 0:
            raise ValueError(f"sigma must be positive and finite, in pixel units; got {sigma!r}")
        encoder = self._solution().encoder
        x = encoder.encode(check_images(images, len(targets), self.image_shape_))
        level = sigma / encoder.scaling_factor
        clean = np.empty_like(x)
        for members, shape, denoiser in self._denoisers(targets):
            clean[members] = denoiser(x[members].reshape(shape), 1.0, level).reshape(len(members), -1)
        return encoder.decode(clean)

    def affine(
        self,
        prompt: Any,
        *,
        sampler: str | None = None,
        num_steps: int | None = None,
        eta: float | None = None,
    ) -> tuple[Array, Array]:
        """The whole sampler as one map: ``latent = matrix @ noise + offset``.

        Parameters
        ----------
        prompt : str, or array-like of shape (k,)
            One prompt.
        sampler, num_steps, eta : default=None
            As in the constructor.

        Returns
        -------
        matrix : ndarray of shape (n_components_, n_components_)
        offset : ndarray of shape (n_components_,)
            From starting noise of standard deviation 1 to the latent, without the noise that a
            stochastic sampler adds on the way (see :meth:`law`).
        """
        x = self._map(prompt, sampler, num_steps, eta)
        return x.matrix[0].T.copy(), x.offset[0].copy()

    def law(
        self,
        prompt: Any,
        *,
        sampler: str | None = None,
        num_steps: int | None = None,
        eta: float | None = None,
    ) -> Gaussian:
        """The Gaussian that the latents of this prompt are drawn from, by this sampler.

        Parameters
        ----------
        prompt, sampler, num_steps, eta
            As in :meth:`affine`.

        Returns
        -------
        Gaussian
        """
        x = self._map(prompt, sampler, num_steps, eta)
        return Gaussian(x.offset[0].copy(), x.covariance[0])

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

    def score(self, X: Prompts, y: Any) -> float:
        """Mean log-density of images given their prompts, in nats an image: for model selection.

        Parameters
        ----------
        X : list of str, or array-like of shape (n, k)
        y : array-like of shape (n, \\*image_shape_)

        Returns
        -------
        float
            Higher is better. In pixel units, under the law of the model's own sampler, with the
            discarded directions as in probabilistic PCA; so models with different ``n_components``
            compare, as :class:`sklearn.model_selection.GridSearchCV` does.
        """
        targets = self._check_targets(X)
        images = check_images(y, len(targets), self.image_shape_)
        total, encoder = 0.0, self._solution().encoder
        floor = rounding_variance(self.pixel_range_)
        for target in np.unique(targets, axis=0):
            members = np.flatnonzero((targets == target).reshape(len(targets), -1).all(axis=1))
            law = self.law(self._known[target] if self._known else target)
            total += log_density(images[members], law, encoder, floor).sum()
        return float(total / len(targets))

    # ------------------------------------------------------------------ behind the scenes

    def _plan(
        self,
        sampler: str | None,
        num_steps: int | None,
        eta: float | None,
        every_step: bool = False,
    ) -> Plan:
        """The plan of these settings, where None stands for the constructor's."""
        plan = Plan.of(
            self.sampler if sampler is None else sampler,
            self.num_steps if num_steps is None else num_steps,
            self.schedule,
            self.eta if eta is None else eta,
            every_step,
        )
        encoder = self._solution().encoder
        alpha, sigma = plan.start
        ratio = float(encoder.variance[0]) * (alpha / (sigma * encoder.scaling_factor)) ** 2
        if ratio > TERMINAL_SNR and plan.key[0] != "one_step":
            warnings.warn(
                f"the schedule's first level, alpha={alpha:.3g} and sigma={sigma:.3g}, still holds "
                f"signal (ratio {ratio:.2g} in the strongest direction), but sampling starts from "
                "noise alone: images will be too alike; use a schedule that ends in noise",
                stacklevel=3,
            )
        return plan

    def _start(self, n: int, seed: Seed, latents: Any) -> tuple[Array, int | list[int]]:
        """Starting noise (n, d), and the seed for what noise a sampler adds."""
        d = self.n_components_
        seeds = noise.check_seed(seed, n, self.random_state)
        if latents is None:
            return noise.draw(seeds, n, d), seeds
        start = np.asarray(latents, dtype=np.float64)
        if start.shape != (n, d):
            raise ValueError(f"latents must have the shape {(n, d)}, got {start.shape}")
        if not np.isfinite(start).all():
            raise ValueError("latents must be finite, but some are NaN or infinite")
        return start, seeds

    def _draw(self, targets: NDArray[Any], start: Array, seeds: int | list[int], plan: Plan) -> Array:
        """Latents (n, d), by one composed map a prompt; embeddings are walked instead."""
        if not self._known:
            *_, latents = self._walk(targets, start, seeds, plan)
            return latents
        distinct, place = np.unique(targets, return_inverse=True)
        maps = self._maps(distinct.tolist(), plan)
        latents = np.empty_like(start)
        added = None
        if any(x.n_noises for x in maps):
            added = noise.draw(seeds, len(start), start.shape[1], noise.SAMPLER)
        for u, x in enumerate(maps):
            members = place == u
            extra = None if added is None else added[members][None]
            latents[members] = x(start[members][None], extra)[0]
        return latents

    def _walk(
        self, targets: NDArray[Any], start: Array, seeds: int | list[int], plan: Plan
    ) -> Iterator[Array]:
        """Latents (n, d) at every step."""
        fresh = noise.generators(seeds, len(start))
        groups = list(self._denoisers(targets))
        walks = [
            walk(denoiser, start[members].reshape(shape), plan, [fresh[i] for i in members])
            for members, shape, denoiser in groups
        ]
        for states in zip(*walks, strict=True):
            latents = np.empty_like(start)
            for (members, _, _), x in zip(groups, states, strict=True):
                latents[members] = x.reshape(len(members), -1)
            yield latents

    def _denoisers(self, targets: NDArray[Any]) -> Iterator[tuple[Any, tuple[int, int, int], Any]]:
        """Groups of images with their denoiser: members, and the shape (p, m, d) of their latents.

        One group a prompt; embeddings go by blocks, each row a prompt of its own.
        """
        denoiser, d = self._solution().denoiser, self.n_components_
        if self._known:
            for u in np.unique(targets):
                members = np.flatnonzero(targets == u)
                yield members, (1, len(members), d), denoiser.select(np.array([u]))
            return
        step = max(1, WALK_BYTES // (8 * d**2))
        for first in range(0, len(targets), step):
            members = np.arange(first, min(first + step, len(targets)))
            yield members, (len(members), 1, d), denoiser.select(targets[members])

    def _map(self, prompt: Any, sampler: str | None, num_steps: int | None, eta: float | None) -> Affine:
        """The composed map of one prompt."""
        plan = self._plan(sampler, num_steps, eta)
        if self._known:
            if not isinstance(prompt, str):
                raise TypeError(f"expected one prompt, a string; got {prompt!r}")
            return self._maps(symbols([prompt], self._known).tolist(), plan)[0]
        target = self._check_targets(np.reshape(prompt, (1, -1)))
        return compose(self._solution().denoiser.select(target), 1, self.n_components_, plan)

    def _maps(self, prompts: list[int], plan: Plan) -> list[Affine]:
        """The composed maps of known prompts, each worked out once and remembered."""
        solution = self._solution()
        found = {u: solution.maps.get((u, plan.key)) for u in prompts}
        missing = [u for u, x in found.items() if x is None]
        if missing:
            denoiser = solution.denoiser.select(np.array(missing))
            together = compose(denoiser, len(missing), self.n_components_, plan)
            for i, u in enumerate(missing):
                found[u] = solution.maps[u, plan.key] = together[i]
            for old in list(solution.maps)[:-MAPS_KEPT]:
                del solution.maps[old]
        return [x for x in found.values() if x is not None]
