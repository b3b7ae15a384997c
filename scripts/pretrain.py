"""Train the models that ship with the package: ``python scripts/pretrain.py``. Needs MNIST and Fashion-MNIST.

The data are the 60,000 training images of each. ``fit_basis`` fixes the components first, so the statistics are
those of latents, and styles are stored by the directions that they are drawn in (io/low_rank.py). Components,
styles and their rank are those that draw best in 6 MB. They were chosen on a tenth of the training images that was
held out, by the Frechet distance of the judge's features, where the share of copies is near that of real images.
``mnist-small`` is for a page that holds its model (page/): 100 styles of 64 components draw best in a page of
1 MB. It is stored in half precision.

``--name`` trains one of them. ``--judge`` compares 10,000 drawn images to the test images by the judge
(benchmarks/judge.py), for each of two seeds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_fashion_mnist, load_mnist
from lineardiffusion.metrics import copying, frechet_distance, precision_recall_density_coverage

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "src" / "lineardiffusion" / "pretrained"
LOADERS = {"mnist": load_mnist, "fashion-mnist": load_fashion_mnist, "mnist-small": load_mnist}
SETTINGS: dict[str, dict[str, Any]] = {
    "mnist": {"n_components": 144, "n_styles": "auto", "style_rank": 0.25, "contrast": "pixelwise"},
    "fashion-mnist": {"n_components": 200, "n_styles": 80, "style_rank": 0.2, "contrast": "pixelwise"},
    "mnist-small": {"n_components": 64, "n_styles": 10, "contrast": "affine"},
}
PRECISION = {"mnist": "low_rank", "fashion-mnist": "low_rank", "mnist-small": "half"}
SEEDS = 137, 138
COMPARED = 2000  # images whose nearest training images are searched for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=sorted(LOADERS), help="train this one only")
    parser.add_argument("--judge", action="store_true", help="compare drawn images to the test images")
    arguments = parser.parse_args()
    for name in [arguments.name] if arguments.name else LOADERS:
        folder = SHIPPED / name
        prompts, images = LOADERS[name]("train")
        ld = LinearDiffusion(random_state=0, **SETTINGS[name])
        ld.fit_basis(images).fit(prompts, images).save_pretrained(folder, precision=PRECISION[name])
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{folder.relative_to(ROOT)}: {size / 1e6:.2f} MB")
        if arguments.judge:
            judge(name, LinearDiffusion.from_pretrained(name), images)


def judge(name: str, ld: LinearDiffusion, training: Any) -> None:
    """Compare as many images as there are in the test set, of its prompts, to those of the test set."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from judge import Judge

    known = Judge.load(name.removesuffix("-small"))
    prompts, images = LOADERS[name]("test")
    real = known.features(images)
    some = np.random.default_rng(0).permutation(len(prompts))[:COMPARED]
    for seed in SEEDS:
        drawn = ld.predict(prompts, seed=seed)
        features = known.features(drawn)
        found = precision_recall_density_coverage(real, features)
        copies = copying([prompts[i] for i in some], drawn[some], prompts, images, training)
        print(
            f"seed {seed}: Frechet distance {frechet_distance(features, real):.2f}, recall {found.recall:.3f}, "
            f"coverage {found.coverage:.3f}, read right {known.accuracy(prompts, drawn):.4f}, "
            f"copying ratio {copies.ratio:.3f}, share {copies.share:.3f}"
        )
    right = np.mean(np.asarray(ld.classify(images)) == np.asarray(prompts))
    print(f"it classifies {right:.4f} of the test images")


if __name__ == "__main__":
    main()
