"""
Colour photos
=============

A mixture of Gaussians draws colours, layouts and textures of photos, and no objects.
You learn to fit colour images, and to recognise what second moments cannot describe.
"""

import numpy as np
from sklearn.datasets import load_sample_image

from lineardiffusion import LinearDiffusion, plot

# %%
# Crops
# -----
#
# The images are 64 x 64 windows at random places of five parts of scikit-learn's two
# sample photos. They overlap, so 120 crops of a part tell less than 120 photos would.

parts = {  # photo, and ranges of the right and of the lower end of a crop
    "sky": ("china.jpg", (394, 640), (64, 130)),
    "trees": ("china.jpg", (414, 640), (364, 427)),
    "roofs": ("china.jpg", (154, 340), (134, 320)),
    "leaves": ("flower.jpg", (64, 150), (64, 427)),
    "petals": ("flower.jpg", (264, 410), (184, 330)),
}
rng = np.random.default_rng(0)
labels, crops = [], []
for label, (name, columns, rows) in parts.items():
    photo = load_sample_image(name)
    for _ in range(120):
        x, y = rng.integers(*columns) - 64, rng.integers(*rows) - 64
        labels.append(label)
        crops.append(photo[y : y + 64, x : x + 64])
labels, crops = np.array(labels), np.stack(crops)

# %%
# Random phases
# -------------
#
# A Gaussian random field keeps the spectrum of an image and has random phases. So the
# second row of the picture shows what a Gaussian could draw at best: trees are still
# trees, and petals are not petals.

shown = np.concatenate([np.flatnonzero(labels == label)[:2] for label in parts])
noise = np.fft.fft2(rng.normal(size=(len(shown), 64, 64)))
phases = (noise / abs(noise))[..., None]
phases[:, 0, 0] = 1.0  # the mean colour stays
spectrum = np.fft.fft2(crops[shown], axes=(1, 2))
random_phases = np.fft.ifft2(spectrum * phases, axes=(1, 2)).real

# %%
# Draws
# -----
#
# The default of 144 components draws fog, because most of the fine variance is in the
# discarded directions. More components, styles and contrast add detail. Edges and
# objects stay out of reach: an edge has another place in every image, and only a style
# of its own could fix that place. A style has some 30 crops here, so some draws come
# close to copies of them. The page on photos measures how close.

models = {
    "default": LinearDiffusion(),
    "300 components,\nstyles, contrast": LinearDiffusion(300, n_styles=4, contrast="pixelwise"),
}
rows = {"real": crops[shown], "random phases": random_phases}
for name, ld in models.items():
    rows[name] = ld.fit(labels, crops).predict(labels[shown], seed=3)
pictures = np.concatenate(list(rows.values()))
captions = [text for label in parts for text in (label, "")] + [""] * 30
figure = plot.grid(
    pictures, captions=captions, labels=list(rows), columns=10, vmin=0, vmax=255, size=0.6
)
plot.show(figure)

# %%
# A number for what is missing
# ----------------------------
#
# The kurtosis of the differences of neighbouring pixels is 3 for a Gaussian field.
# Edges raise it, since most differences are small and few are large. This is its median
# over the shown crops of petals and roofs.


def kurtosis(images):
    """Return E[d^4] / E[d^2]^2 of the horizontal differences d of the lightness."""
    d = np.diff(images.astype(float).mean(axis=3), axis=2).reshape(len(images), -1)
    d -= d.mean(axis=1, keepdims=True)
    return (d**4).mean(axis=1) / (d**2).mean(axis=1) ** 2


edged = np.isin(labels[shown], ["roofs", "petals"])
for name, images in rows.items():
    found = np.median(kurtosis(np.clip(images[edged], 0, 255)))
    print(f"{' '.join(name.split()):33s} {found:.1f}")
