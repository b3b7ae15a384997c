"""The model: a short story that calls the rooms below.

    prompts and images -> moments -> encoder and denoiser -> sampler -> map and law -> images

``fit`` measures the data once and keeps its moments. The rest follows from them in closed form and is
worked out when it is first needed, so a stream of batches costs one solve, not one a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from lineardiffusion import noise
from lineardiffusion.fitted import Prompts
from lineardiffusion.images import to_pil
from lineardiffusion.moments import Moments
from lineardiffusion.noise import Seed
from lineardiffusion.parts import Images
from lineardiffusion.restore import Restoration
from lineardiffusion.storage import Stored


class LinearDiffusion(Stored, Restoration):
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
    text_encoder : {"onehot", "words", "positions"} or transformer, default=None
        How strings become vectors: a whole prompt as one symbol (``"onehot"``, also None), a bag of
        words, which word stands where, or any scikit-learn transformer of a list of strings. All but
        the first share strength between prompts, and answer prompts that were never seen.
    n_styles : int, default=1
        Styles a prompt: k-means splits its latents, and each style has a Gaussian of its own.
        ``"7"`` draws a style by its frequency, ``"7~12"`` names one. Needs a second pass.
    contrast : {None, "affine", "histogram"}, default=None
        How pictures end. ``"affine"``: a gain, an offset and a clip to the data's range, which give the
        pixels of the exact sampler, without guidance, the mean and the variance of the data's.
        ``"histogram"``: a monotone curve, which gives them the data's histogram; ``fit`` then counts the
        pixels, too. Other samplers, and embeddings, share the numbers. None is exact and unclipped.
    guidance_scale : float, default=1.0
        How far to go from what all prompts have in common to the prompt, or beyond: 1, no guidance, is
        there. The denoiser is ``everything + guidance_scale * (prompt - everything)``. With Gaussians
        of one covariance S that draws from N(m + (guidance_scale - 1)(m - m_all), S); in general not
        from the tilted density p(x | prompt)^w p(x)^(1 - w), but from :meth:`law`.
    max_memory : float, default=1.5e9
        Bytes that the moments of all prompts may take (``partial_fit`` needs several times as many for
        a moment). If those of the pixels would take more, ``fit``
        goes over the images twice and keeps those of the latents.
    random_state : int, RandomState or None, default=None
        The seed of ``predict`` and ``sample`` when they are given none, and of k-means (None: 0).

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
    styles_ : dict of str to (ndarray, ndarray)
        The number of images of each prompt's styles, and their mean images.
    contrast_ : Contrast or None
        The last step: its gain, offset and range, or its thresholds and values.
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
    Meng et al. (2022), SDEdit: guided image synthesis and editing with stochastic differential equations.
    ICLR.

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
        text_encoder: Any = None,
        n_styles: int = 1,
        contrast: str | None = None,
        guidance_scale: float = 1.0,
        max_memory: float = 1.5e9,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.scale = scale
        self.schedule = schedule
        self.sampler = sampler
        self.num_steps = num_steps
        self.eta = eta
        self.text_encoder = text_encoder
        self.n_styles = n_styles
        self.contrast = contrast
        self.guidance_scale = guidance_scale
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
        guidance_scale: float | None = None,
        negative_prompt: Any = None,
        latents: Any = None,
        start: Any = None,
        strength: float = 0.8,
        output_type: str = "np",
        return_trajectory: bool = False,
    ) -> Any:
        """Draw one image a prompt.

        Parameters
        ----------
        prompts : list of str or dict, or array-like of shape (n, k)
            What to draw. A dict of prompts and weights, ``{"3": 0.5, "8": 0.5}``, is drawn by the
            weighted mean of their denoisers; the weights are made to sum to 1.
        seed : int, list of int or None, default=None
            An int: image i is the same in a batch of any size. A list: image i depends on its own seed
            alone. None: the model's ``random_state``.
        sampler, num_steps, eta, guidance_scale : default=None
            As in the constructor; None for what is set there.
        negative_prompt : str or dict, default=None
            What to go away from, instead of what all prompts have in common; needs a
            ``guidance_scale``.
        latents : array-like of shape (n, n_components_), default=None
            The starting noise, of standard deviation 1, instead of one drawn from the seed.
        start : array-like of shape (n, \\*image_shape_), default=None
            Images to start from instead of from noise alone: they are taken `strength` of the way to noise,
            and denoised from there under the prompts (SDEdit, Meng et al. 2022).
        strength : float, default=0.8
            The share of the steps that is taken, above 0 and at most 1; without `start` all are.
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
        request = self._request(prompts, guidance_scale, negative_prompt)
        plan = self._plan(sampler, num_steps, eta, return_trajectory, 1.0 if start is None else strength)
        start, seeds = self._start(len(request), seed, latents, start, plan)
        request = self._solution().language.settle(request, seeds)
        if return_trajectory:
            trajectory = np.stack(list(self._solution().walk(request, start, seeds, plan)))
            images: Any = self.decode(trajectory[-1])
        else:
            images = self.decode(self._solution().draw(request, start, seeds, plan))
        if (contrast := self.contrast_) is not None:
            images = contrast(images)
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
        guidance_scale: float | None = None,
        negative_prompt: Any = None,
        latents: Any = None,
        start: Any = None,
        strength: float = 0.8,
    ) -> Iterator[Images]:
        """Watch the images come into being: yield them at every step, from the noise on.

        Parameters
        ----------
        prompts, seed, sampler, num_steps, eta, guidance_scale, negative_prompt, latents, start, strength
            As in :meth:`predict`.

        Yields
        ------
        images : ndarray of shape (n, \\*image_shape_)
            The noisy images after 0, 1, ..., num_steps steps, without contrast.
        """
        request = self._request(prompts, guidance_scale, negative_prompt)
        plan = self._plan(sampler, num_steps, eta, True, 1.0 if start is None else strength)
        start, seeds = self._start(len(request), seed, latents, start, plan)
        request = self._solution().language.settle(request, seeds)
        return (self.decode(x) for x in self._solution().walk(request, start, seeds, plan))

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
        known = self._state.known
        if not isinstance(self.moments_, Moments):
            raise ValueError("sample draws prompts by their frequency, but joint moments have none")
        one = noise.check_seed(seed, n_samples, self.random_state)
        key = one if isinstance(one, int) else one[0]
        drawn = noise.generator(key, noise.PROMPTS).choice(len(known), size=n_samples, p=self.prompt_prior_)
        prompts = [known[u] for u in drawn]
        return self.predict(prompts, seed=one), prompts
