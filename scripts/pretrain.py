"""Train the models that ship with the package: ``python scripts/pretrain.py``. Needs MNIST.

The 60,000 training digits, in as many styles as components leave room for below 3 MB. The fit takes
two passes (a small ``max_memory``), so that what is kept is of latents; and it is rounded to float32, which
the file
then holds without loss. ``--judge`` reads 10,000 of its digits by the judge (benchmarks/judge.py).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "src" / "lineardiffusion" / "pretrained" / "mnist"


def rounded(value: Any) -> Any:
    """The same with every array of float64 rounded to float32's digits."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32).astype(np.float64)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(rounded, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: rounded(getattr(value, one.name)) for one in fields(value)})
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", action="store_true", help="read 10,000 drawn digits by the judge")
    arguments = parser.parse_args()
    ld = LinearDiffusion(96, n_styles=12, contrast="affine", max_memory=2e7)
    ld.fit(*load_mnist("train"))
    ld._adopt(rounded(ld._state))
    ld.save_pretrained(SHIPPED)
    size = sum(file.stat().st_size for file in SHIPPED.iterdir())
    print(f"{SHIPPED.relative_to(ROOT)}: {size / 1e6:.2f} MB")
    if arguments.judge:
        sys.path.insert(0, str(ROOT / "benchmarks"))
        from judge import Judge

        asked = [str(i) for i in range(10)] * 1000
        drawn = LinearDiffusion.from_pretrained("mnist").predict(asked, seed=137)
        print(f"read right by the judge: {Judge.load('mnist').accuracy(np.clip(drawn, 0, 255), asked):.4f}")


if __name__ == "__main__":
    main()
