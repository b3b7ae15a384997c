"""Pictures of the model, part by part.

    encoder     z = V (x - mean) / s        the components, rows of V
    law         z ~ N(m, C)                 a prompt's mean, and the spread sqrt(diag J^T C J) of its pixels,
                                            J the matrix that decodes latents
    sampler     z = M n + b                 the singular values of M: what happens to noise n, direction by
                                            direction; their squares are the eigenvalues of C = M M^T
    styles      m_0, m_1, ...               the means of a prompt's styles

Everything is read from the model's public face, so each picture shows numbers that a user can have, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from lineardiffusion._arrays import Array
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.plot.sheet import Look, check_pictures, grid, lay_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lineardiffusion.estimator import LinearDiffusion


def components(ld: LinearDiffusion, n: int = 20, *, columns: int = 10) -> Figure:
    """Draw the principal components: the directions of pixel space that a latent counts along.

    Parameters
    ----------
    ld : LinearDiffusion
        A fitted model.
    n : int, default=20
        How many, from the one along which the images vary most; all if there are fewer.
    columns : int, default=10
        Components a row.

    Returns
    -------
    matplotlib.figure.Figure
        Red where a component adds, blue where it takes away, white where it leaves a pixel; in colour, 0 is
        grey. All share one range. A picture's sign is arbitrary.

    Raises
    ------
    ValueError
        If `n` or `columns` is below 1.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> from lineardiffusion.datasets import load_digits
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> len(plot.components(ld, 8).axes)
    8
    """
    if n < 1:
        raise ValueError(f"n={n}; expected at least one component")
    shown = ld.components_[:n].reshape(-1, *ld.image_shape_)
    largest = float(abs(shown).max())
    return grid(
        shown,
        captions=[str(i) for i in range(1, len(shown) + 1)],
        columns=columns,
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
    )


def means(ld: LinearDiffusion, prompts: Sequence[str] | None = None) -> Figure:
    """Draw the mean of each prompt's images, and below it their spread.

    Parameters
    ----------
    ld : LinearDiffusion
        A fitted model.
    prompts : list of str, default=None
        Which; None for all that the model knows.

    Returns
    -------
    matplotlib.figure.Figure
        The mean, in the range of the data; and the standard deviation of each pixel, from white for none to
        the darkest for the largest of all prompts. Both are those of :meth:`LinearDiffusion.law`, so of what
        is drawn, without contrast.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> from lineardiffusion.datasets import load_digits
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> len(plot.means(ld, ["4", "9"]).axes)
    4
    """
    names = [str(prompt) for prompt in (ld.prompts_ if prompts is None else prompts)]
    laws = [ld.law(name) for name in names]
    d = ld.n_components_
    decoding = (ld.decode(np.eye(d)) - ld.decode(np.zeros(d))).reshape(d, -1).astype(np.float64)
    variance = [np.einsum("ip,ij,jp->p", decoding, law.covariance, decoding, optimize=True) for law in laws]
    spread = np.sqrt(np.maximum(variance, 0.0)).reshape(-1, *ld.image_shape_)
    mean = ld.decode(np.stack([law.mean for law in laws]))
    looks = [Look("gray_r", *ld.pixel_range_)] * len(names) + [Look("Reds", 0.0, float(spread.max()))] * len(
        names
    )
    pictures = check_pictures(np.concatenate([mean, spread]))
    captions = [f'"{name}"' for name in names] + [""] * len(names)
    return lay_out(pictures, looks, len(names), captions, ["mean", f"spread, 0 to {spread.max():.3g}"])


def singular_values(
    ld: LinearDiffusion,
    prompt: str,
    samplers: Sequence[str] = ("exact",),
    *,
    num_steps: int | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the singular values of the maps from noise to latent, one line a sampler.

    The noise has standard deviation 1 in all directions, so a singular value is the standard deviation of
    what is drawn in one of them: a sampler whose line runs below the exact one draws images that are too
    alike. Of a stochastic sampler it is the map from all its noise, that of the start and that of each step.

    Parameters
    ----------
    ld : LinearDiffusion
        A fitted model.
    prompt : str
        Of a model with styles, one style's name, as ``"7~0"``.
    samplers : sequence of str, default=("exact",)
        As in :class:`LinearDiffusion`.
    num_steps : int, default=None
        Of all the samplers; None for the model's. The label of a line tells it.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; None for a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the model does not know the prompt, or a sampler, or the prompt is a mixture of styles.
    TypeError
        If `samplers` is a single string.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> from lineardiffusion.datasets import load_digits
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> figure = plot.singular_values(ld, "7", ["exact", "ddim"], num_steps=5)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['exact', 'ddim, 5 steps']
    """
    if isinstance(samplers, str):
        raise TypeError(f"samplers is the string {samplers!r}; expected a list, as [{samplers!r}]")
    steps = ld.num_steps if num_steps is None else num_steps
    lines = {
        sampler if sampler in ("exact", "one_step") else f"{sampler}, {steps} steps": _spreads(
            ld, prompt, sampler, steps
        )
        for sampler in samplers
    }
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(6, 3.6), layout="constrained").add_subplot()
    for label, values in lines.items():
        ax.plot(np.arange(1, len(values) + 1), values, label=label)
    ax.set_yscale("log")
    ax.set_xlabel("direction")
    ax.set_ylabel("singular value")
    ax.set_title(f'From noise to "{prompt}"')
    ax.title.set_parse_math(False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax.figure.figure  # the second for axes of a subfigure


def _spreads(ld: LinearDiffusion, prompt: str, sampler: str, num_steps: int) -> Array:
    """The singular values of the map, falling; NaN where it is flat and they are rounding errors."""
    law = ld.law(prompt, sampler=sampler, num_steps=num_steps)
    if isinstance(law, Mixture):
        raise ValueError(f"{prompt!r} is a mixture of styles, each with its map; name one, as in '7~0'")
    variance = np.linalg.eigvalsh(law.covariance)[::-1]
    flat = variance <= len(variance) * np.finfo(float).eps * variance[0]
    return np.sqrt(np.where(flat, np.nan, variance))


def styles(ld: LinearDiffusion, prompt: str, *, columns: int | None = None) -> Figure:
    """Draw a map of a prompt's style book: the mean of each style, like styles beside each other.

    The styles' latents are projected onto the two directions in which they differ most, and each style is
    put into the cell of the sheet that is nearest, so that the sum of the squared distances is the least
    there is. Each stands under the name that ``predict`` knows it by, and its share of the images.

    Parameters
    ----------
    ld : LinearDiffusion
        A model fitted with ``n_styles``.
    prompt : str
        Whose styles.
    columns : int, default=None
        Styles a row; None for the square root of their number, rounded up.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    AttributeError
        If the model has no styles.
    ValueError
        If it does not know the prompt, or `columns` is below 1.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> from lineardiffusion.datasets import load_digits
    >>> ld = LinearDiffusion(n_styles=6).fit(*load_digits())
    >>> figure = plot.styles(ld, "7")
    >>> sorted(axes.get_title().split()[0] for axes in figure.axes)
    ['7~0', '7~1', '7~2', '7~3', '7~4', '7~5']
    """
    book = ld.styles_
    if prompt not in book:
        raise ValueError(f"unknown prompt {prompt!r}; the model has styles of {', '.join(book)}")
    count, mean = book[prompt]
    n = len(count)
    columns = int(np.ceil(np.sqrt(n))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns={columns}; expected at least 1, or None to have it chosen")
    order = _neighbours(ld.encode(mean), columns)
    low, high = ld.pixel_range_
    return grid(
        mean[order],
        captions=[f"{prompt}~{i}  {count[i] / count.sum():.0%}" for i in order],
        columns=columns,
        vmin=low,
        vmax=high,
    )


def _neighbours(latents: Array, columns: int) -> list[int]:
    """The order, row by row, that puts latents (n, d) beside those like them."""
    n = len(latents)
    row, column = np.divmod(np.arange(n), columns)
    if n < 3:
        return list(range(n))
    centred = latents - latents.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    # Ranks, not coordinates: a sheet is evenly filled, and one odd style must not crowd out the others.
    across, down = (rankdata(score) / n for score in (u * s).T[:2])
    cells = (column + 0.5) / columns, (row + 0.5) / (row[-1] + 1)
    cost = (across[:, None] - cells[0]) ** 2 + (down[:, None] - cells[1]) ** 2
    style, cell = linear_sum_assignment(cost)
    return [int(i) for i in style[np.argsort(cell)]]
