"""Draw what guidance does to the law of the images: docs/guidance.png.

Above, the variance of guided laws relative to the prompt's own, against the guidance scale: guided at every step,
and at the times t below 0.6 and 0.3 only. The law is exact, so nothing is drawn for these curves. Below, a 7 at
four scales, guided at every step and at times below 0.6 only; all start from the same noise.

    python examples/plot_guidance.py  # half a minute
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lineardiffusion import LinearDiffusion, samplers
from lineardiffusion.datasets import load_mnist

DOCS = Path(__file__).parent.parent / "docs"
SCALES = (1.0, 1.5, 3.0, 7.5)
BEGINNINGS = (1.0, 0.6, 0.3)


def below(start: float, scale: float):
    """Guide with this scale at times up to `start`."""
    return lambda t: scale if t <= start else 1.0


def main() -> None:
    ld = LinearDiffusion(sampler=samplers.heun(40)).fit(*load_mnist())
    own = np.trace(ld.law("7").covariance)
    figure = plt.figure(figsize=(7, 7.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    axes, scales = upper.subplots(), np.linspace(0, 7.5, 31)
    for start in BEGINNINGS:
        ratio = [np.trace(ld.law("7", guidance_scale=below(start, w)).covariance) / own for w in scales]
        axes.semilogy(scales, ratio, label="at every step" if start == 1.0 else f"at t below {start:g}")
        print(f"guided below t = {start:g}:", {w: round(float(np.interp(w, scales, ratio)), 2) for w in SCALES})
    axes.axhline(4, color="grey", linestyle=":")
    axes.text(0.1, 4.6, "predict warns", color="grey")
    axes.set(
        xlabel="guidance_scale", ylabel="variance, relative to the prompt's own", title='The guided law of "7"'
    )
    axes.legend()
    pictures, rows = lower.subplots(2, len(SCALES)), ("every step", "t below 0.6")
    for row, start, label in zip(pictures, BEGINNINGS, rows, strict=False):
        for cell, w in zip(row, SCALES, strict=True):
            (image,) = ld.predict(["7"], seed=5, guidance_scale=below(start, w))
            cell.imshow(image, cmap="gray_r", vmin=0, vmax=255)
            cell.set(xticks=[], yticks=[], title=f"w = {w:g}")
        row[0].set_ylabel(label)
    figure.savefig(DOCS / "guidance.png", dpi=80)


if __name__ == "__main__":
    main()
