"""Calibrate the probabilities of digits whose lower half is hidden.

A model of MNIST's first 55,000 training digits classifies the test digits. The curves show the accuracy against the
confidence; on the diagonal both are equal. The second curve has a temperature, fitted to the other 5,000 training
digits with the same half hidden. ``python examples/plot_calibration.py`` draws docs/calibration.png and prints
accuracies and calibration errors.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist
from lineardiffusion.metrics import calibration_error

FITTED = 55_000


def main() -> None:
    prompts, images = load_mnist("train")
    truth, asked = load_mnist("test")
    lower_half = np.arange(28)[:, None] >= np.full(28, 14)
    seen = np.where(lower_half, np.nan, asked)
    ld = LinearDiffusion(64).fit(prompts[:FITTED], images[:FITTED])

    figure = Figure(figsize=(4.5, 4.5), dpi=90, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.8")
    for calibrated in (False, True):
        if calibrated:
            ld.calibrate(prompts[FITTED:], images[FITTED:], lower_half)
        probability = ld.classify_proba(seen)
        right = ld.prompts_[probability.argmax(axis=1)] == truth
        error = calibration_error(truth, probability, ld.prompts_)
        frequency, confidence = calibration_curve(right, probability.max(axis=1), n_bins=10)
        label = f"temperature {ld.temperature_:.1f}: error {error:.3f}"
        axes.plot(confidence, frequency, marker="o", markersize=4, label=label)
        print(f"{label}, accuracy {right.mean():.4f}")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(loc="lower right")
    figure.savefig(Path(__file__).parent.parent / "docs" / "calibration.png")


if __name__ == "__main__":
    main()
