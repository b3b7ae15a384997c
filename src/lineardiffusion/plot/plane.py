"""Draw the score field of a model of the plane, and the paths of its points from noise to data.

With noise of standard deviation sigma, the score is the gradient of the log-density of noisy points (Tweedie's
formula, alpha = 1):

    grad log p_sigma(x) = (D(x) - x) / sigma^2,        D(x) = E[x0 | x0 + sigma n = x]

Under several prompts u of frequency w_u the denoiser is that of their mixture:

    D(x) = sum_u p(u | x) D_u(x),                      p(u | x) proportional to w_u p_sigma(x | u)

Reference: Efron (2011), Tweedie's formula and selection bias, JASA 106.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from lineardiffusion._validation import check_integer
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.encoders.image import ImageEncoder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lineardiffusion.estimator import LinearDiffusion

__all__ = ["paths", "score_field"]

Array = NDArray[np.float64]

_STDS = 2.6  # standard deviations of the noisy points between the middle and the border of a field
_SHADES = 200  # cells of the density along a side
_LONGEST = 1.6  # length of the longest arrow, in distances of neighbouring arrows
_COLOURS = 10  # of matplotlib's cycle


def score_field(
    ld: LinearDiffusion,
    prompt: str | None = None,
    *,
    sigma: float,
    points: ArrayLike | None = None,
    n: int = 20,
    limits: tuple[float, float, float, float] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the score of noisy points of the plane as arrows, over their density.

    Parameters
    ----------
    ld : LinearDiffusion
        Model fitted on points, images of shape (2,).
    prompt : str, default=None
        Prompt, or one of its styles. None for the mixture of all prompts, by their frequency.
    sigma : float
        Standard deviation of the noise, in the unit of the points (of the standardised points if ``scale=True``).
    points : array-like of shape (m, 2), default=None
        Points to draw below the arrows in place of the density, for example the training data.
    n : int, default=20
        Number of arrows along each side. The lengths of the arrows are proportional to the score.
    limits : tuple of float (left, right, bottom, top), default=None
        Borders of the field; None for 2.6 standard deviations of the noisy points around their mean.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw into (default: those of a new figure).

    Returns
    -------
    matplotlib.figure.Figure
        Figure of the axes.

    Raises
    ------
    ValueError
        If the model's images are not of shape (2,), its encoder is not linear, it does not know the prompt,
        `sigma` is not positive, or `n` is below 2.

    See Also
    --------
    LinearDiffusion.denoise : The denoiser D.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> points, moon = make_moons(1000, noise=0.05, random_state=0)
    >>> ld = LinearDiffusion(n_styles=8).fit(["moon"] * 1000, points)
    >>> figure = plot.score_field(ld, "moon", sigma=0.2)
    >>> len(figure.axes[0].collections[-1].U)
    400
    """
    if ld.image_shape_ != (2,):
        raise ValueError(f"a score field is drawn in the plane, for images of shape (2,), not {ld.image_shape_}")
    check_integer(n, "n", 2)
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma must be positive and finite, in the unit of the points; got {sigma!r}")
    if prompt is None:
        prompts, frequencies = [str(one) for one in ld.prompts_], ld.prompt_prior_
    else:
        prompts, frequencies = [str(prompt)], np.ones(1)
    noise = (sigma * _scales(ld)) ** 2
    laws = [_noisy(ld, one, noise) for one in prompts]
    left, right, bottom, top = _limits(laws, frequencies) if limits is None else limits
    at = _lattice(left, right, bottom, top, n)
    shares = softmax(_log_probs(laws, frequencies, at), axis=0)
    each = np.stack([ld.denoise([one] * len(at), at, sigma) for one in prompts])
    clean = (shares[..., None] * each).sum(axis=0)
    score = (clean - at) / noise

    ax = _new_axes() if ax is None else ax
    if points is None:
        cells = _lattice(left, right, bottom, top, _SHADES)
        density = np.exp(logsumexp(_log_probs(laws, frequencies, cells), axis=0)).reshape(_SHADES, _SHADES)
        extent = (left, right, bottom, top)
        ax.imshow(density, cmap="Blues", extent=extent, origin="lower", interpolation="bilinear", vmin=0.0)
    else:
        x, y = np.transpose(np.asarray(points))
        ax.scatter(x, y, s=4, linewidths=0, color="tab:blue", alpha=0.5)
    spacing = min(right - left, top - bottom) / n
    longest = float(np.hypot(*score.T).max()) or 1.0
    ax.quiver(*at.T, *score.T, angles="xy", scale_units="xy", scale=longest / (_LONGEST * spacing), width=0.003)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"score at sigma = {sigma:g}", parse_math=False)
    return ax.figure.figure  # the second .figure leaves a subfigure


def _scales(ld: LinearDiffusion) -> Array:
    """Return the unit of the noise along each coordinate: 1, or the standard deviation if ``scale=True``."""
    encoder = ld.image_encoder_
    if not isinstance(encoder, ImageEncoder):
        raise ValueError("the density of noisy points needs a linear image encoder")
    return encoder.pixel_scale


def _noisy(ld: LinearDiffusion, prompt: str, noise: Array) -> Gaussian | Mixture:
    """Return the law of noisy points under one prompt."""
    law = ld.law(prompt, sampler="exact", guidance_scale=1.0, start="marginal", space="pixels")
    return law.transform(np.eye(2), noise_covariance=noise)


def _log_probs(laws: Sequence[Gaussian | Mixture], frequencies: Array, at: Array) -> Array:
    """Return the logarithms of w_u p_sigma(x | u), shape (prompts, points)."""
    return np.stack([np.log(w) + law.log_prob(at) for w, law in zip(frequencies, laws, strict=True)])


def _limits(laws: Sequence[Gaussian | Mixture], frequencies: Array) -> tuple[float, float, float, float]:
    """Return the borders of a square around the middle of all prompts."""
    means, weights = np.stack([law.mean for law in laws]), frequencies[:, None]
    mean = (weights * means).sum(axis=0)
    variances = np.stack([np.diag(law.covariance) for law in laws]) + (means - mean) ** 2
    half = _STDS * float(np.sqrt((weights * variances).sum(axis=0).max()))
    return mean[0] - half, mean[0] + half, mean[1] - half, mean[1] + half


def _lattice(left: float, right: float, bottom: float, top: float, n: int) -> Array:
    """Return the centres of n x n equal cells, row by row from the bottom, shape (n * n, 2)."""
    x, y = (low + (high - low) * (np.arange(n) + 0.5) / n for low, high in ((left, right), (bottom, top)))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def paths(
    ld: LinearDiffusion,
    prompts: Sequence[str],
    seed: int | Sequence[int] | None = None,
    *,
    points: ArrayLike | None = None,
    ax: Axes | None = None,
    **settings: Any,
) -> Figure:
    """Draw the path of each point from noise (hollow) to data (filled), step by step.

    Points of the plane are drawn where they are. Images of any other shape are drawn by the first two entries
    of their latents: with the default encoder, their first two principal components.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model.
    prompts : list of str or dict
        Prompts, one per path. Paths of one prompt have one colour.
    seed : int, list of int or None, default=None
        Seed of the noise, or one seed per prompt; see :meth:`LinearDiffusion.predict`.
    points : array-like of shape (m, 2), or images of shape (m, \\*image_shape_), default=None
        Data to draw below the paths.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw into (default: those of a new figure).
    **settings
        Further parameters of :meth:`LinearDiffusion.predict`, as ``sampler``, ``num_steps`` or ``latents``.

    Returns
    -------
    matplotlib.figure.Figure
        Figure of the axes. A path has ``num_steps + 1`` points. The last one belongs to the picture that
        ``predict`` draws with the same seed and settings; for a stochastic sampler, that it draws with
        ``return_trajectory=True``.

    Raises
    ------
    ValueError
        If the latents have one entry only, or the model does not know a prompt.

    See Also
    --------
    denoising : The same steps as pictures.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> points, moon = make_moons(1000, noise=0.05, random_state=0)
    >>> ld = LinearDiffusion(n_styles=8).fit(moon, points)
    >>> figure = plot.paths(ld, ["0"] * 10 + ["1"] * 10, seed=137, num_steps=30, points=points)
    >>> len(figure.axes[0].lines), figure.axes[0].lines[0].get_xydata().shape
    (20, (31, 2))
    """
    plane = ld.image_shape_ == (2,)
    if not plane and ld.n_components_ < 2:
        raise ValueError("paths are drawn by two entries of the latents; this model's latents have one")
    _, latents = ld.predict(prompts, seed, return_trajectory=True, **settings)
    steps, m = latents.shape[:2]
    drawn = ld.decode(latents.reshape(steps * m, -1)).reshape(steps, m, 2) if plane else latents[..., :2]

    ax = _new_axes() if ax is None else ax
    if points is not None:
        x, y = np.transpose(np.asarray(points) if plane else ld.encode(points)[:, :2])
        ax.scatter(x, y, s=4, linewidths=0, color="0.6", alpha=0.5)
    names = [str(prompt) for prompt in prompts]
    different = list(dict.fromkeys(names))
    colours = [f"C{different.index(name) % _COLOURS}" for name in names]
    for i, (path, colour) in enumerate(zip(drawn.swapaxes(0, 1), colours, strict=True)):
        label = f'"{names[i]}"' if names.index(names[i]) == i else None
        ax.plot(*path.T, color=colour, linewidth=0.8, alpha=0.7, marker=".", markersize=2, label=label)
    (x, y), (end_x, end_y) = drawn[0].T, drawn[-1].T
    ax.scatter(x, y, s=14, facecolors="white", edgecolors=colours, linewidths=0.8, zorder=3)
    ax.scatter(end_x, end_y, s=14, color=colours, linewidths=0, zorder=4)
    if len(different) > 1:
        ax.legend(frameon=False, fontsize=8)
    if plane:
        ax.set(xticks=[], yticks=[])
    else:
        ax.set(xlabel="first entry of the latent", ylabel="second entry of the latent")
        ax.spines[["top", "right"]].set_visible(False)
    ax.set_aspect("equal", adjustable="datalim")
    return ax.figure.figure


def _new_axes() -> Axes:
    from matplotlib.figure import Figure

    return Figure(figsize=(5, 5), layout="constrained").add_subplot()
