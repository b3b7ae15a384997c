"""
Denoising, step by step
=======================

Three prompts start from the same noise and become a 7, a 3 and an 8. You learn to look
at every step of a sampler, in a grid or as an animation.
"""

import tempfile
from pathlib import Path

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion().fit(*load_mnist())

# %%
# A row of the picture is a prompt, a column is a step. The first steps are hard to tell
# apart, because at high noise the denoiser returns little more than the mean image of
# the prompt.

figure = plot.denoising(ld, ["7", "3", "8"], seed=[13] * 3, num_steps=8)
plot.show(figure)

# %%
# ``plot.animate`` writes the same steps as a GIF or as an animated PNG, here of all ten
# digits.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "denoising.gif")
    plot.animate(
        ld, [str(digit) for digit in range(10)], path, seed=137, num_steps=20, columns=5
    )
    animation = path.read_bytes()
print(f"an animation of {len(animation) / 1e3:.0f} kB")
