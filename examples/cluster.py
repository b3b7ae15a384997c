"""Fit a model on two worker processes: ``python examples/cluster.py``, which needs the extra ``[dask]``.

Every worker loads its own blocks of images, here by a function that makes them. Only sums travel: of small images
the moments of all pixels under every prompt, of large ones products with the components, and moments of latents.
The same code runs on many machines: ``Client("scheduler-address:8786")`` in place of the LocalCluster.
"""

import functools

import numpy as np
import psutil
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from lineardiffusion import LinearDiffusion, distributed

BLOCKS, IMAGES = 8, 1000


def load(block: int, side: int) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the prompts and the images (side, side, 3) of a block; a real one would read them from a file."""
    rng = np.random.default_rng(block)
    prompts = rng.integers(0, 3, IMAGES)
    x, y = np.meshgrid(*2 * [np.linspace(-1, 1, side)])
    centre, size = rng.normal(scale=0.3, size=(2, IMAGES, 1, 1)), rng.uniform(0.3, 0.6, size=(IMAGES, 1, 1))
    bright = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * size**2))
    colour = 60 + 160 * np.eye(3)[prompts]
    images = bright[..., None] * colour[:, None, None] + rng.normal(scale=8, size=(IMAGES, side, side, 3))
    return [("red", "green", "blue")[u] for u in prompts], np.clip(images, 0, 255).astype(np.uint8)


def sent() -> int:
    """Return the bytes that all processes of this machine have sent to each other."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


def main() -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        for side in (16, 32):
            blocks = [functools.partial(load, block, side) for block in range(BLOCKS)]
            before = sent()
            ld = distributed.fit(client, blocks, LinearDiffusion(20))
            travelled = sent() - before
            parts = [block() for block in blocks]
            prompts, images = (np.concatenate(part) for part in zip(*parts, strict=True))
            alone = LinearDiffusion(20).fit(prompts, images)
            asked = ["red", "green", "blue"]
            apart = np.abs(ld.predict(asked, seed=137) - alone.predict(asked, seed=137)).max()
            print(f"{len(images):,} images of {side} x {side} x 3, {images.nbytes / 1e6:.1f} MB; "
                  f"{travelled / 1e6:.1f} MB came over the wire; drawn pixels differ from those of fit on one "
                  f"machine by {apart:.1e} grey levels at most")  # fmt: skip


if __name__ == "__main__":
    main()
