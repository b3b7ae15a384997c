"""
What guidance does to a law
===========================

The law of a guided sampler is known exactly, so its variance needs no draws. You learn
that large guidance scales draw images of a far larger variance than the prompt's own,
and that guidance which begins late does so less.
"""

import warnings

import numpy as np
from matplotlib.figure import Figure

from lineardiffusion import LinearDiffusion, plot, samplers
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion(sampler=samplers.heun(40)).fit(*load_mnist())

# %%
# The variance against the scale
# ------------------------------
#
# A guidance scale may be a function of the time ``t``, which runs from 1 (noise) to 0
# (image). Here the scale holds at the times below a start, and is 1, no guidance,
# before. ``predict`` warns where the guided law has more than four times the variance
# of the prompt.


def below(start, scale):
    """Guide with this scale at times up to `start`."""
    return lambda t: scale if t <= start else 1.0


own = np.trace(ld.law("7").covariance)
scales = np.linspace(0, 7.5, 16)
figure_variance = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure_variance.subplots()
for start in (1.0, 0.6, 0.3):
    laws = [ld.law("7", guidance_scale=below(start, w)) for w in scales]
    ratio = [np.trace(law.covariance) / own for law in laws]
    axes.semilogy(scales, ratio, label=f"at t below {start:g}")
    shown = ", ".join(f"{ratio[i]:,.1f} at {scales[i]:g}" for i in (3, 6, 15))
    print(f"guided at t below {start:g}, relative variance: {shown}")
axes.lines[0].set_label("at every step")
axes.axhline(4, color="grey", linestyle=":")
axes.text(0.1, 4.6, "predict warns", color="grey")
axes.set(
    xlabel="guidance_scale",
    ylabel="variance, relative to the prompt's own",
    title='The guided law of "7"',
)
legend = axes.legend()
plot.show(figure_variance)

# %%
# Pictures
# --------
#
# All eight images start from the same noise. A scale of 3 draws a bolder 7 than no
# guidance, and one of 7.5 destroys it, at every step more than at the late ones. The
# warnings of ``predict`` are turned off.

warnings.filterwarnings("ignore", message="guidance multiplies")
starts = {"every step": 1.0, "t below 0.6": 0.6}
drawn = [
    ld.predict(["7"], seed=5, guidance_scale=below(start, w))[0]
    for start in starts.values()
    for w in (1.0, 1.5, 3.0, 7.5)
]
captions = [f"w = {w:g}" for w in (1.0, 1.5, 3.0, 7.5)] + [""] * 4
figure = plot.grid(
    drawn, captions=captions, labels=list(starts), columns=4, vmin=0, vmax=255, size=1.2
)
plot.show(figure)
