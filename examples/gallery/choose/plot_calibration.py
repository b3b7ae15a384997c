"""
Calibrate class probabilities
=============================

A Gaussian model that sees half a digit is too sure of its class. You learn to fit a
temperature to held-out images, after which the confidence of an answer equals the share
of right answers.
"""

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist
from lineardiffusion.metrics import calibration_error

# %%
# The model is fitted to the first 55,000 training digits. The other 5,000 are kept for
# the temperature. The lower half of every digit is hidden.

prompts, images = load_mnist("train")
ld = LinearDiffusion(64).fit(prompts[:55_000], images[:55_000])
lower_half = np.zeros((28, 28), bool)
lower_half[14:] = True

# %%
# ``calibrate`` takes the mask of the hidden pixels. It changes the probabilities and
# hardly any answer, so the accuracy stays. All 10,000 test digits are classified.

truth, test_images = load_mnist("test")
seen = np.where(lower_half, np.nan, test_images)
figure = Figure(figsize=(5, 5), layout="constrained")
axes = figure.subplots()
axes.plot([0, 1], [0, 1], color="0.8")
for calibrated in (False, True):
    if calibrated:
        ld.calibrate(prompts[55_000:], images[55_000:], lower_half)
    probability = ld.classify_proba(seen)
    right = ld.prompts_[probability.argmax(axis=1)] == truth
    error = calibration_error(truth, probability, ld.prompts_)
    frequency, confidence = calibration_curve(right, probability.max(axis=1), n_bins=10)
    label = f"temperature {ld.temperature_:.1f}: error {error:.3f}"
    axes.plot(confidence, frequency, marker="o", markersize=4, label=label)
    print(f"{label}, accuracy {right.mean():.4f}")
axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
legend = axes.legend(loc="lower right")
plot.show(figure)

# %%
# Points on the diagonal are calibrated: of the answers with a confidence of 80 %, 80 %
# are right.
