"""Train the models that ship with the package: ``python scripts/pretrain.py``. Needs MNIST.

The data are the 60,000 training digits. Components and styles are as many as fit into 3 MB. A small
``max_memory`` makes ``fit`` go over the images twice, so the statistics are those of latents; they are stored
in half precision. ``--judge`` classifies 10,000 drawn digits with the judge (benchmarks/judge.py), for each of
three seeds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "src" / "lineardiffusion" / "pretrained" / "mnist"
COMPONENTS, STYLES, MAX_MEMORY = 132, 12, 2e7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", action="store_true", help="classify 10,000 drawn digits with the judge")
    arguments = parser.parse_args()
    ld = LinearDiffusion(COMPONENTS, n_styles=STYLES, contrast="affine", max_memory=MAX_MEMORY)
    ld.fit(*load_mnist("train"))
    ld.save_pretrained(SHIPPED, precision="half")
    size = sum(file.stat().st_size for file in SHIPPED.iterdir())
    print(f"{SHIPPED.relative_to(ROOT)}: {size / 1e6:.2f} MB")
    if arguments.judge:
        sys.path.insert(0, str(ROOT / "benchmarks"))
        from judge import Judge

        asked = [str(i) for i in range(10)] * 1000
        judge, shipped = Judge.load("mnist"), LinearDiffusion.from_pretrained("mnist")
        read = [judge.accuracy(asked, shipped.predict(asked, seed=seed)) for seed in (137, 138, 139)]
        print(f"read right by the judge: {', '.join(f'{one:.4f}' for one in read)}")


if __name__ == "__main__":
    main()
