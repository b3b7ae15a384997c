"""Draw the parts of a fitted model.

encoder     z = V (x - mean) / s    principal components, the rows of V
law         z ~ N(m, C)             mean and pixels' standard deviation sqrt(diag J^T C J), where J decodes latents
sampler     z = M n + b             singular values of M, the square roots of the eigenvalues of C = M M^T
styles      m_0, m_1, ...           mean of each of a prompt's styles
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from lineardiffusion._validation import check_integer, check_prompts
from lineardiffusion.diffusion.samplers import Sampler, get_sampler
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.plot.images import check_columns, check_pictures, draw_grid, grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lineardiffusion.estimator import LinearDiffusion

__all__ = ["components", "means", "singular_values", "styles"]


def components(ld: LinearDiffusion, n: int = 20, *, columns: int = 10) -> Figure:
    """Draw the principal components, the directions in pixel space that the latents count along.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model.
    n : int, default=20
        Number of components, in falling order of variance.
    columns : int, default=10
        Number of components per row.

    Returns
    -------
    matplotlib.figure.Figure
        Figure with one axes per component: positive pixels are red, negative pixels blue, zero is white (grey
        if the images are in colour). The sign of a component is arbitrary.

    Raises
    ------
    ValueError
        If `n` or `columns` is below 1.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, datasets, plot
    >>> ld = LinearDiffusion().fit(*datasets.load_digits())
    >>> len(plot.components(ld, 8).axes)
    8
    """
    shown = ld.components_[: check_integer(n, "n")].reshape(-1, *ld.image_shape_)
    largest = float(abs(shown).max())
    captions = [str(i) for i in range(1, len(shown) + 1)]
    return grid(shown, captions=captions, columns=columns, cmap="RdBu_r", vmin=-largest, vmax=largest)


def means(ld: LinearDiffusion, prompts: Sequence[str] | None = None) -> Figure:
    """Draw the mean of each prompt's images, and below it the standard deviation of each pixel.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model.
    prompts : list of str, default=None
        Prompts to draw (default: all that the model knows).

    Returns
    -------
    matplotlib.figure.Figure
        Figure of the means in the range of the data, and below them the standard deviations from 0 (white) to
        the largest. Both belong to :meth:`~lineardiffusion.LinearDiffusion.law`, which does not include contrast.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, datasets, plot
    >>> ld = LinearDiffusion().fit(*datasets.load_digits())
    >>> len(plot.means(ld, ["4", "9"]).axes)
    4
    """
    names = [str(prompt) for prompt in (ld.prompts_ if prompts is None else prompts)]
    laws = [ld.law(name) for name in names]
    d = ld.n_components_
    decoding = (ld.decode(np.eye(d)) - ld.decode(np.zeros(d))).reshape(d, -1).astype(np.float64)
    variance = [np.einsum("ip,ij,jp->p", decoding, law.covariance, decoding, optimize=True) for law in laws]
    std = np.sqrt(np.maximum(variance, 0.0)).reshape(-1, *ld.image_shape_)
    mean = ld.decode(np.stack([law.mean for law in laws]))
    n, largest = len(names), float(std.max())
    scales = [("gray_r", *ld.pixel_range_)] * n + [("Reds", 0.0, largest)] * n
    captions = [f'"{name}"' for name in names] + [""] * n
    labels = ["mean", f"std, 0 to {largest:.3g}"]
    return draw_grid(check_pictures(np.concatenate([mean, std])), scales, n, captions, labels)


def singular_values(
    ld: LinearDiffusion,
    prompt: str,
    samplers: Sequence[Any] = ("exact",),
    *,
    num_steps: int | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the singular values of the samplers' maps from noise to latent, one line per sampler.

    The noise has standard deviation 1 in every direction, so a singular value is the standard deviation of the
    generated latents in one direction. A sampler below the exact sampler's line generates images with too
    little variety. The map of a stochastic sampler takes the noise of the start and of every step.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model.
    prompt : str
        Prompt whose maps are drawn. If the model has styles, the prompt must name one style, as ``"7~0"``.
    samplers : sequence of str or sampler, default=("exact",)
        Samplers to compare, by name or as objects that :class:`~lineardiffusion.LinearDiffusion` accepts.
    num_steps : int, default=None
        Number of steps of each sampler (default: the model's).
    ax : matplotlib.axes.Axes, default=None
        Axes to draw into (default: those of a new figure).

    Returns
    -------
    matplotlib.figure.Figure
        Figure of the axes, with a legend that gives sampler and number of steps.

    Raises
    ------
    ValueError
        If the model does not know the prompt or a sampler, or the prompt is a mixture of styles.
    TypeError
        If `samplers` is a single string.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, datasets, plot
    >>> ld = LinearDiffusion().fit(*datasets.load_digits())
    >>> figure = plot.singular_values(ld, "7", ["exact", "ddim"], num_steps=5)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['exact', 'ddim, 5 steps']
    """
    if isinstance(samplers, str):
        raise TypeError(f"samplers is the string {samplers!r}; expected a list, as [{samplers!r}]")
    steps = ld.fitted_.parameters.num_steps if num_steps is None else num_steps
    every = [get_sampler(one, num_steps if isinstance(one, Sampler) else steps) for one in samplers]
    lines = [(str(sampler), _singular_values(ld, prompt, sampler)) for sampler in every]
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(6, 3.6), layout="constrained").add_subplot()
    for label, values in lines:
        ax.plot(np.arange(1, len(values) + 1), values, label=label)
    ax.set(xlabel="direction", ylabel="singular value", yscale="log")
    ax.set_title(f'From noise to "{prompt}"', parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax.figure.figure  # the second .figure leaves a subfigure


def _singular_values(ld: LinearDiffusion, prompt: str, sampler: Sampler) -> NDArray[np.float64]:
    """Return the singular values in falling order, NaN where they are zero up to rounding."""
    law = ld.law(prompt, sampler=sampler)
    if isinstance(law, Mixture):
        raise ValueError(f"{prompt!r} is a mixture of styles, each with its own map; name one, as '7~0'")
    variance = np.linalg.eigvalsh(law.covariance)[::-1]
    zero = variance <= len(variance) * np.finfo(float).eps * variance[0]
    return np.sqrt(np.where(zero, np.nan, variance))


def styles(ld: LinearDiffusion, prompt: str, *, columns: int | None = None) -> Figure:
    """Draw the mean of each of a prompt's styles, with similar styles side by side.

    The styles' mean latents are projected onto their two principal components; the assignment of styles to the
    cells of the grid minimises the sum of squared distances between projections and cells.

    Parameters
    ----------
    ld : LinearDiffusion
        Model fitted with ``n_styles``.
    prompt : str
        Prompt whose styles are drawn.
    columns : int, default=None
        Number of styles per row; None takes the square root of the number of styles, rounded up.

    Returns
    -------
    matplotlib.figure.Figure
        Figure with one axes per style, under the style's name for ``predict`` and its share of the images.

    Raises
    ------
    AttributeError
        If the model has no styles.
    ValueError
        If the model does not know the prompt, or `columns` is below 1.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, datasets, plot
    >>> ld = LinearDiffusion(n_styles=6).fit(*datasets.load_digits())
    >>> figure = plot.styles(ld, "7")
    >>> sorted(axes.get_title().split()[0] for axes in figure.axes)
    ['7~0', '7~1', '7~2', '7~3', '7~4', '7~5']
    """
    all_styles = ld.styles_
    (prompt,) = check_prompts([prompt]) or [prompt]
    if prompt not in all_styles:
        raise ValueError(f"unknown prompt {prompt!r}; the model has styles of {', '.join(all_styles)}")
    count, mean = all_styles[prompt]
    columns = check_columns(columns, len(count))
    order = _order_by_similarity(ld.encode(mean), columns)
    low, high = ld.pixel_range_
    captions = [f"{prompt}~{i}  {count[i] / count.sum():.0%}" for i in order]
    return grid(mean[order], captions=captions, columns=columns, vmin=low, vmax=high)


def _order_by_similarity(latents: NDArray[np.float64], columns: int) -> NDArray[np.intp]:
    """Return the order in which rows of `columns` latents each have similar latents (n, d) side by side."""
    n = len(latents)
    if n < 3:
        return np.arange(n)
    row, column = np.divmod(np.arange(n), columns)
    cells = np.stack([(column + 0.5) / columns, (row + 0.5) / (row[-1] + 1)], axis=1)
    scores = PCA(min(2, latents.shape[1])).fit_transform(latents)[:, [0, -1]]
    # Ranks, because the cells are evenly spaced and a single outlier would push all other styles together.
    style, cell = linear_sum_assignment(cdist(rankdata(scores, axis=0) / n, cells, "sqeuclidean"))
    return np.asarray(style[np.argsort(cell)])
