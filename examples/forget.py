"""Delete one contributor's images from a saved model: ``python examples/forget.py``.

The digits of scikit-learn are split into twelve folders, as if twelve people had contributed them. A model of all
images is saved; then one contributor's folder is subtracted from it, and the model is saved again. It is the model
that never saw that folder, to rounding, and no other image was needed. The same in a shell, with a folder of image
files:

    lineardiffusion forget MODEL FOLDER
"""

import tempfile
from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_digits


def main() -> None:
    prompts, images = map(np.array, load_digits())
    writer = np.arange(len(images)) // 150
    withdrawn = writer == 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        LinearDiffusion().fit(prompts, images).save_pretrained(path)

        ld = LinearDiffusion.from_pretrained(path)
        before = ld.predict(["7"], seed=137)
        ld.forget(prompts[withdrawn], images[withdrawn]).save_pretrained(path)

        ld = LinearDiffusion.from_pretrained(path)
        fresh = LinearDiffusion().fit(prompts[~withdrawn], images[~withdrawn])
        after, never = ld.predict(["7"], seed=137), fresh.predict(["7"], seed=137)
        print(f"images: {images.shape[0]}, forgotten: {withdrawn.sum()}")
        print(f"largest change of a drawn pixel: {np.abs(after - before).max():.2f} of 16 grey levels")
        print(f"largest difference from a model that never saw them: {np.abs(after - never).max():.1e}")
        try:
            ld.forget(prompts[withdrawn], images[withdrawn])
        except ValueError as error:
            print(f"once more: {error}")


if __name__ == "__main__":
    main()
