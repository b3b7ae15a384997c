"""Every Python block of README.md runs, on scikit-learn's digits where it loads MNIST."""

import re
from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion, datasets, operators

README = Path(__file__).parent.parent / "README.md"


def test_readme(monkeypatch, digits):
    monkeypatch.setattr(datasets, "load_mnist", lambda *args: digits)
    prompts, images = digits
    names = {
        "np": np,
        "prompts": prompts,
        "images": images,
        "other": LinearDiffusion().fit(prompts, images),
        "mask": np.arange(8)[:, None] >= np.full(8, 4),
        "operator": (half := operators.downsampling((8, 8), 2)),
        "y": images[:5].reshape(5, -1) @ half.T,
        "noisy": images[:1] + 4.0 * np.random.default_rng(0).normal(size=(1, 8, 8)),
    }
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["digits"].shape == (2, 8, 8)
