"""Tell anomalous images by their typicality.

A model of 1,300 of scikit-learn's digits scores the other digits, plain images, noise, and the other digits upside
down, each under the prompt of its digit. The caption of an image is its typicality. ``python
examples/plot_anomalies.py`` draws docs/anomalies.png and prints the AUC of each kind.
"""

from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_digits

FITTED, SHOWN = 1300, 6


def main() -> None:
    prompts, images = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    prompts, images = np.array(prompts)[order], images[order]
    ld = LinearDiffusion(40).fit(prompts[:FITTED], images[:FITTED])
    prompts, real = prompts[FITTED:], images[FITTED:].astype(float)
    n = len(real)
    kinds = {
        "held out": real,
        "plain": np.ones_like(real) * rng.uniform(0, 16, size=(n, 1, 1)),
        "noise": rng.uniform(0, 16, size=real.shape),
        "upside down": real[:, ::-1, ::-1],
    }
    typicality = {kind: ld.typicality(x, prompts) for kind, x in kinds.items()}
    for kind in list(kinds)[1:]:
        auc = roc_auc_score([1] * n + [0] * n, np.concatenate([typicality["held out"], typicality[kind]]))
        print(f"{kind:12s} AUC {auc:.3f}")

    captions = [f"{p:.1g}" for kind in kinds for p in typicality[kind][:SHOWN]]
    shown = np.concatenate([x[:SHOWN] for x in kinds.values()])
    figure = plot.grid(shown, captions=captions, labels=list(kinds), columns=SHOWN, vmin=0, vmax=16)
    figure.savefig(Path(__file__).parent.parent / "docs" / "anomalies.png", dpi=80)


if __name__ == "__main__":
    main()
