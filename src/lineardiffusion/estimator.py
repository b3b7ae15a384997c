"""The estimator: scikit-learn's interface to a linear diffusion model.

    prompts and images -> statistics -> fitted model -> sampler -> map and law -> images

It checks what a user gives and calls the modules below. It holds two immutable values, the statistics of the data
and the model that follows from them, and replaces them whole: bad input or an interrupt leaves the model as it
was, and reading it changes nothing.
"""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags, check_array, check_scalar
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from lineardiffusion import _noise, inference, training
from lineardiffusion._arrays import Array, Images
from lineardiffusion._batches import check_batches
from lineardiffusion._device import is_tensor, to_device, to_numpy
from lineardiffusion._noise import Seed
from lineardiffusion._pictures import to_pil
from lineardiffusion._validation import (
    check_images,
    check_integer,
    check_mask,
    check_prompts,
    check_sample_weight,
    refuse_masked,
    to_array,
)
from lineardiffusion._version import __version__
from lineardiffusion.complexity import n_parameters
from lineardiffusion.contrast import Contrast
from lineardiffusion.diffusion.latent_denoiser import LatentDenoiser
from lineardiffusion.diffusion.schedules import Discrete
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.encoders.conditioning import Request
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.encoders.text import symbols
from lineardiffusion.fitted import Course, Drawing, FittedDiffusion, Resolved, SamplerSettings
from lineardiffusion.inverse.measurement import EXACT, ROUNDED, Measurement, check_operator
from lineardiffusion.io import hub, model_file
from lineardiffusion.io.locate import locate
from lineardiffusion.loss import denoising_loss
from lineardiffusion.parameters import Parameters
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.dataset import Statistics
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.source import InMemory
from lineardiffusion.streaming import Check, Replayed, Stream
from lineardiffusion.training import Learned

__all__ = ["LinearDiffusion"]

S = TypeVar("S", bound=Replayed)
Prompts = Any  # a list of n strings, or an array of numbers of shape (n, k)


class LinearDiffusion(BaseEstimator):
    """Diffusion model of linear parts: PCA, one-hot prompts, linear regression.

    Parameters
    ----------
    n_components : int or float, default=144
        Number of entries of the latent at most; directions in which the images do not vary are left out. A float
        between 0 and 1 is the share of the images' variance that the components hold, for example 0.95.
    scale : bool, default=False
        Whether to standardise each pixel before the PCA.
    basis_tolerance : float, default=1e-3
        Share of the variance of the exact principal components that those of large images may lack. From 1,500
        pixels on, and where ``max_memory`` asks for it, ``fit`` finds the components in a few passes over the
        images, and more of them for a smaller tolerance. Those of smaller images are exact.
    image_encoder : ImageEncoder or object with encode and decode, default=None
        Encoder of the images, in place of the PCA (``n_components`` and ``scale`` are then unused). The variances
        that a linear one tells are replaced by those of the data (``image_encoder_``). See
        :meth:`ImageEncoder.from_basis`. Likelihoods, posteriors and contrast need a linear one.
    text_encoder : {"onehot", "words", "positions"} or transformer, default=None
        Encoder of the prompts: a whole prompt as one symbol (``"onehot"``, also None), a bag of words, which
        word stands where, or any scikit-learn transformer of a list of strings. All but the first share
        strength between prompts, and encode prompts that were never seen.
    n_styles : int or "auto", default=1
        Number of styles per prompt: k-means clusters its latents, and each style has its own Gaussian. ``"7"``
        draws a style by its frequency, ``"7~12"`` names one. Styles take a second pass over the data. ``"auto"``
        gives a prompt one style for every 60 of its images, or fewer if their moments exceed ``max_memory``.
    style_rank : float or "auto", default="auto"
        Directions that a style is drawn in, for each of its images: above 0 and at most 1, for as many as it has
        images. Their variances are scaled so that no variance of the style is lost. ``"auto"`` takes 1, 1/2, 1/4
        or 1/8: the one whose pictures are most like images that are held out, and do not copy
        (:mod:`lineardiffusion.style_rank`). Scores and posteriors have all directions, whatever the rank.
    shrinkage : {"auto"} or float, default="auto"
        Share of the covariance within all prompts in the covariance of each prompt, from 0 (maximum likelihood)
        to 1 (one covariance for all). ``"auto"`` takes the share of least expected squared error (Ledoit and
        Wolf), which is large for a prompt of few images and falls as 1 / n. Where prompts have fewer images than
        components, larger shares or fewer components may classify better: compare them by :meth:`score` on
        held-out images. With styles it applies to the
        covariance within the styles of a prompt, towards which each style is shrunk. It does not apply to prompts
        that share words, nor to embeddings.
    missing : {"error", "em"}, default="error"
        What ``fit`` and ``partial_fit`` do with NaN pixels: refuse them, or fill them by expectation and
        maximisation, in 10 rounds: each pixel by its conditional mean given the others under the moments so far,
        whose conditional covariance is added to the scatter. A round decomposes a matrix of D x D for every prompt
        with holes: seconds at 784 pixels, minutes at 3,072.
    contrast : {None, "affine", "histogram", "pixelwise"}, default=None
        Last step of decoding. ``"affine"``: a gain, an offset and a clip to the data's range, which give the
        pixels of the exact sampler without guidance the mean and the variance of the data's. ``"histogram"``:
        a monotone curve, which gives them the data's histogram; ``fit`` then counts the pixels too.
        ``"pixelwise"``: a gain and an offset for each pixel of each prompt or style, and the clip, which give that
        pixel its mean and variance in the images of the style; ``fit`` then sums each style's pixels too. It gives
        the best pictures by far. Prompts that share words, and embeddings, get the affine contrast in its place.
        None is exact and unclipped.
    schedule : {"cosine", "vp", "karras", "flow"}, Schedule or callable, default="cosine"
        Noise schedule, by name, as an object, or as a function t -> (alpha, sigma) with t from 1 (noise) to 0.
        ``"vp"`` and ``"karras"`` stop short of pure noise, which leaves every deterministic sampler a distance from
        the data's law that no number of steps removes (docs/reference/samplers.md has it).
    sampler : str, Sampler or callable, default="exact"
        Sampler, by name ("exact", "ddim", "ddpm", "euler", "heun", "rk4", "dpm++2m", "em", "ei", "one_step"), as an
        object such as ``samplers.ddim(20, eta=0.5)``, or as a generator function like :meth:`Sampler.__call__`.
        ``"exact"`` solves the probability-flow ODE in closed form; ``"one_step"`` with ``scale=True`` and
        ``shrinkage=0`` is the model of April 2023.
    num_steps : int, default=50
        Number of steps of a sampler that is given by name or as a function.
    guidance_scale : float or callable, default=1.0
        Scale w of classifier-free guidance: the denoiser is unconditional + w (conditional - unconditional), so
        1 is no guidance. With Gaussians of one covariance S it draws from N(m + (w - 1)(m - m_all), S); in
        general not from the tilted density p(x | prompt)^w p(x)^(1 - w), but from :meth:`law`. A function w(t)
        of the schedule's time, t_max (noise) to 0, guides some steps only: ``lambda t: 3.0 if t < 0.7 else 1.0``.
    max_memory : float, default=1.5e9
        Bytes that the moments of all prompts may take (``partial_fit``, and ``fit`` of more than 128 MB of images,
        need three times as many for a moment). If those of the pixels would take more, or images have 1,500 pixels
        or more, ``fit`` finds the components first and keeps the moments of the latents.
    cache_memory : float, default=256e6
        Bytes of composed maps and laws that are kept for the next call.
    random_state : int, RandomState or None, default=None
        Seed of ``predict`` and ``sample`` when they are given none, and of k-means (None: 0). An int is 0 or more,
        of any size.

    Attributes
    ----------
    statistics_ : Statistics
        Sufficient statistics of the training data.
    fitted_ : FittedDiffusion
        The solved model.
    prompts_ : ndarray of str
        The known prompts, sorted. Not set when prompts are embeddings.
    prompt_prior_ : ndarray
        Frequency of each known prompt.
    image_shape_ : tuple of int
        Shape of one image.
    pixel_range_ : tuple of float
        Smallest and largest pixel of the data.
    pixel_dtype_ : numpy dtype
        Type of the data's pixels.
    styles_ : dict of str to (ndarray, ndarray)
        Number of images of each prompt's styles, and their mean images.
    style_rank_ : float
        Directions that a style is drawn in, for each of its images.
    contrast_ : AffineContrast, HistogramContrast, PixelwiseContrast or None
        The last step of decoding: gains, offsets and range, or thresholds and values.
    temperature_ : float
        Temperature of the likelihood that prompts are inferred by: 1.0 unless :meth:`calibrate` fitted one.
    image_encoder_ : ImageEncoder, or the image_encoder that was given
        Encoder of the images; a linear one has the variances of the data.
    n_components_ : int
        Number of entries of a latent.
    mean_ : ndarray of shape (D,)
        Mean image, in pixel units.
    components_ : ndarray of shape (n_components, D)
        Orthonormal components, one a row.
    scaling_factor_ : float
        Divisor of the scores, in pixel units.
    explained_variance_ratio_ : ndarray of shape (n_components,)
        Share of the images' variance (of standardised pixels if ``scale``) along each component.
    shrinkage_ : dict of str to float
        Share of the covariance within all prompts in that of each prompt. Not set where prompts share words.
    n_parameters_ : float
        Number of free parameters of the law, see :meth:`bic`.
    n_features_in_ : int
        Length of the embedding, when prompts are embeddings.

    See Also
    --------
    sklearn.decomposition.PCA : The image encoder alone.
    sklearn.mixture.GaussianMixture : A density without prompts.

    Notes
    -----
    Parameters that are set after fitting take effect at the next ``fit``, ``partial_fit`` or :meth:`refit`.

    In the shapes of arrays n is a number of images, D the number of pixels of an image, and n_components and
    image_shape are those of the fitted model, ``n_components_`` and ``image_shape_``.

    References
    ----------
    - Will Kurt (2023), Linear Diffusion. Count Bayesie.
    - Meng et al. (2022), SDEdit: guided image synthesis and editing with stochastic differential equations.
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
        n_components: int | float = 144,
        *,
        scale: bool = False,
        basis_tolerance: float = 1e-3,
        image_encoder: Any = None,
        text_encoder: Any = None,
        n_styles: int | str = 1,
        style_rank: float | str = "auto",
        shrinkage: float | str = "auto",
        missing: str = "error",
        contrast: str | None = None,
        schedule: Any = "cosine",
        sampler: Any = "exact",
        num_steps: int = 50,
        guidance_scale: Any = 1.0,
        max_memory: float = 1.5e9,
        cache_memory: float = 256e6,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.scale = scale
        self.basis_tolerance = basis_tolerance
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.n_styles = n_styles
        self.style_rank = style_rank
        self.shrinkage = shrinkage
        self.missing = missing
        self.contrast = contrast
        self.schedule = schedule
        self.sampler = sampler
        self.num_steps = num_steps
        self.guidance_scale = guidance_scale
        self.max_memory = max_memory
        self.cache_memory = cache_memory
        self.random_state = random_state

    # ------------------------------------------------------------------ learning

    def fit(self, X: Prompts, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model in closed form.

        Parameters
        ----------
        X : list of str or int, or array-like of shape (n, k)
            Prompts, one per image: strings, each a symbol of its own, or embeddings. Integers in one dimension are
            labels and stand for their decimal names, 7 for ``"7"``, here and wherever prompts are taken. One column
            of strings is prompts; all other numbers in two dimensions are embeddings.
        y : array-like of shape (n, h, w) or (n, h, w, c)
            Images of any real dtype. Any shape (n, ...) is possible: points, vectors, spectra. The magnitude of
            the largest pixel must be 0, or lie between 1e-60 and 1e60. Pixels that are NaN or masked are missing,
            and need ``missing="em"``.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image; a weight of 2 is the same as the image given twice, but for ``shrinkage`` and
            styles, which need to know how many images there are. Only ratios count if the largest weight is above
            1e50 or below 1e-50: the weights are then divided by it.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        ValueError
            If lengths differ, pixels are NaN, infinite or out of range, there is no data, or a parameter is out of
            its range. The model stays as it was.
        TypeError
            If the data come in batches, as from a loader or an iterator; the message names the call for them.

        See Also
        --------
        fit_batches : Fit to images that need not fit into memory.
        partial_fit : Update the model with a batch.
        from_gaussian : Build the model of a known Gaussian.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion().fit(["left", "left", "right", "right"], [[0.0], [2.0], [7.0], [9.0]])
        >>> ld.prompts_.tolist(), ld.law("right", space="pixels").mean.tolist()
        (['left', 'right'], [8.0])
        """
        parameters = self._parameters()
        batch = self._check_batch(X, y, sample_weight, None, parameters.missing == "em", whole=True)
        learned = training.fit(InMemory(batch), parameters, self._taken_basis(parameters))
        return self._adopt(learned, None if batch.known else X)

    def fit_batches(
        self,
        batches: Any,
        *,
        progress: Callable[[int, int], Any] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 200,
    ) -> Self:
        """Fit the model to images that come in batches and need not fit into memory.

        The result equals that of ``fit``, or for images of 1,500 pixels and more another one within
        ``basis_tolerance``. Batches are read several times: once for smaller images whose moments fit into
        ``max_memory``, otherwise some four times, and once or twice more for styles. Small batches are gathered in
        memory, up to 64 MB. Batches without images are left out.

        Parameters
        ----------
        batches : iterable, or function that returns one
            Each batch is ``(prompts, images)`` or ``(prompts, images, sample_weight)``, in arrays or lists of any
            length; a dict with the keys ``"prompts"`` or ``"label"`` and ``"images"`` or ``"image"``; the path of
            an .npz file with arrays of these names; or a function that returns one of these. So a PyTorch
            ``DataLoader``, a list of files, and a function that is a generator will do. The labels of a Hugging
            Face ``Dataset`` become their names.
            See :func:`lineardiffusion.datasets.in_batches` for arrays on disk.
        progress : callable, default=None
            Is called for each batch with the number of the pass, from 1, and the number of images that the pass has
            read.
        checkpoint : str or Path, default=None
            File to which the sums are written on the way, in one step each time. If it exists, the fit goes on from
            there; the images must then come in the same order. It is removed at the end.
        checkpoint_every : int, default=200
            Number of batches from one checkpoint to the next.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        TypeError
            If the batches cannot be read again, as those of a generator that is already called.
        ValueError
            As in :meth:`fit`, with a note that names the batch; also if the batches differ from pass to pass, or
            the checkpoint is of other parameters or other data, which checksums tell. The model stays as it was.
        OSError
            If the checkpoint cannot be written.

        See Also
        --------
        lineardiffusion.datasets.in_batches : Arrays on disk as batches.
        partial_fit : Update the model with one batch, in one pass.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> def batches():
        ...     for start in range(0, len(images), 100):
        ...         yield prompts[start : start + 100], images[start : start + 100]
        >>> ld = LinearDiffusion(n_components=20, n_styles=5).fit_batches(batches)
        >>> len(ld.styles_["7"][0])
        5
        """
        check_batches(batches)
        check_integer(checkpoint_every, "checkpoint_every")
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be a function of the pass and its images, got {progress!r}")
        path = None if checkpoint is None else Path(checkpoint)

        def stream(check: Check, parameters: Parameters) -> Stream:
            identity = "" if path is None else training.identity(parameters, vars(self).get("_basis"))
            return Stream(batches, check, progress, path, checkpoint_every, identity)

        self._fit_source(stream).finish()
        return self

    def _fit_source(self, make: Callable[[Check, Parameters], S]) -> S:
        """Fit the model to what `make` returns, a source whose batches are checked by the function it is given."""
        parameters = self._parameters()
        if parameters.missing == "em":
            what = 'missing="em" fills pixels from all images of a prompt at once'
            raise ValueError(f"{what}: give them to fit, or batch by batch to partial_fit")
        # the check of a model without data or encoder, which takes few bytes where it is sent to other machines
        source = make(LinearDiffusion(n_styles=self.n_styles)._check_batch, parameters)
        learned = training.fit(source, parameters, self._taken_basis(parameters))
        self._adopt(learned, None if source.first.known else source.prompts)
        return source

    def fit_basis(self, images: Any, sample_weight: Any = None) -> Self:
        """Fix the principal components, so that ``partial_fit`` keeps moments of latents; no image is counted.

        Moments of latents are small, whatever the size of the images, and models that begin with the same
        components merge. Call it with some thousands of images of all prompts, before the first ``partial_fit``,
        ``fit`` or ``fit_batches``. Copies of the model (``copy.deepcopy``, pickle) have the same components.

        Parameters
        ----------
        images : array-like of shape (n, h, w) or (n, h, w, c)
            Images.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        ValueError
            If the model is fitted or has an ``image_encoder``, or with ``missing="em"``, which needs the moments of
            pixels.

        See Also
        --------
        ImageEncoder.from_basis : A basis of your own.

        Examples
        --------
        >>> import copy
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> empty = LinearDiffusion(n_components=20).fit_basis(images[:500])
        >>> one = copy.deepcopy(empty).partial_fit(prompts[:900], images[:900])
        >>> other = copy.deepcopy(empty).partial_fit(prompts[900:], images[900:])
        >>> one.merge(other).statistics_.moments.scatter.shape
        (10, 20, 20)
        """
        if self.__sklearn_is_fitted__():
            raise ValueError("fit_basis comes before the first image is counted; call it on a new model")
        parameters = self._parameters()
        if parameters.image_encoder is not None:
            raise ValueError("this model has an image_encoder already: fit_basis would find another one")
        if parameters.missing == "em":
            raise ValueError(
                'missing="em" needs the moments of pixels, which fit_basis replaces by those of latents'
            )
        n = len(images) if np.ndim(images) else 0
        if not n:
            raise ValueError(
                f"no images: expected an array of shape (n, h, w) or (n, h, w, c), got {np.shape(images)}"
            )
        checked = check_images(images, n)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, checked)
        source = InMemory(Batch.of([""] * n, checked, weight))
        self._basis = training.fit_basis(source, parameters), (parameters.n_components, parameters.scale)
        return self

    def _taken_basis(self, parameters: Parameters) -> ImageEncoder | None:
        """Return the encoder that `fit_basis` found, if it is of these parameters."""
        if "_basis" not in vars(self):
            return None
        encoder, settings = self._basis
        if parameters.image_encoder is not None or settings != (parameters.n_components, parameters.scale):
            names = "n_components, scale and image_encoder"
            raise ValueError(f"{names} are fixed by fit_basis: call it again with other ones")
        return encoder

    def partial_fit(self, X: Prompts, y: Any = None, sample_weight: Any = None) -> Self:
        """Update the model with a batch; the result equals ``fit`` on all batches, in any order.

        With ``missing="em"`` that holds for complete images: the holes of a batch are filled under the moments of
        the batches before it. The model is solved when it is first used. Styles begin anew, see
        :meth:`partial_fit_styles`.

        Parameters
        ----------
        X : list of str or int, or array-like of shape (n, k)
            Prompts, as in :meth:`fit`.
        y : array-like of shape (n, h, w) or (n, h, w, c)
            Images, as in :meth:`fit`.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image, as in :meth:`fit`.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        ValueError
            As in :meth:`fit`; also if the images have another shape than those before, if the moments of
            the pixels under every prompt take more than ``max_memory``, or if ``contrast`` is
            ``"histogram"`` or ``"pixelwise"`` and was not from the first batch on. The model stays as it was.

        See Also
        --------
        fit_batches : Fit to all batches in one call, with styles.
        merge : The model of two data sets.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion().partial_fit(["left", "right"], [[0.0], [7.0]])
        >>> ld.partial_fit(["left", "right"], [[2.0], [9.0]]).law("right", space="pixels").mean.tolist()
        [8.0]
        """
        before = self._learned if self.__sklearn_is_fitted__() else None
        parameters = self._parameters()
        basis = self._taken_basis(parameters)
        like = None if before is None else before.statistics
        batch = self._check_batch(X, y, sample_weight, like, parameters.missing == "em")
        return self._adopt(training.update(before, batch, parameters, basis), None if batch.known else X)

    def partial_fit_styles(self, X: Prompts, y: Any = None, sample_weight: Any = None) -> Self:
        """Add a batch's styles, in a second pass over a stream.

        After ``partial_fit`` has had all batches, give them again. The first one chooses the styles' centres,
        so it should be a few thousand random images, with every prompt among them.

        Parameters
        ----------
        X : list of str or int, or array-like of shape (n, k)
            Prompts, as in :meth:`fit`.
        y : array-like of shape (n, h, w) or (n, h, w, c)
            Images, as in :meth:`fit`.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image, as in :meth:`fit`.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        ValueError
            If ``n_styles`` is 1, or as in :meth:`fit`. The model stays as it was.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion(20, n_styles=3).partial_fit(prompts[:900], images[:900])
        >>> len(ld.partial_fit_styles(prompts[:900], images[:900]).styles_["7"][0])
        3
        """
        check_is_fitted(self)
        parameters = self._parameters()
        if not parameters.has_styles:
            raise ValueError(f'n_styles must be 2 or more, or "auto", to have styles; got {self.n_styles!r}')
        before = self._learned.statistics
        batch = self._check_batch(X, y, sample_weight, before)
        training.check_solvable(before, self._learned.parameters, parameters)
        return self._adopt(Learned(training.add_styles(before, InMemory(batch), parameters), parameters))

    def merge(self, other: Self) -> Self:
        """Return the model of both data sets, with this one's parameters; neither is changed.

        Parameters
        ----------
        other : LinearDiffusion
            Model of images of the same shape. An unfitted model has no data.

        Returns
        -------
        LinearDiffusion
            A new model.

        See Also
        --------
        merge_all : Merge many models in place; the errors are described there.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> one = LinearDiffusion.from_gaussian([0.0], [1.0], prompt="left")
        >>> other = LinearDiffusion.from_gaussian([4.0], [1.0], prompt="right")
        >>> one.merge(other).prompts_.tolist()
        ['left', 'right']
        """
        merged: Self = self.merge_all([self, other])
        return merged

    @staticmethod
    def merge_all(models: Iterable[LinearDiffusion]) -> Any:
        """Return the model of all data sets, with the first model's parameters.

        The statistics are added in place in one set of arrays. Unfitted models have no data; if all are
        unfitted, so is the result.

        Parameters
        ----------
        models : iterable of LinearDiffusion
            One or more models of images of the same shape.

        Returns
        -------
        LinearDiffusion
            A new model.

        Raises
        ------
        ValueError
            If the statistics do not add up: other image shapes or kinds of prompts, moments of latents of other
            encoders (see ``max_memory``), styles with other centres, pixels that the contrast needs and
            one of them has not counted.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> parts = [LinearDiffusion().fit(prompts[i::3], images[i::3]) for i in range(3)]
        >>> whole = LinearDiffusion.merge_all([LinearDiffusion(), *parts])
        >>> float(whole.statistics_.moments.weight.sum())
        1797.0
        """
        every = list(models)
        for model in every:
            if not isinstance(model, LinearDiffusion):
                raise TypeError(f"only LinearDiffusion models merge, got {type(model).__name__}")
        if not every:
            raise ValueError("no models to merge: expected at least one")
        fitted = [model for model in every if model.__sklearn_is_fitted__()]
        merged = copy.copy(every[0])
        if not fitted:
            return merged
        statistics = Statistics.total(model._learned.statistics for model in fitted)
        parameters = fitted[0]._learned.parameters if fitted[0] is every[0] else every[0]._parameters()
        names = list(getattr(fitted[0], "feature_names_in_", []))
        for model in fitted:
            training.check_solvable(statistics, model._learned.parameters, parameters)
            if list(getattr(model, "feature_names_in_", [])) != names:
                raise ValueError("models of embeddings with other feature names do not merge")
        for name in ("n_features_in_", "feature_names_in_"):
            if name in vars(fitted[0]):
                setattr(merged, name, getattr(fitted[0], name))
        return merged._adopt(Learned(statistics, parameters))

    def forget(self, X: Prompts, y: Any, sample_weight: Any = None) -> Self:
        """Subtract images from the model; the result is the model of the others, which are not needed.

        The statistics of these images are subtracted and the model is solved anew when it is first used. A prompt
        that is left without images is removed (not from joint moments, see ``max_memory``), and the temperature of
        :meth:`calibrate` is 1 again. Some things stay as they were: the smallest and largest pixel of the
        data; an encoder that was fixed before the statistics were computed (moments of latents, see
        ``max_memory``); with styles the encoder and the centres, because every image is subtracted from the style
        to which it is assigned; and pixels that ``missing="em"`` filled in the other images. Call :meth:`fit` on
        the other images where these must not depend on the removed ones either.

        Parameters
        ----------
        X : list of str or int, or array-like of shape (n, k)
            Prompts of the images, as they were given to :meth:`fit` or :meth:`partial_fit`.
        y : array-like of shape (n, h, w) or (n, h, w, c)
            Images to remove.
        sample_weight : array-like of shape (n,), default=None
            Weights of the images, as they were given with them.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        ValueError
            If these images cannot have been in the data: an unknown prompt, a pixel outside of the data's range, a
            weight or a variance that would be negative; or if no image would be left. The model stays as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion().fit(prompts, images).forget(prompts[:100], images[:100])
        >>> fresh = LinearDiffusion().fit(prompts[100:], images[100:])
        >>> np.allclose(ld.predict(["7"], seed=137), fresh.predict(["7"], seed=137), atol=1e-4)
        True
        """
        check_is_fitted(self)
        batch = self._check_batch(X, y, sample_weight, self._learned.statistics, missing=True)
        if batch.has_missing:
            instead = "what was filled in is not kept; fit again on the other images"
            raise ValueError(f"images with missing pixels cannot be forgotten: {instead}")
        return self._adopt(training.forget(self._learned, batch))

    def refit(self, **params: Any) -> Self:
        """Solve the model anew with other parameters, from the statistics alone.

        Parameters
        ----------
        **params
            Parameters as in the constructor.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        ValueError
            If the statistics do not determine that model. Moments of latents (of a model with styles, or one
            that ``fit`` made in two passes) fix ``n_components`` and ``scale``; other styles need the images;
            ``contrast="histogram"`` and ``"pixelwise"`` need pixels that ``fit`` counted. The model stays as it
            was.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion().fit(*load_digits())
        >>> ld.refit(n_components=20).n_components_
        20
        """
        check_is_fitted(self)
        changed = copy.copy(self)
        changed.text_encoder = clone(self.text_encoder, safe=False)  # whose parameters may be among them
        changed.set_params(**params)
        learned = training.refit(self._learned, changed._parameters())
        self.set_params(**params)
        return self._adopt(learned)

    @classmethod
    def from_statistics(cls, statistics: Statistics, **params: Any) -> Self:
        """Build a fitted model from statistics, for example sums that were added up elsewhere.

        Parameters
        ----------
        statistics : Statistics
            Sufficient statistics of the training data, as of :meth:`Statistics.of` or a model's ``statistics_``.
        **params
            Parameters of the constructor.

        Returns
        -------
        LinearDiffusion
            The model that :meth:`fit` gives with these parameters, if the statistics are those that it computes.

        Raises
        ------
        ValueError
            If the statistics do not determine that model: ``n_styles``, ``contrast="histogram"``, and with moments
            of latents ``contrast="pixelwise"``, need what these statistics may not have counted. An
            ``image_encoder`` must be that of the statistics.

        See Also
        --------
        refit : Other parameters for a fitted model.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion, Statistics
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> total = sum(Statistics.of(prompts[i::3], images[i::3]) for i in range(3))
        >>> ld = LinearDiffusion.from_statistics(total, n_components=40)
        >>> ld.predict(["7"], seed=137).shape
        (1, 8, 8)
        """
        if not isinstance(statistics, Statistics):
            raise TypeError(f"expected a Statistics value, as of Statistics.of; got {type(statistics).__name__}")
        model = cls(**params)
        learned = training.from_statistics(statistics, model._parameters())
        if not statistics.prompts:
            model.n_features_in_ = learned.fitted.conditioner.size
        return model._adopt(learned)

    @classmethod
    def from_gaussian(
        cls,
        mean: Any,
        covariance: Any,
        *,
        prompt: Any = "",
        weight: Any = 1.0,
        pixel_range: tuple[float, float] | None = None,
        **params: Any,
    ) -> Self:
        """Build a fitted model of a known Gaussian, or of one for each prompt, without data.

        Every component with variance is kept and nothing is shrunk, so the exact sampler draws from this Gaussian:
        ``law(prompt, space="pixels")`` has this mean and this covariance, to rounding. If all covariances have full
        rank (no variance below 1e-12 of the largest), :meth:`score_samples` is the density of this Gaussian. If one
        is singular, scores take every variance to be at least that of rounding to 256 levels of `pixel_range`.

        Parameters
        ----------
        mean : array-like of shape image_shape
            Mean image, in pixel units: (d,) for vectors, (h, w) or (h, w, c) for images.
        covariance : array-like of shape (D, D), (D,) or image_shape
            Covariance of the D pixels, or its diagonal. It may be singular. A diagonal covariance is not
            decomposed, so 3,072 pixels take less than a second.
        prompt : str or list of str, default=""
            Name of the Gaussian. With a list of p prompts, `mean` and `covariance` have one entry for each prompt:
            lists, or arrays with one more axis in front. Diagonal covariances of several prompts are decomposed
            like any others if their means differ, because the components are those of all prompts together.
        weight : float or array-like of shape (p,), default=1.0
            Weight of each prompt: its frequency in :meth:`sample` and in Bayes' rule, and the number of images
            that the Gaussian counts as when images are added by :meth:`partial_fit`.
        pixel_range : tuple of float, default=None
            Smallest and largest pixel, black and white of PIL images. None for the mean and three standard
            deviations.
        **params
            Parameters of the constructor, with the defaults ``n_components=D`` and ``shrinkage=0.0``.

        Returns
        -------
        LinearDiffusion
            A fitted model whose images are float64. What counts images does not apply to it: styles and
            ``contrast="histogram"`` need data, and ``bic`` takes the covariance for one of full rank.

        Raises
        ------
        ValueError
            If shapes do not fit, numbers are complex or not finite, a covariance is not symmetric or has a negative
            variance, ``weight`` is not above 0, or a prompt is given twice.

        See Also
        --------
        from_statistics : A model of moments of data.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion.from_gaussian(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> ld.law("", space="pixels").covariance.round(12)
        array([[2., 1.],
               [1., 2.]])
        >>> two = LinearDiffusion.from_gaussian([[0.0], [4.0]], [[1.0], [1.0]], prompt=["left", "right"])
        >>> two.classify_proba([[2.0]])
        array([[0.5, 0.5]])
        """
        several = check_prompts(prompt) if isinstance(prompt, list | tuple | np.ndarray) else None
        names = check_prompts([prompt]) if several is None else several
        if names is None:
            raise TypeError(f"prompt must be a string, or a list of strings; got {prompt!r}")
        if several is None:
            mean, covariance = [mean], [covariance]
        statistics = training.known_gaussians(names, mean, covariance, weight, pixel_range)
        D = math.prod(statistics.image_shape)
        return cls.from_statistics(statistics, **{"n_components": D, "shrinkage": 0.0, **params})

    # ------------------------------------------------------------------ drawing

    def predict(
        self,
        prompts: Prompts,
        seed: Seed = None,
        *,
        sampler: Any = None,
        num_steps: int | None = None,
        guidance_scale: Any = None,
        negative_prompt: Any = None,
        latents: Any = None,
        start: Any = None,
        strength: float = 0.8,
        output_type: str = "np",
        device: Any = None,
        return_trajectory: bool = False,
    ) -> Any:
        """Draw one image per prompt.

        Parameters
        ----------
        prompts : list of str or dict, or array-like of shape (n, k)
            Prompts. A dict of prompts and weights, ``{"3": 0.5, "8": 0.5}``, is drawn by the weighted mean of
            their denoisers; the weights are divided by their sum.
        seed : int, list of int or None, default=None
            Seed. With an int, image i is the same in a batch of any size, to rounding in the type of the images;
            with a list, image i depends on its own seed alone. None stands for the model's ``random_state``; if
            both are None, a fresh random seed is used.
        sampler : str, Sampler or callable, default=None
            Sampler, as in the constructor; None for the model's.
        num_steps : int, default=None
            Number of steps, in place of a sampler object's own too; None for the model's.
        guidance_scale : float or callable, default=None
            Scale of guidance, as in the constructor; None for the model's.
        negative_prompt : str or dict, default=None
            Prompt, or weights of prompts, that guidance moves away from, in place of the unconditional denoiser.
        latents : array-like of shape (n, n_components), default=None
            Starting noise of standard deviation 1, in place of noise drawn from the seed.
        start : array-like of shape (n, \\*image_shape), default=None
            Images to start from: they are noised to the level at `strength`, and denoised from there under the
            prompts (SDEdit, Meng et al. 2022). None starts from noise alone.
        strength : float, default=0.8
            Share of the steps that is taken after `start`, above 0 and at most 1.
        output_type : {"np", "pil", "pt"}, default="np"
            An array in the units of the training images, a list of PIL images, or a PyTorch tensor.
        device : str or torch.device, default=None
            With ``output_type="pt"``, where the images are drawn; None for the CPU. The noise is that of the seed
            on every device.
        return_trajectory : bool, default=False
            Whether to return the latents at every step too. A stochastic sampler is then simulated step by
            step, and draws another image from the same law.

        Returns
        -------
        images : ndarray or Tensor of shape (n, \\*image_shape), or list of PIL.Image.Image
            Images in float32, or in float64 if the training images were float64 or int32 and wider.
        trajectory : ndarray of shape (num_steps + 1, n, n_components)
            Only with ``return_trajectory``: from the starting noise to the latents of `images`;
            ``decode(trajectory[i])`` gives the images at step i.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For an unknown prompt, sampler or schedule, or ``num_steps`` below 1.

        See Also
        --------
        staged_predict : The images at every step of the sampler.
        sample : Draw the prompts too.
        law : The law that these images are drawn from.

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
        if output_type not in ("np", "pil", "pt"):
            raise ValueError(f'output_type must be "np", "pil" or "pt", got {output_type!r}')
        if output_type != "pt" and device is not None:
            raise ValueError(f'device={device!r} is for output_type="pt", got {output_type!r}')
        fitted = self.fitted_
        sampling: SamplerSettings = {
            "sampler": sampler,
            "num_steps": num_steps,
            "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt,
        }
        drawing = self._drawing(fitted, prompts, seed, latents, start, strength, return_trajectory, sampling)
        trajectory = np.stack(list(fitted.simulate(drawing))) if return_trajectory else None
        if output_type == "pt":
            device = "cpu" if device is None else device
        if trajectory is None:
            latents = fitted.draw(drawing, device)
        else:
            latents = trajectory[-1] if device is None else to_device(trajectory[-1], device)
        images = fitted.finish(fitted.encoder.decode(latents), drawing.request.conditions, drawing.request.place)
        if output_type == "pil":
            images = to_pil(images, fitted.statistics.pixel_range)
        return images if trajectory is None else (images, trajectory)

    def staged_predict(
        self,
        prompts: Prompts,
        seed: Seed = None,
        *,
        latents: Any = None,
        start: Any = None,
        strength: float = 0.8,
        **sampling: Unpack[SamplerSettings],
    ) -> Iterator[Images]:
        """Yield the images at every step of the sampler, from the noise on.

        Parameters
        ----------
        prompts : list of str or dict, or array-like of shape (n, k)
            Prompts, as in :meth:`predict`.
        seed : int, list of int or None, default=None
            Seed, as in :meth:`predict`.
        latents : array-like of shape (n, n_components), default=None
            Starting noise, as in :meth:`predict`.
        start : array-like of shape (n, \\*image_shape), default=None
            Images to start from, as in :meth:`predict`.
        strength : float, default=0.8
            Share of the steps that is taken after `start`.
        **sampling
            Settings ``sampler``, ``num_steps``, ``guidance_scale`` and ``negative_prompt``, as in :meth:`predict`.

        Returns
        -------
        iterator of ndarray of shape (n, \\*image_shape)
            The noisy images after 0, 1, ..., num_steps steps, without contrast.

        See Also
        --------
        predict : The images after the last step.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])  # the standard deviations are 1 and 3
        >>> [x[0].round(2).tolist() for x in ld.staged_predict([""], latents=[[1.0, 1.0]], num_steps=2)]
        [[2.24, 2.24], [1.73, 2.65], [1.0, 3.0]]
        """
        fitted = self.fitted_
        drawing = self._drawing(fitted, prompts, seed, latents, start, strength, True, sampling)
        return (fitted.encoder.decode(x) for x in fitted.simulate(drawing))

    def sample(self, n_samples: int = 1, seed: Seed = None) -> tuple[Images, list[str]]:
        """Draw prompts by their frequency in training, and one image of each.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.
        seed : int, list of int or None, default=None
            Seed, as in :meth:`predict`.

        Returns
        -------
        images : ndarray of shape (n_samples, \\*image_shape)
            Images in pixel units.
        prompts : list of str
            Prompts that were drawn, one an image.

        Raises
        ------
        ValueError
            If the model does not know the frequency of its prompts.

        See Also
        --------
        predict : Draw an image of each given prompt.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> two = LinearDiffusion.from_gaussian([[0.0], [4.0]], [[1.0], [1.0]], prompt=["left", "right"])
        >>> images, prompts = two.sample(5, seed=137)
        >>> images.shape, prompts
        ((5, 1), ['right', 'left', 'left', 'left', 'left'])
        """
        check_integer(n_samples, "n_samples")
        fitted = self.fitted_
        if not isinstance(fitted.statistics.moments, Moments):
            raise ValueError("sample draws prompts by their frequency, which joint moments do not keep")
        one = _noise.check_seed(seed, n_samples, fitted.parameters.random_state)
        generator = _noise.generator(one if isinstance(one, int) else one[0], _noise.PROMPTS)
        drawn = generator.choice(len(self.prompt_prior_), size=n_samples, p=self.prompt_prior_)
        prompts = [fitted.statistics.prompts[u] for u in drawn]
        return self.predict(prompts, seed=one), prompts

    # ------------------------------------------------------------------ the parts

    def denoise(self, prompts: Prompts, images: Any, sigma: float) -> Images:
        """Return the expected clean image of image + sigma n, n ~ N(0, I).

        Parameters
        ----------
        prompts : list of str, or array-like of shape (n, k)
            Prompts of the images. Under a prompt with styles the answer is the mixture's posterior mean, which
            is not linear.
        images : array-like of shape (n, \\*image_shape)
            Noisy images, in pixel units.
        sigma : float
            Standard deviation of the noise, in pixel units (of the standardised pixels if ``scale=True``).

        Returns
        -------
        ndarray of shape (n, \\*image_shape)
            Expected clean images, in pixel units.

        Raises
        ------
        ValueError
            For an unknown prompt, images of another shape, or a `sigma` that is not positive and finite.

        See Also
        --------
        denoiser : The denoiser of latents at any alpha, with guidance.
        flow : The probability flow of latents, ``flow(x, t, s, prompt)``.
        denoising_loss : The mean squared error of this denoiser.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion.from_gaussian([4.0], [3.0])
        >>> ld.denoise([""], [[8.0]], sigma=1.0)  # 4 + 3 / (3 + 1) (8 - 4)
        array([[7.]])
        """
        fitted = self.fitted_
        request = self._resolve(fitted, prompts, {"guidance_scale": 1.0}).request
        if not np.isfinite(check_scalar(sigma, "sigma", numbers.Real)) or sigma <= 0:
            raise ValueError(f"sigma must be positive and finite, in pixel units; got {sigma!r}")
        return fitted.denoise(request, check_images(images, len(request), self.image_shape_), float(sigma))

    def denoising_loss(self, sigma: Any, prompt: str | None = None) -> Any:
        """Return the denoising loss: the mean squared error of :meth:`denoise` on the training data.

        It is the expectation over all training images and all noise, in closed form from their moments. So it is
        exact for images that are not Gaussian too, and no image is read.

        Parameters
        ----------
        sigma : float or array-like of shape (n,)
            Noise levels as in :meth:`denoise`, in pixel units (of the standardised pixels if ``scale=True``).
        prompt : str, default=None
            Known prompt, or one of its styles, as ``"7~12"``. None for the mean over all prompts, by their
            frequency.

        Returns
        -------
        float or ndarray of shape (n,)
            Mean over the pixels of the expected squared error, in the unit of ``sigma**2``. It rises from what the
            encoder discards (sigma near 0) to the variance of the prompt's images (large sigma).

        Raises
        ------
        ValueError
            For a prompt with styles, whose denoiser is not linear: the loss of a named style is that of its own
            denoiser. Also if prompts are embeddings, or ``sigma`` is not positive and finite.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion.from_gaussian(np.zeros(2), [4.0, 1.0])
        >>> ld.denoising_loss([0.5, 2.0]).round(6)  # at 2: the mean of 4 * 4 / (4 + 4) and 1 * 4 / (1 + 4)
        array([0.217647, 1.4     ])
        """
        levels = np.asarray(sigma, dtype=np.float64)
        if levels.ndim > 1 or not ((levels > 0) & np.isfinite(levels)).all():
            raise ValueError(f"sigma must be positive and finite, one number or one dimension; got {sigma!r}")
        name = None
        if prompt is not None:
            names = check_prompts([prompt])
            if names is None:
                raise TypeError(f"prompt must be one known prompt, a string; got {prompt!r}")
            name = names[0]
        found = denoising_loss(self.fitted_, np.atleast_1d(levels), name)
        return found if levels.ndim else float(found[0])

    def denoiser(self, prompt: Any, *, guidance_scale: Any = None, negative_prompt: Any = None) -> LatentDenoiser:
        """Return the denoiser of the latents under one prompt, for samplers of your own or of another library.

        Parameters
        ----------
        prompt : str or dict, or array-like of shape (k,)
            One prompt, weights of prompts, or an embedding. Under a prompt with styles the denoiser is the
            posterior mean of their mixture; with guidance a style must be named, as in ``"7~0"``.
        guidance_scale : float or callable, default=None
            Scale of guidance, as in :meth:`predict`.
        negative_prompt : str or dict, default=None
            Prompt that guidance moves away from, as in :meth:`predict`.

        Returns
        -------
        LatentDenoiser
            ``denoiser(x, alpha, sigma)`` is the expected clean latent (n, n_components) of noisy latents
            x = alpha z + sigma n of the same shape, and ``denoiser.flow(x, start, end)`` the solution of the
            probability flow from the level ``start = (alpha, sigma)`` to the level ``end``.

        See Also
        --------
        denoise : The denoiser of images.
        flow : The flow between two times of the schedule.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion(40).fit(*load_digits())
        >>> denoiser = ld.denoiser("7")
        >>> x = np.random.default_rng(0).normal(size=(5, 40))
        >>> bool(np.allclose(denoiser(x, 0.0, 1.0), ld.law("7").mean))  # of noise alone: the mean
        True
        """
        fitted = self.fitted_
        sampling: SamplerSettings = {"guidance_scale": guidance_scale, "negative_prompt": negative_prompt}
        resolved = self._resolve_one(fitted, prompt, sampling, from_noise=False)
        (condition,) = resolved.request.gathered().conditions
        return LatentDenoiser(fitted.denoiser(condition, mixed=True), fitted.d)

    def flow(
        self, x: Any, t: float, s: float, prompt: Any, *, guidance_scale: Any = None, negative_prompt: Any = None
    ) -> Array:
        """Return the solution of the probability-flow ODE from time t to time s, under one prompt.

        Parameters
        ----------
        x : array-like of shape (n, n_components)
            Latents at time t, x = alpha z + sigma n.
        t, s : float
            Times of the model's schedule, t_max (noise) to 0; s may be the later or the earlier one. The times of
            :class:`~lineardiffusion.schedules.Discrete` end at -1, where no noise is left.
        prompt : str or dict, or array-like of shape (k,)
            One prompt, weights of prompts, or an embedding.
        guidance_scale : float or callable, default=None
            Scale of guidance, as in :meth:`predict`.
        negative_prompt : str or dict, default=None
            Prompt that guidance moves away from, as in :meth:`predict`.

        Returns
        -------
        ndarray of shape (n, n_components)
            Latents at time s: in closed form under a plain prompt, otherwise numerically, with an error below 1e-6
            of the latents' unit. Under a prompt with styles it is the flow of their mixture, whereas
            :meth:`predict` draws a style first.

        See Also
        --------
        denoiser : The denoiser of this flow; its method ``flow`` takes levels (alpha, sigma) in place of times.
        invert : The flow of images to the starting noise.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion(40).fit(*load_digits())
        >>> noise = np.random.default_rng(0).normal(size=(5, 40))
        >>> half = ld.flow(noise, 1.0, 0.5, "7")
        >>> bool(np.allclose(ld.decode(ld.flow(half, 0.5, 0.0, "7")), ld.predict(["7"] * 5, latents=noise)))
        True
        """
        denoiser = self.denoiser(prompt, guidance_scale=guidance_scale, negative_prompt=negative_prompt)
        schedule = self.fitted_.parameters.trajectory.schedule
        last = -1 if isinstance(schedule, Discrete) else 0
        for name, time in (("t", t), ("s", s)):
            if not last <= check_scalar(time, name, numbers.Real) <= schedule.t_max:
                what = f"times of {schedule!r} run from {schedule.t_max:g} (noise) to {last}"
                raise ValueError(f"{what}, got {name}={time!r}")
        return denoiser.flow(x, schedule(t), schedule(s))

    def affine(
        self,
        prompt: Any,
        *,
        times: Any = None,
        stop: float | None = None,
        at: int | None = None,
        **sampling: Unpack[SamplerSettings],
    ) -> tuple[Array, Array]:
        """Return the whole sampler as one map: ``latent = matrix @ noise + offset``.

        Parameters
        ----------
        prompt : str or dict, or array-like of shape (k,)
            One prompt, weights of prompts, or an embedding.
        times : array-like of shape (num_steps + 1,), default=None
            Falling times to visit, in place of the schedule's. Sampling ends at the last, which need not be 0.
        stop : float, default=None
            Time at which sampling ends, in place of 0: the schedule's times are scaled and shifted to end there.
        at : int, default=None
            Number of steps that are taken, from 0 on; None for all.
        **sampling
            Settings ``sampler``, ``num_steps``, ``guidance_scale`` and ``negative_prompt``, as in :meth:`predict`.

        Returns
        -------
        matrix : ndarray of shape (n_components, n_components)
            Matrix of the map from starting noise of standard deviation 1 to the latent (with `times`, `stop` or
            `at`, to the state at the last time). The state at the first time is sigma times the starting noise.
        offset : ndarray of shape (n_components,)
            Offset of the map. The noise that a stochastic sampler adds is not part of it (see :meth:`law`).

        Raises
        ------
        ValueError
            If the prompt has several styles, each of which has its own map: name one, as ``"7~0"``.

        See Also
        --------
        law : The law that this map gives to its values.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion(20).fit(*load_digits())
        >>> matrix, offset = ld.affine("7", sampler="heun", num_steps=30)
        >>> noise = np.ones(20)
        >>> image = ld.predict(["7"], latents=[noise], sampler="heun", num_steps=30)
        >>> bool(np.allclose(ld.decode(matrix @ noise + offset), image[0], atol=1e-3))
        True
        """
        fitted = self.fitted_
        course = self._course(times, stop, at)
        (x, *others), _ = fitted.maps(self._resolve_one(fitted, prompt, sampling, course=course))
        if others:
            raise ValueError(f"{prompt!r} has {1 + len(others)} styles, each a map; name one, as in '7~0'")
        return x.matrix[0].T.copy(), x.offset[0].copy()

    def law(
        self,
        prompt: Any,
        *,
        times: Any = None,
        start: str | Gaussian = "noise",
        stop: float | None = None,
        at: int | None = None,
        space: str = "latents",
        **sampling: Unpack[SamplerSettings],
    ) -> Gaussian | Mixture:
        """Return the law of the latents that the sampler draws for this prompt.

        Parameters
        ----------
        prompt : str or dict, or array-like of shape (k,)
            One prompt, weights of prompts, or an embedding.
        times : array-like of shape (num_steps + 1,), default=None
            Falling times to visit, as in :meth:`affine`.
        start : {"noise", "marginal"} or Gaussian, default="noise"
            Law of the state at the first time: noise of standard deviation sigma, as :meth:`predict` starts from;
            that of alpha z + sigma n, z from the data's law under the prompt (without guidance, each style from its
            own), which leaves the errors of the steps alone; or any Gaussian of ``n_components_`` entries.
        stop : float, default=None
            Time at which sampling ends, as in :meth:`affine`.
        at : int, default=None
            Number of steps that are taken, as in :meth:`affine`.
        space : {"latents", "pixels"}, default="latents"
            Whether the law is that of the latents or that of the flattened images which they decode to, before
            ``contrast``: under a contrast the law of finished pictures is not Gaussian.
        **sampling
            Settings ``sampler``, ``num_steps``, ``guidance_scale`` and ``negative_prompt``, as in :meth:`predict`.

        Returns
        -------
        Gaussian, or Mixture of the prompt's styles
            Law of the latents; with `times`, `stop` or `at`, of the state at the last time.

        See Also
        --------
        affine : The map from starting noise to latents.
        Gaussian.wasserstein : The distance of two laws.

        Examples
        --------
        The error of Heun's method, and the error of starting from noise alone, which no number of steps removes:

        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion(40, schedule="vp").fit(*load_digits())
        >>> data = ld.law("7", start="marginal")  # by the exact sampler
        >>> for start in ("marginal", "noise"):
        ...     laws = [ld.law("7", sampler="heun", num_steps=n, start=start) for n in (20, 80, 320)]
        ...     print([round(law.wasserstein(data), 4) for law in laws])
        [0.0084, 0.0005, 0.0]
        [0.0322, 0.0284, 0.0282]
        """
        if space not in ("latents", "pixels"):
            raise ValueError(f'space must be "latents" or "pixels", got {space!r}')
        fitted = self.fitted_
        course, from_noise = self._course(times, stop, at), isinstance(start, str) and start == "noise"
        resolved = self._resolve_one(fitted, prompt, sampling, course=course, from_noise=from_noise)
        law = fitted.law(resolved, None if from_noise else self._start(fitted, prompt, start))
        return law if space == "latents" else fitted.pixel_law(law)

    def _start(self, fitted: FittedDiffusion, prompt: Any, start: Any) -> Gaussian | Request:
        """Check a law of the state at the first time that is not noise; a marginal is told by its request."""
        if isinstance(start, str) and start == "marginal":
            return self._resolve_one(fitted, prompt, {"guidance_scale": 1.0}, from_noise=False).request
        if not isinstance(start, Gaussian):
            raise TypeError(f'start must be "noise", "marginal" or a Gaussian, got {start!r:.200}')
        if start.dim != fitted.d:
            raise ValueError(f"the Gaussian of the start must have {fitted.d} entries, got {start.dim}")
        return start

    @staticmethod
    def _course(times: Any, stop: float | None, at: int | None) -> Course:
        """Check the times that a sampler visits."""
        if times is None:
            return Course(None, stop, at)
        given = to_array(times).astype(np.float64)
        if given.ndim != 1 or len(given) < 2 or not np.isfinite(given).all():
            raise ValueError(f"times must be two or more finite numbers in one dimension, got {times!r:.200}")
        return Course(tuple(given.tolist()), stop, at)

    def encode(self, images: Any) -> Array:
        """Return the latents of images.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape)
            Images, in pixel units.

        Returns
        -------
        ndarray of shape (n, n_components)
            Latents: for a linear encoder (x - mean) V / s.

        See Also
        --------
        decode : The inverse of this map on the images that the encoder can represent.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion.from_gaussian([4.0], [9.0])
        >>> ld.encode([[4.0], [10.0]])
        array([[0.],
               [2.]])
        """
        n = len(images) if np.ndim(images) else 0
        return self._encoder().encode(check_images(images, n, self.image_shape_))  # type: ignore[no-any-return]

    def decode(self, latents: Any) -> Images:
        """Return the images of latents, without contrast.

        Parameters
        ----------
        latents : array-like or Tensor of shape (..., n_components)
            Latents.

        Returns
        -------
        ndarray or Tensor of shape (..., \\*image_shape)
            Images, in pixel units.

        See Also
        --------
        encode : The latents of images.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> LinearDiffusion.from_gaussian([4.0], [9.0]).decode([2.0])
        array([10.])
        """
        refuse_masked(latents, "latents", "leave those rows out")
        array: Any = latents.detach() if is_tensor(latents) else to_array(latents).astype(np.float64)
        d = self.n_components_
        if array.ndim == 0 or array.shape[-1] != d:
            raise ValueError(f"latents must have the shape (..., {d}), got {array.shape}")
        return self._encoder().decode(array)  # type: ignore[no-any-return]

    # ------------------------------------------------------------------ likelihood and classes

    def score_samples(self, images: Any, prompts: Prompts = None, **sampling: Unpack[SamplerSettings]) -> Array:
        """Return the log-density of each image, in pixel units.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape)
            Images. NaN and masked pixels are missing: the density is that of the others. Pixels more than 1e12
            standard deviations from the mean are refused, here and in all other methods that use the density.
        prompts : list of str or dict, or array-like of shape (n, k), default=None
            Prompts of the images; None for any of the known prompts, by their frequency.
        **sampling
            Settings of the sampler, as in :meth:`affine`: the density is that of what it draws.

        Returns
        -------
        ndarray of shape (n,)
            Log-density in nats, proper in pixel space: the directions that the encoder discards have their mean
            residual variance (Tipping and Bishop 1999), and every direction at least the variance of rounding
            to 256 levels. Known Gaussians of full rank have no such bound, see :meth:`from_gaussian`.

        See Also
        --------
        score : The mean log-density under the images' prompts.
        typicality : The tail probability of a log-density.

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
        fitted = self.fitted_
        rows, missing = self._check_rows(images)
        resolved = self._resolve_images(fitted, len(rows), prompts, sampling)
        return inference.score(fitted, rows, missing, resolved)

    def typicality(self, images: Any, prompts: Prompts = None, **sampling: Unpack[SamplerSettings]) -> Array:
        """Return the typicality of each image: the two-sided tail probability of its log-density.

        Noise is less likely than draws of the law, and a plain image near the mean is likelier than all of them:
        both are atypical, while log-densities would call the plain image the best.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape)
            Images. NaN and masked pixels are missing.
        prompts : list of str or dict, or array-like of shape (n, k), default=None
            Prompts of the images. With prompts an image must be typical of its own prompt, without them of all
            prompts together.
        **sampling
            Settings of the sampler, as in :meth:`affine`.

        Returns
        -------
        ndarray of shape (n,)
            Probability of a log-density at least as far from the median, between 0 and 1. For one Gaussian it is
            that of a chi-square variable; for several prompts or styles it is exact where they do not overlap.
            Draws of the law, residual included, have uniform typicalities. Real images have smaller ones, because
            their tails are heavier than a Gaussian's; those of large photographs may all lie below 1e-300. Such
            a number only keeps its order, so compare typicalities with those of held-out images.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion(40).fit(prompts[100:], images[100:])
        >>> real, plain = ld.typicality(images[:100]), ld.typicality(np.full((1, 8, 8), 8.0))
        >>> bool(np.mean(real > plain) > 0.98)
        True
        """
        fitted = self.fitted_
        rows, missing = self._check_rows(images)
        resolved = self._resolve_images(fitted, len(rows), prompts, sampling)
        return inference.typicality(fitted, rows, missing, resolved)

    def bits_per_dim(self, images: Any, prompts: Prompts = None, **sampling: Unpack[SamplerSettings]) -> Array:
        """Return the bits per dimension of each image, -log2 p(x) / D, at 256 levels of the data's range.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape)
            Images. NaN and masked pixels are missing.
        prompts : list of str or dict, or array-like of shape (n, k), default=None
            Prompts of the images; None for any of the known prompts, by their frequency.
        **sampling
            Settings of the sampler, as in :meth:`affine`.

        Returns
        -------
        ndarray of shape (n,)
            Bits per dimension; where pixels are missing, per dimension that is there.

        See Also
        --------
        score_samples : The log-density in nats.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion.from_gaussian([128.0], [100.0], pixel_range=(0.0, 255.0))
        >>> ld.bits_per_dim([[128.0]]).round(3)  # log2(10 sqrt(2 pi)) grey levels
        array([4.648])
        """
        log_prob = self.score_samples(images, prompts, **sampling)
        low, high = self.pixel_range_
        seen = (~self._check_rows(images)[1]).sum(axis=1)
        return np.asarray(-(log_prob / np.maximum(seen, 1) + np.log((high - low or 1.0) / 255)) / np.log(2))

    def score(self, X: Prompts, y: Any) -> float:
        """Return the mean log-density of images given their prompts, for model selection.

        Parameters
        ----------
        X : list of str, or array-like of shape (n, k)
            Prompts.
        y : array-like of shape (n, \\*image_shape)
            Images.

        Returns
        -------
        float
            Nats per image; higher is better. The density is proper in pixel space, so models with different
            ``n_components`` and ``n_styles`` can be compared, as
            :class:`sklearn.model_selection.GridSearchCV` does. Every fold must have every prompt:
            ``cv=list(StratifiedKFold(3).split(prompts, prompts))``.

        See Also
        --------
        score_samples : The log-density of each image.
        bic : A criterion that needs no held-out images.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> few, more = (LinearDiffusion(n).fit(prompts[500:], images[500:]) for n in (5, 30))
        >>> more.score(prompts[:500], images[:500]) > few.score(prompts[:500], images[:500])
        True
        """
        return float(self.score_samples(y, X).mean())

    def bic(self, X: Prompts, y: Any) -> float:
        """Return the Bayesian information criterion, -2 log p(y | X) + k log n.

        The likelihood is exact, and k is ``n_parameters_``, the number of free parameters of the law: of the
        encoder, of every prompt's or style's mean and covariance, and of the styles' frequencies. A covariance of
        n images has at most rank n - 1 and the parameters of that rank, and a shrunk covariance counts by the
        trace of its smoother (complexity.py).

        Parameters
        ----------
        X : list of str, or array-like of shape (n, k)
            Prompts of the training images.
        y : array-like of shape (n, \\*image_shape)
            Training images.

        Returns
        -------
        float
            Criterion in nats, summed over the images; the lower, the better.

        See Also
        --------
        aic : The criterion of Akaike.
        score : The mean log-density, for held-out images.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> few, more = (LinearDiffusion(n).fit(prompts, images) for n in (5, 30))
        >>> more.bic(prompts, images) < few.bic(prompts, images)
        True
        """
        log_prob = self.score_samples(y, X)
        return float(-2 * log_prob.sum() + self.n_parameters_ * np.log(len(log_prob)))

    def aic(self, X: Prompts, y: Any) -> float:
        """Return the Akaike information criterion, -2 log p(y | X) + 2 k.

        Parameters
        ----------
        X : list of str, or array-like of shape (n, k)
            Prompts of the training images.
        y : array-like of shape (n, \\*image_shape)
            Training images.

        Returns
        -------
        float
            Criterion in nats, summed over the images; the lower, the better.

        See Also
        --------
        bic : The criterion that penalises parameters by log n, where they are counted.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> prompts, images = ["", "", ""], [[0.0], [1.0], [5.0]]
        >>> ld = LinearDiffusion(shrinkage=0).fit(prompts, images)
        >>> round(ld.aic(prompts, images) + 2 * 3 * ld.score(prompts, images), 6)  # 2 k: a mean and a variance
        4.0
        """
        return float(-2 * self.score_samples(y, X).sum() + 2 * self.n_parameters_)

    def classify_proba(self, images: Any, **sampling: Unpack[SamplerSettings]) -> Array:
        """Return the probability of each known prompt, by Bayes' rule.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape)
            Images. NaN and masked pixels are missing.
        **sampling
            Settings of the sampler, as in :meth:`affine`.

        Returns
        -------
        ndarray of shape (n, n_prompts)
            Probabilities in the order of ``prompts_``; every row sums to 1. They are those of the model, which
            are too sure of real images, unless :meth:`calibrate` fitted a temperature.

        See Also
        --------
        classify : The most probable prompt.
        calibrate : Fit the temperature of these probabilities.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> two = LinearDiffusion.from_gaussian([[0.0], [4.0]], [[1.0], [1.0]], prompt=["left", "right"])
        >>> two.classify_proba([[2.0], [3.0]]).round(3)
        array([[0.5  , 0.5  ],
               [0.018, 0.982]])
        """
        fitted = self.fitted_
        rows, missing = self._check_rows(images)
        resolved = self._resolve_images(fitted, len(rows), None, sampling)
        return inference.classify(fitted, rows, missing, resolved)

    def classify(self, images: Any, **sampling: Unpack[SamplerSettings]) -> NDArray[np.str_]:
        """Return the most probable prompt of each image.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape)
            Images. NaN and masked pixels are missing.
        **sampling
            Settings of the sampler, as in :meth:`affine`.

        Returns
        -------
        ndarray of str, shape (n,)
            Prompts; those of integer labels are their decimal names. Most products are in single precision. Where
            its rounding could change a label, the image is compared again in double precision, so the labels are
            those of :meth:`classify_proba`, which uses double precision throughout.

        See Also
        --------
        classify_proba : The probability of each prompt.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion(30).fit(prompts[:1000], images[:1000])
        >>> float((ld.classify(images[1000:]) == prompts[1000:]).mean()) > 0.9
        True
        """
        fitted = self.fitted_
        rows, missing = self._check_rows(images)
        resolved = self._resolve_images(fitted, len(rows), None, sampling)
        return np.asarray(self.prompts_[inference.labels(fitted, rows, missing, resolved)])

    def calibrate(self, prompts: Prompts, images: Any, mask: Any = None) -> Self:
        """Fit the temperature of the likelihood that prompts are inferred by, on held-out images.

        The temperature T has the least Brier score of the right prompts. Afterwards ``classify_proba``, and
        ``inpaint`` and ``restore`` without prompts, use p(prompt) p(image | prompt)^(1 / T), normalised. A model
        that was not calibrated has T = 1, and its probabilities of real images are too near 0 and 1.
        ``save_pretrained`` keeps T; ``fit``, ``partial_fit``, ``partial_fit_styles``, ``forget``, ``merge``, and a
        ``refit`` that solves the model anew, set it to 1.

        Parameters
        ----------
        prompts : list of str
            Right prompts of the images: known ones, without styles.
        images : array-like of shape (n, \\*image_shape)
            Images that the model was not fitted to. NaN pixels are missing.
        mask : array-like of bool, of shape image_shape or (n, \\*image_shape), default=None
            True where a pixel is missing too. The temperature depends on how much is seen: hide here what is
            hidden in the images that the probabilities are for.

        Returns
        -------
        LinearDiffusion
            The model itself.

        Raises
        ------
        ValueError
            If the model has fewer than two prompts or knows no frequency of them, if a prompt is unknown, or if the
            images determine no temperature because every right prompt, or none, is the likeliest.

        References
        ----------
        Guo et al. (2017), On calibration of modern neural networks. ICML.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> ld = LinearDiffusion(40).fit(prompts[:1000], images[:1000])
        >>> lower_half = np.arange(8)[:, None] >= np.full(8, 4)
        >>> ld.calibrate(prompts[1000:1400], images[1000:1400], lower_half).temperature_ > 2
        True
        """
        check_is_fitted(self)
        learned = self._learned
        fitted = learned.fitted
        rows, missing = self._check_rows(images)
        if mask is not None:
            missing = missing | check_mask(mask, len(rows), self.image_shape_)
        resolved = self._resolve_images(fitted, len(rows), None, {})
        known = fitted.statistics.prompts
        if len(known) < 2:
            raise ValueError(f"this model has one prompt, {known[0]!r}: there is nothing to calibrate")
        words = check_prompts(prompts)
        if words is None:
            raise ValueError(f"calibrate needs the right prompt of each image as a string, got {prompts!r:.200}")
        if len(words) != len(rows):
            raise ValueError(f"{len(words)} prompts for {len(rows)} images; pass one prompt per image")
        found = inference.temperature(fitted, rows, missing, resolved, symbols(words, known))
        return self._adopt(training.calibrated(learned, found))

    # ------------------------------------------------------------------ posteriors

    def inpaint(
        self,
        images: Any,
        mask: Any = None,
        prompts: Prompts = None,
        seed: Seed = None,
        n_samples: int | None = None,
        *,
        return_prompts: bool = False,
        residual_noise: bool = False,
        **sampling: Unpack[SamplerSettings],
    ) -> Any:
        """Draw the missing pixels of images from the exact posterior, given the other pixels.

        Parameters
        ----------
        images : array-like of shape (n, \\*image_shape)
            Images. NaN and masked pixels are missing.
        mask : array-like of bool, of shape image_shape or (n, \\*image_shape), default=None
            True where a pixel is missing too: one mask for all images, or one per image.
        prompts : list of str or dict, or array-like of shape (n, k), default=None
            Prompts of the images. With None each draw draws the prompt too, from its posterior.
        seed : int, list of int or None, default=None
            As in :meth:`predict`.
        n_samples : int, default=None
            Number of draws per image; None for one, without an axis for it, and 0 for the posterior mean.
        return_prompts : bool, default=False
            Whether to return the drawn prompts too (with the mean, the most probable ones).
        residual_noise : bool, default=False
            Whether a draw has the variance that the encoder discards, as white noise in the missing pixels. By
            default the latent is drawn from its exact posterior, and the discarded part of the image has its
            conditional mean given the latent and the known pixels.
        **sampling
            Settings of the sampler, as in :meth:`affine`.

        Returns
        -------
        images : ndarray of shape (n, \\*image_shape) or (n, n_samples, \\*image_shape)
            Images in pixel units; pixels that are not missing stay as they are. Drawn pixels have the
            model's contrast, the mean has none.
        prompts : ndarray of str, shape (n,) or (n, n_samples)
            Prompts of the draws; only with ``return_prompts``.

        See Also
        --------
        restore : The posterior given any linear measurements.

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
        fitted = self.fitted_
        rows, missing = self._check_rows(images)
        if mask is not None:
            missing = missing | check_mask(mask, len(rows), self.image_shape_)
        draws = self._check_n_samples(n_samples)
        resolved = self._resolve_images(fitted, len(rows), prompts, sampling)
        reduced = inference.reduce_pixels(fitted, rows, missing)
        found, read = inference.posterior(fitted, reduced, len(rows), resolved, seed, draws, residual_noise)
        known = np.where(missing, 0.0, to_numpy(rows).astype(found.dtype))
        found = np.where(missing[:, None], found, known[:, None])
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
        residual_noise: bool = False,
        **sampling: Unpack[SamplerSettings],
    ) -> Any:
        """Draw images from the exact posterior given linear measurements ``operator @ image + noise``.

        Parameters
        ----------
        measurements : array-like of shape (n, m)
            Measurements, or (n, ...) with m numbers each, in pixel units.
        operator : array-like, scipy sparse matrix or LinearOperator of shape (m, D)
            Matrix that measures the flattened image; :mod:`lineardiffusion.operators` makes some. Its rows may
            have any units.
        noise_std : float
            Standard deviation of the noise, in pixel units; 0 for none.
        prompts : list of str or dict, or array-like of shape (n, k), default=None
            Prompts of the images. With None each draw draws the prompt too, from its posterior.
        seed : int, list of int or None, default=None
            Seed, as in :meth:`predict`.
        n_samples : int, default=None
            Number of draws per image; None for one, without an axis for it, and 0 for the posterior mean.
        return_prompts : bool, default=False
            Whether to return the drawn prompts too (with the mean, the most probable ones).
        residual_noise : bool, default=False
            Whether a draw has the variance that the encoder discards, as in :meth:`inpaint`.
        **sampling
            Settings of the sampler, as in :meth:`affine`.

        Returns
        -------
        images : ndarray of shape (n, \\*image_shape) or (n, n_samples, \\*image_shape)
            Images in pixel units. Without noise and contrast ``operator @ image`` is the measurement again.
        prompts : ndarray of str, shape (n,) or (n, n_samples)
            Prompts of the draws; only with ``return_prompts``.

        See Also
        --------
        inpaint : The posterior given some of the pixels.
        lineardiffusion.operators.downsampling : The matrix of one such measurement.

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
        fitted = self.fitted_
        pixel_model = fitted.require_pixel_model()
        A = check_operator(operator, len(pixel_model.scale))
        real = isinstance(noise_std, int | float | np.number) and not isinstance(noise_std, bool)
        if not real or not 0 <= noise_std < np.inf:
            raise ValueError(f"noise_std must be 0 or more and finite, in pixel units; got {noise_std!r}")
        refuse_masked(measurements, "measurements", "leave out the rows of the operator that were not measured")
        y = to_array(measurements)
        if y.ndim < 2 or math.prod(y.shape[1:]) != A.shape[0]:
            raise ValueError(
                f"measurements must have the shape (n, {A.shape[0]}), as many numbers as the operator has "
                f"rows; got {y.shape}"
            )
        if y.dtype.kind not in "buif" or not np.isfinite(y).all():
            raise ValueError("measurements must be finite real numbers; leave out rows that were not measured")
        draws = self._check_n_samples(n_samples)
        resolved = self._resolve_images(fitted, len(y), prompts, sampling)
        double = y.dtype.kind == "f" and y.itemsize == 8
        measurement = Measurement.of(pixel_model, A, min(float(noise_std), 1e200), EXACT if double else ROUNDED)
        values = measurement.reduce(y.reshape(len(y), A.shape[0]).astype(np.float64))
        reduced = [(np.arange(len(y)), measurement, values)]
        found, read = inference.posterior(fitted, reduced, len(y), resolved, seed, draws, residual_noise)
        return self._restored(found, read, prompts, n_samples, return_prompts)

    def invert(self, prompts: Prompts, images: Any, **sampling: Unpack[SamplerSettings]) -> Array:
        """Return the starting noise that the sampler maps to these images' latents.

        Under another prompt that noise draws an image in the same handwriting:
        ``predict(["8"] * n, latents=invert(["3"] * n, images))``.

        Parameters
        ----------
        prompts : list of str or dict, or array-like of shape (n, k)
            Prompts of the images.
        images : array-like of shape (n, \\*image_shape)
            Images.
        **sampling
            Settings of the sampler, as in :meth:`affine`.

        Returns
        -------
        ndarray of shape (n, n_components)
            Starting noise, for ``predict(latents=...)``.

        Raises
        ------
        ValueError
            If the sampler adds noise, or its map has no inverse: all starting noise in some direction is mapped
            to one point. The maps of styles have one only where a style is drawn in every direction.

        See Also
        --------
        flow : The probability flow between any two times.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> two = LinearDiffusion.from_gaussian([[0.0], [9.0]], [[1.0], [4.0]], prompt=["left", "right"])
        >>> two.predict(["right"], latents=two.invert(["left"], [[1.5]])).round(6)  # 9 + 2 * 1.5
        array([[12.]])
        """
        fitted = self.fitted_
        latents = to_numpy(fitted.encoder.encode(check_images(images, _num_samples(prompts), self.image_shape_)))
        resolved = self._resolve_images(fitted, len(latents), prompts, sampling)
        return inference.invert(fitted, latents, resolved)

    # ------------------------------------------------------------------ saving

    def save_pretrained(self, path: str | Path, *, precision: str = "full") -> None:
        """Write the model to a folder, as one file ``model.safetensors``.

        The folder is made if need be, and a model in it is replaced in one step. ``config.json`` is written
        beside it for people and for the Hub, and is never read.

        Parameters
        ----------
        path : str or Path
            Folder of the model.
        precision : {"full", "half", "low_rank"}, default="full"
            With "full" the loaded model draws the same pixels to the last bit. "half" stores the scatters of
            prompts and styles in a quarter of the space or less: means are whole, variances keep six digits,
            and correlations three. "low_rank" stores of each style only the directions that it is drawn in, with
            2 digits an entry, and of all other directions one scatter for all styles together; models without
            styles, or with styles that prompts share, are stored as with "half". Pictures are as good as before,
            and images are scored almost as well. The loaded model continues to learn, but a style from which
            images are forgotten is an approximation of what it would have been, and so is one that is drawn in
            more directions (`style_rank`).

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For a parameter that no such file can hold: a function, a transformer or a random state.

        See Also
        --------
        from_pretrained : Load a model.
        push_to_hub : Upload a model to the Hugging Face Hub.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion().fit(*load_digits())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ld.save_pretrained(folder)
        ...     again = LinearDiffusion.from_pretrained(folder)
        >>> np.array_equal(ld.predict(["7"], seed=137), again.predict(["7"], seed=137))
        True
        """
        check_is_fitted(self)
        statistics, embedding = self._learned.statistics, None
        if not statistics.prompts:
            names = getattr(self, "feature_names_in_", None)
            embedding = {"size": int(self.n_features_in_), "names": None if names is None else list(names)}
        solved_by = self._learned.parameters, self._learned.temperature
        model_file.save(Path(path), statistics, *solved_by, embedding, precision, __version__)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> Self:
        """Load a model.

        Parameters
        ----------
        name_or_path : str or Path
            A folder that :meth:`save_pretrained` wrote, the name of a model that ships with the library
            (``"mnist"``, ``"fashion-mnist"``), or ``"owner/name"`` of one on the Hugging Face Hub
            (``pip install "linear-diffusion[hub]"``). The first of these that exists; only the last uses the
            network.
        revision : str, default=None
            Branch, tag or commit on the Hub; None for the newest.
        token : str, default=None
            Access token for a private model on the Hub; None for the one of ``hf auth login``.

        Returns
        -------
        LinearDiffusion
            The model with the parameters that it was solved with. It continues with ``partial_fit`` and
            ``merge`` where the saved one could.

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ImportError
            For a model on the Hub, without the package that downloads it.
        ValueError
            If the file was truncated or altered, or is not one of this library; the message names the file.

        See Also
        --------
        save_pretrained : Write a model to a folder.

        Examples
        --------
        >>> import tempfile
        >>> from lineardiffusion import LinearDiffusion
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     LinearDiffusion.from_gaussian([4.0], [9.0]).save_pretrained(folder)
        ...     LinearDiffusion.from_pretrained(folder).law("", space="pixels").mean
        array([4.])
        """
        statistics, parameters, temperature, embedding = model_file.load(locate(name_or_path, revision, token))
        model = cls(**parameters.raw())
        if embedding is not None:
            model.n_features_in_ = embedding["size"]
            if embedding.get("names") is not None:
                model.feature_names_in_ = np.array(embedding["names"], dtype=object)
        return model._adopt(Learned(statistics, parameters, temperature))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model and its card to the Hugging Face Hub (``pip install "linear-diffusion[hub]"``).

        Parameters
        ----------
        repo_id : str
            ``"owner/name"`` of the repository, which is made if need be.
        **options
            ``private=False``: whether a repository that is made is private. ``token=None``: access token, by
            default that of ``hf auth login``. ``commit_message="Upload a lineardiffusion model"``.
            ``license="mit"``: name, on the Hub, of the model's license. ``precision="full"``: as in
            :meth:`save_pretrained`.

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        ImportError
            Without the package ``huggingface_hub``.

        See Also
        --------
        from_pretrained : Load a model from the Hub.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> ld = LinearDiffusion.from_gaussian([4.0], [9.0])
        >>> ld.push_to_hub("owner/gaussian", private=True)  # doctest: +SKIP
        """
        return hub.push(self, repo_id, **options)

    # ------------------------------------------------------------------ attributes

    @property
    def statistics_(self) -> Statistics:
        check_is_fitted(self)
        return self._learned.statistics

    @property
    def fitted_(self) -> FittedDiffusion:
        if "_learned" not in vars(self):
            check_is_fitted(self)
        return self._learned.fitted

    @property
    def prompts_(self) -> NDArray[np.str_]:
        if not self.statistics_.prompts:
            raise AttributeError("this model has no prompts_: its prompts are embeddings")
        return np.array(self.statistics_.prompts)

    @property
    def prompt_prior_(self) -> Array:
        moments = self.statistics_.moments
        if not isinstance(moments, Moments):
            raise AttributeError(
                "joint moments keep no frequency of prompts, neither of embeddings nor of so many prompts that "
                "one block each would be too large"
            )
        return np.asarray(moments.weight / moments.weight.sum())

    @property
    def image_shape_(self) -> tuple[int, ...]:
        return self.statistics_.image_shape

    @property
    def pixel_range_(self) -> tuple[float, float]:
        return self.statistics_.pixel_range

    @property
    def pixel_dtype_(self) -> np.dtype[Any]:
        return self.statistics_.pixel_dtype

    @property
    def styles_(self) -> dict[str, tuple[Array, Images]]:
        styles = self.statistics_.styles
        if styles is None:
            raise AttributeError('this model has no styles; fit with n_styles=2 or more, or "auto"')
        weight, owner = styles.moments.weight, styles.clusters.prompt
        mean = np.where(weight[:, None] > 0, styles.moments.mean, styles.clusters.centres)
        return {
            prompt: (weight[owner == u], self.decode(mean[owner == u]))
            for u, prompt in enumerate(self.statistics_.prompts)
        }

    @property
    def style_rank_(self) -> float:
        styles, rank = self.statistics_.styles, self._learned.parameters.style_rank
        if styles is None:
            raise AttributeError('this model has no styles; fit with n_styles=2 or more, or "auto"')
        return styles.rank if isinstance(rank, str) else float(rank)

    @property
    def contrast_(self) -> Contrast | None:
        return self.fitted_.contrast

    @property
    def temperature_(self) -> float:
        check_is_fitted(self)
        return self._learned.temperature

    @property
    def image_encoder_(self) -> Any:
        return self._encoder()

    @property
    def n_components_(self) -> int:
        encoder = self._encoder()
        return len(encoder.components) if isinstance(encoder, ImageEncoder) else self.fitted_.d

    @property
    def mean_(self) -> Array:
        return self._linear_encoder().mean

    @property
    def components_(self) -> Array:
        return self._linear_encoder().components

    @property
    def scaling_factor_(self) -> float:
        return self._linear_encoder().scaling_factor

    @property
    def explained_variance_ratio_(self) -> Array:
        return self._linear_encoder().explained_variance_ratio

    @property
    def n_parameters_(self) -> float:
        return n_parameters(self.fitted_)

    @property
    def shrinkage_(self) -> dict[str, float]:
        fitted = self.fitted_
        if fitted.shrinkage is None:
            raise AttributeError("the covariances of this model are not shrunk: it is a regression")
        return dict(zip(fitted.statistics.prompts, fitted.shrinkage.tolist(), strict=True))

    # ------------------------------------------------------------------ checks

    def _parameters(self) -> Parameters:
        return Parameters(**self.get_params(deep=False))

    def _adopt(self, learned: Learned, embeddings: Any = None) -> Self:
        """Make a new model this estimator's; `embeddings` are its prompts, if they are numbers."""
        if embeddings is not None:
            validate_data(self, embeddings, reset=True, skip_check_array=True)
        if learned.statistics.prompts:
            self.__dict__.pop("n_features_in_", None)
            self.__dict__.pop("feature_names_in_", None)
        self.__dict__.pop("_basis", None)
        self._learned = learned
        return self

    def _encoder(self) -> Any:
        if "_basis" in vars(self):
            return self._basis[0]
        check_is_fitted(self)
        return self._learned.encoder

    def _linear_encoder(self) -> ImageEncoder:
        encoder = self._encoder()
        if not isinstance(encoder, ImageEncoder):
            raise AttributeError("the image encoder of this model is not linear")
        return encoder

    def _check_batch(
        self,
        X: Prompts,
        y: Any,
        sample_weight: Any,
        like: Statistics | Batch | None,
        missing: bool = False,
        whole: bool = False,
    ) -> Batch:
        """Check a batch, which goes on with data like others; with `missing`, some pixels may be NaN.

        A batch that is the `whole` data set may have weights of any size.
        """
        strings = check_prompts(X)
        n = len(strings) if strings is not None else _num_samples(X)
        images = check_images(y, n, None if like is None else like.image_shape, missing) if n else y
        if strings is None and n and images.ndim == 1 and images.dtype.kind in "biu":
            raise ValueError("prompts come first, then images; got labels for the images")
        prompts: Any = strings
        if like is not None:
            self._check_kind(strings is not None, like.has_strings)
        if strings is None:
            if isinstance(like, Statistics):
                prompts = validate_data(self, X, dtype=np.float64, reset=False)
            else:
                prompts = check_array(X, dtype=np.float64, estimator=self)
            if isinstance(like, Batch) and prompts.shape[1] != like.prompts.shape[1]:
                sizes = f"{like.prompts.shape[1]} entries, and then of {prompts.shape[1]}"
                raise ValueError(f"embeddings must have as many entries in every batch, got some of {sizes}")
            if self.n_styles != 1:
                raise ValueError("embeddings have no styles: n_styles needs prompts that are strings")
        weight = None if sample_weight is None else check_sample_weight(sample_weight, prompts, whole)
        return Batch.of(prompts, images, weight)

    def _check_prompts(self, fitted: FittedDiffusion, X: Prompts) -> Any:
        """Check prompts of a fitted model: a list of strings and weights, or embeddings."""
        prompts = check_prompts(X, weights=True)
        if prompts is not None:
            self._check_kind(True, fitted.statistics.has_strings)
            return prompts
        if not fitted.statistics.prompts:
            X = validate_data(self, X, dtype=np.float64, reset=False)
        return check_array(X, dtype=np.float64)

    def _resolve(
        self, fitted: FittedDiffusion, prompts: Prompts, sampling: SamplerSettings, **how: Any
    ) -> Resolved:
        return fitted.resolve(self._check_prompts(fitted, prompts), sampling, **how)

    def _resolve_one(self, fitted: FittedDiffusion, prompt: Any, sampling: SamplerSettings, **how: Any) -> Resolved:
        """Resolve one prompt: a string, weights of prompts or an embedding."""
        if isinstance(prompt, str | Mapping) or np.ndim(prompt) == 0:
            return self._resolve(fitted, [prompt], sampling, **how)
        embedding = np.asanyarray(prompt)
        if embedding.ndim != 1 or embedding.dtype.kind not in "biuf":
            raise TypeError(f"expected one prompt, a string, weights or an embedding; got {prompt!r}")
        return self._resolve(fitted, embedding[None], sampling, **how)

    def _resolve_images(
        self, fitted: FittedDiffusion, n: int, prompts: Prompts, sampling: SamplerSettings
    ) -> Resolved:
        """Resolve the prompts of n images, or all known prompts where they are None."""
        checked = None if prompts is None else self._check_prompts(fitted, prompts)
        return inference.resolve(fitted, n, checked, sampling)

    @staticmethod
    def _check_kind(strings: bool, expected: bool) -> None:
        if strings != expected:
            has, got = ("strings", "embeddings") if expected else ("embeddings", "strings or labels")
            raise ValueError(f"this model was fitted on prompts that are {has}, got {got}")

    def _drawing(
        self,
        fitted: FittedDiffusion,
        prompts: Prompts,
        seed: Seed,
        latents: Any,
        start: Any,
        strength: float,
        every_step: bool,
        sampling: SamplerSettings,
    ) -> Drawing:
        """Check the inputs of a drawing."""
        how = {"every_step": every_step, "strength": 1.0 if start is None else strength}
        resolved = self._resolve(fitted, prompts, sampling, **how)
        n, d = len(resolved.request), fitted.d
        if latents is not None:
            refuse_masked(latents, "latents", "draw those rows from a seed")
            latents = to_array(latents).astype(np.float64)
            if latents.shape != (n, d):
                raise ValueError(f"latents must have the shape {(n, d)}, got {latents.shape}")
            if not np.isfinite(latents).all():
                raise ValueError("latents must be finite, but some are NaN or infinite")
        images = None if start is None else check_images(start, n, self.image_shape_)
        return fitted.drawing(resolved, seed, latents, images)

    def _check_rows(self, images: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return images as rows (n, D), and which of their pixels are NaN."""
        n = len(images) if np.ndim(images) else 0
        if not n:
            shape = ", ".join(map(str, self.image_shape_))
            raise ValueError(f"no images: expected an array of shape (n, {shape}), got {np.shape(images)}")
        array = check_images(images, n, self.image_shape_, missing=True)
        rows = array.reshape(len(array), -1)
        may_miss = not is_tensor(rows) and rows.dtype.kind == "f"  # a tensor with NaN has come as an array
        return rows, np.isnan(rows) if may_miss else np.zeros(tuple(rows.shape), bool)

    @staticmethod
    def _check_n_samples(n_samples: int | None) -> int:
        return 1 if n_samples is None else check_integer(n_samples, "n_samples", 0)

    def _restored(
        self, found: Images, read: NDArray[np.intp], prompts: Prompts, n_samples: int | None, with_prompts: bool
    ) -> Any:
        """Return images, and prompts if asked, without the axis of draws unless a number was given."""
        n, m, _ = found.shape
        images = found.reshape(n, m, *self.image_shape_)
        if prompts is None:
            names: Any = self.prompts_[read]
        else:
            strings = check_prompts(prompts, weights=True)
            names = np.repeat(np.asarray(prompts if strings is None else strings)[:, None], m, axis=1)
        if not n_samples:
            images, names = images[:, 0], names[:, 0]
        return (images, names) if with_prompts else images

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what follows from the statistics and the parameters."""
        state: dict[str, Any] = super().__getstate__()
        if "_learned" in state:
            state = {**state, "_learned": replace(state["_learned"])}
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return "_learned" in vars(self)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.non_deterministic = True
        return tags
