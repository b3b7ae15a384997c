"""Draw 64 x 64 colour photos, and measure what a mixture of Gaussians lacks.

The images are crops of scikit-learn's two sample photos, labelled by their colours. A vertical strip of each photo
is held out, so that no test crop overlaps a training crop. ``pip install scikit-image`` adds two photos of
textures, which are left out where it is missing. For each model the example prints

    bits        negative log-likelihood of held-out crops given their labels, bits for each of the 12,288 numbers
    Frechet     distance of the local contrasts of draws to those of training crops (style_rank.py), divided by
                their number, in squared grey levels
    copying     ratio and share of :func:`lineardiffusion.metrics.copying` (held-out crops: 1 and 0.05)
    kurtosis    of the differences of neighbouring pixels within an image, median over the images of a label

A Gaussian random field has a kurtosis of 3. Edges and objects raise it: most differences are small, and few are
large. ``python benchmarks/photos.py`` draws docs/images/photos.png, which the page on photos discusses.

References
----------
Galerne, Gousseau and Morel (2011), Random phase textures: theory and synthesis. IEEE Transactions on Image
Processing 20(1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

from lineardiffusion import LinearDiffusion
from lineardiffusion.metrics import copying, frechet_distance
from lineardiffusion.style_rank import local_contrast

SIDE = 64
WINDOW = SIDE, 96  # pixels of the photo that a crop shows along its side, at least and at most
STRIP = 296, 424  # columns that are held out
TRAINING, TEST = 300, 100  # crops a label
LABELS = {"china": ("sky", "trees", "roofs"), "flower": ("leaves", "rim", "petals")}
TEXTURES = "grass", "brick"
MODELS: dict[str, dict[str, Any]] = {
    "default": {},
    "400 components,\nstyles, contrast": {"n_components": 400, "n_styles": "auto", "contrast": "pixelwise"},
}
SHOWN, SEED = 2, 3


def main() -> None:
    photos = load_photos()
    labels, images = make_crops(photos, TRAINING, held_out=False)
    test_labels, test_images = make_crops(photos, TEST, held_out=True)
    names = list(dict.fromkeys(labels))
    shown = {"real, held out": test_images, "the same with\nrandom phases": random_phases(test_images)}
    bits = {}
    for name, parameters in MODELS.items():
        ld = LinearDiffusion(**parameters).fit(labels, images)
        shown[name] = np.clip(ld.predict(test_labels, seed=SEED), 0, 255)
        bits[name] = f"{-ld.score(test_labels, test_images) / images[0].size / np.log(2):.2f}"

    contrasts = local_contrast(images.reshape(len(images), -1), images.shape[1:])
    print(f"{'':32s} bits  Frechet  copying    kurtosis of {', '.join(names)}")
    for name, x in shown.items():
        new = local_contrast(x.reshape(len(x), -1), x.shape[1:])
        distance = frechet_distance(contrasts, new) / new.shape[1]
        copied = copying(test_labels, x, test_labels, test_images, images)
        peaked = " ".join(f"{np.median(kurtosis(x[test_labels == label])):4.1f}" for label in names)
        title = name.replace("\n", " ")
        values = f"{bits.get(name, ''):4s} {distance:8.1f}  {copied.ratio:.2f} {copied.share:.2f}"
        print(f"{title:32s} {values}  {peaked}")

    chosen = np.concatenate([np.flatnonzero(test_labels == label)[:SHOWN] for label in names])
    width, height = SIDE * len(chosen) + 125, (SIDE + 4) * len(shown) + 20
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for i, (title, x) in enumerate(shown.items()):
        bottom = height - 20 - (i + 1) * (SIDE + 4)
        figure.figimage(np.concatenate(list(x[chosen].astype(np.uint8)), axis=1), 125, bottom, origin="upper")
        figure.text(118 / width, (bottom + SIDE / 2) / height, title, ha="right", va="center", fontsize=9)
    for i, label in enumerate(names):
        figure.text((125 + (i + 0.5) * SHOWN * SIDE) / width, 1 - 13 / height, label, ha="center", fontsize=9)
    file = Path(__file__).parent.parent / "docs" / "images" / "photos.png"
    figure.savefig(file)
    Image.open(file).convert("RGB").quantize(256).save(file, optimize=True)  # a third of the bytes


def load_photos() -> dict[str, np.ndarray]:
    """Return the photos (h, w, 3), and those of textures if scikit-image is installed."""
    photos = {name: load_sample_image(f"{name}.jpg") for name in LABELS}
    try:
        from skimage import data
    except ImportError:
        return photos
    return photos | {name: np.stack([getattr(data, name)()] * 3, axis=-1) for name in TEXTURES}


def label_of(photo: str, window: np.ndarray) -> str | None:
    """Return what a window (h, w, 3) of a photo shows by the share of its colours; None if it is mixed."""
    red, green, blue = np.moveaxis(window[::2, ::2].astype(float), -1, 0)
    if photo == "china":
        bright, reddish = np.mean(np.minimum(np.minimum(red, green), blue) > 130), np.mean(red > 1.3 * green)
        if bright > 0.9 or reddish > 0.15:
            return "sky" if bright > 0.9 else "roofs"
        return "trees" if bright < 0.5 and reddish < 0.08 else None
    if photo == "flower":
        warm = np.mean(red > 1.25 * blue)
        return "petals" if warm > 0.85 else "rim" if warm > 0.25 else "leaves" if warm < 0.02 else None
    return photo


def make_crops(photos: dict[str, np.ndarray], n: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return n crops a label at random places and scales, half of them mirrored, inside or outside of STRIP."""
    rng, found = np.random.default_rng(int(held_out)), {}
    for name, photo in photos.items():
        own = {label: [] for label in LABELS.get(name, (name,))}
        while min(map(len, own.values())) < n:
            side = int(rng.integers(WINDOW[0], WINDOW[1] + 1))
            left, right = STRIP if held_out else (0, photo.shape[1])
            x, y = int(rng.integers(left, right - side + 1)), int(rng.integers(len(photo) - side + 1))
            if not held_out and x < STRIP[1] and x + side > STRIP[0]:
                continue
            window = photo[y : y + side, x : x + side]
            label = label_of(name, window)
            if label is not None and len(own[label]) < n:
                crop = np.asarray(Image.fromarray(window).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
                own[label].append(crop[:, :: rng.choice([-1, 1])])
        found |= own
    return np.repeat(list(found), n), np.concatenate(list(found.values()))


def random_phases(images: np.ndarray) -> np.ndarray:
    """Return images (n, h, w, c) with the phases of white noise, the same in all colours."""
    noise = np.fft.fft2(np.random.default_rng(SEED).normal(size=images.shape[:3]), axes=(1, 2))
    turn = noise / abs(noise)
    turn[:, 0, 0] = 1.0  # the mean stays
    return np.clip(np.fft.ifft2(np.fft.fft2(images, axes=(1, 2)) * turn[..., None], axes=(1, 2)).real, 0, 255)


def kurtosis(images: np.ndarray) -> np.ndarray:
    """Return E[d^4] / E[d^2]^2 of the horizontal differences d of the lightness of each image (n, h, w, c)."""
    d = np.diff(images.mean(axis=3), axis=2).reshape(len(images), -1)
    d -= d.mean(axis=1, keepdims=True)
    return (d**4).mean(axis=1) / np.maximum((d**2).mean(axis=1), 1e-3) ** 2


if __name__ == "__main__":
    main()
