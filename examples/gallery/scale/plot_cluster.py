"""
Fit on a cluster
================

With Dask, a model is fitted to images that lie on many machines. You learn that only
sums travel between them, and that the model equals one fitted on a single machine.
"""

import functools

import numpy as np
from distributed import Client, LocalCluster

from lineardiffusion import LinearDiffusion, distributed, plot

# %%
# Blocks of images
# ----------------
#
# Every worker loads its own blocks, here by a function that makes coloured blobs. A
# real one would read a file.


def load(block, side=16, n=1000):
    """Return the prompts and the images (n, side, side, 3) of a block."""
    rng = np.random.default_rng(block)
    prompts = rng.integers(0, 3, n)
    x, y = np.meshgrid(*2 * [np.linspace(-1, 1, side)])
    centre = rng.normal(scale=0.3, size=(2, n, 1, 1))
    size = rng.uniform(0.3, 0.6, size=(n, 1, 1))
    bright = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * size**2))
    colour = 60 + 160 * np.eye(3)[prompts]
    images = bright[..., None] * colour[:, None, None]
    images += rng.normal(scale=8, size=images.shape)
    return np.array(["red", "green", "blue"])[prompts], np.clip(images, 0, 255).astype(np.uint8)


# %%
# Fit
# ---
#
# The cluster has two workers on this machine, as threads. On many machines the first
# line is ``client = Client("scheduler-address:8786")``.

cluster = LocalCluster(
    n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
)
client = Client(cluster)
blocks = [functools.partial(load, block) for block in range(8)]
ld = distributed.fit(client, blocks, LinearDiffusion(20))
client.close()
cluster.close()

# %%
# Fitted in the memory of one machine, the model draws the same pictures.

parts = [block() for block in blocks]
prompts, images = (np.concatenate(part) for part in zip(*parts, strict=True))
alone = LinearDiffusion(20).fit(prompts, images)
asked = [name for name in ("red", "green", "blue") for _ in range(8)]
drawn = ld.predict(asked, seed=137)
apart = abs(drawn - alone.predict(asked, seed=137)).max()
print(f"{len(images):,} images; drawn pixels differ by at most {apart:.1e} grey levels")

# %%
# What travels are moments: their size does not depend on the number of images.

figure = plot.grid(drawn, labels=["red", "green", "blue"], columns=8, vmin=0, vmax=255)
plot.show(figure)
