"""
Approximate posteriors, compared exactly
========================================

Methods such as DPS and PiGDM approximate the posterior by what a trained network
offers. For a Gaussian law, what each of them draws is a Gaussian that is known exactly.
You learn how far each one is from Bayes' rule.
"""

import matplotlib
import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist
from lineardiffusion.posteriors import posterior_law

prompts, images = load_mnist("train")
ld = LinearDiffusion().fit(prompts, images / 127.5 - 1)

# %%
# The measurement
# ---------------
#
# The upper half of five test digits is seen with noise of standard deviation 0.1, where
# pixels are from -1 to 1. The digits are reduced to the components of the model, and
# their prompts are given. So ``y = A z + offset + noise``, where ``z`` is the latent.

prompts, digits = (np.asarray(part)[[0, 1, 18, 15, 84]] for part in load_mnist("test"))
digits = ld.decode(ld.encode(digits / 127.5 - 1)).reshape(5, -1)
noise, half = 0.1, 28 * 14
offset = ld.decode(np.zeros(ld.n_components_)).ravel()
A = (ld.decode(np.eye(ld.n_components_)).reshape(-1, 784) - offset).T[:half]
y = digits[:, :half] + noise * np.random.default_rng(137).normal(size=(5, half))

# %%
# The laws
# --------
#
# TMPD in full is exact for a Gaussian. Its form by row sums, which is used on images,
# is not.

priors = [ld.law(prompt) for prompt in prompts]
given = list(zip(priors, y - offset[:half], strict=True))
laws = {"exact": [law.condition(one, A, noise**2 * np.eye(half)) for law, one in given]}
methods = {
    "PiGDM": {"method": "pigdm"},
    "DPS": {"method": "dps", "step": 0.04},
    "row sums": {"method": "tmpd_diagonal"},
}
for name, options in methods.items():
    laws[name] = [
        posterior_law(law, one, A, noise, num_steps=100, **options) for law, one in given
    ]

# %%
# The 2-Wasserstein distance to the exact posterior, and its part from the means, in
# units of the posterior's spread. All methods run 100 steps of ddpm. The page on
# posteriors has the table for 20 and 400 steps, other samplers and other step sizes of
# DPS.

for name in methods:
    squares = []
    for law, exact in zip(laws[name], laws["exact"], strict=True):
        parts = law.wasserstein(exact) ** 2, np.sum((law.mean - exact.mean) ** 2)
        squares.append(np.array(parts) / np.trace(exact.covariance))
    distance, of_means = np.sqrt(np.mean(squares, axis=0))
    print(f"{name:8s} distance {distance:5.2f}, of the means {of_means:5.2f}")

# %%
# The mean and two draws of each law. PiGDM and DPS have nearly the right spread around
# a mean that is somewhat wrong. Row sums destroy the 2.

seen = np.where(np.arange(784) < half, np.pad(y, [(0, 0), (0, half)]), np.nan)
rows, labels = [digits[None], seen[None]], ["digit", "seen"]
for name, found in laws.items():
    latents = np.stack([np.vstack([law.mean, law.draw(2, 137)]) for law in found], axis=1)
    rows.append(ld.decode(latents.reshape(15, -1)).reshape(3, 5, 784))
    labels += [f"{name}: mean", "draw", "draw"]
missing_blue = matplotlib.colormaps["gray_r"].with_extremes(bad="#d5e3f0")
pictures = np.concatenate(rows).reshape(-1, 28, 28)
figure = plot.grid(
    pictures, labels=labels, columns=5, cmap=missing_blue, vmin=-1, vmax=1, size=0.6
)
plot.show(figure)
