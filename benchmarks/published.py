"""Compute the tables of Wang and Vastola (2024) in closed form, cell by cell: docs/images/published.png.

With their paper, Wang and Vastola published tables of the scores of networks and of analytic models, estimated from
random draws. Here the same numbers follow from eigenvalues. For a Gaussian of the variances l_k in its principal
directions, of which the model keeps the first r, with the gains g_k of the model's denoiser at the noise level s,

    loss         E |s score + n|^2 = sum_k ((1 - g_k)^2 l_k + g_k^2 s^2) / s^2         x = z + s n
    square       E |score|^2       = sum_k (1 - g_k)^2 (l_k + s^2) / s^4

The Gaussian explains a share of any score S. The Gaussian's score G is the best affine approximation of S, because
Stein's identity is E[S x^T] = -I. So E |S - G|^2 = E |S|^2 - E |G|^2, and the share is a ratio of squares:

    explained    1 - E |S - G|^2 / E |S|^2 = sum_k 1 / (l_k + s^2) / E |S|^2

The tables are not part of this repository. They are read from $LINEARDIFFUSION_DATA/wang-vastola or downloaded to
that folder from the authors' repository. MNIST is needed too; the spectrum of CIFAR-10 is optional
($LINEARDIFFUSION_DATA/pierret-galerne/cifar10_eigenvalues.npy).

    python benchmarks/published.py           # a line for each row of each table; a minute
    python benchmarks/published.py --cells   # every cell

References
----------
Wang and Vastola (2024), The unreasonable effectiveness of Gaussian score approximation for diffusion models and its
applications. Transactions on Machine Learning Research.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist
from lineardiffusion.datasets._download import download
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.statistics.moments import Moments

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "published.png"
SOURCE = (
    "https://raw.githubusercontent.com/Animadversio/GaussianTeleportationDiffusion/"
    "77cbd43c0ce2b077da7fbb59bbbeb6053716473b/Tables/"
)
LOSSES = "MNIST_gmm_ansatz_kmeans_loss_timesplit_organize.csv"
CIFAR10_LOSSES = "CIFAR10_gmm_ansatz_kmeans_loss.csv"
MNIST = "MNIST_edm_1000k_epoch_gmm_exp_var_gmm_rk.csv"
CIFAR10 = "cifar10_uncond_edm_vp_pretrained_epoch_gmm_exp_var_gmm_rk.csv"
SHA256 = {
    LOSSES: "2eccc759478515d88d2e9046a2b2b9411ffbc2a74dc1c7cd24a9808d1bf97583",
    CIFAR10_LOSSES: "226759c39d70c1d37d755fe7948a0f8b9e46ab6931cddcf06eb6774aa52a9367",
    MNIST: "fd72340d73f7c5587bace5fb7a7ce30c6bb7e36d3abd807af389b27bd18cd9b8",
    CIFAR10: "e635f8317048c02150d2332e9ffe9a2677acb309549a979d526928aed2533ec9",
}
TIMES = np.linspace(1e-3, 1, 51)  # of the 51 columns of losses; found from the table, which does not state them
DRAWS = 2048  # behind each cell of the squares, by the authors' script
RIDGE = 1e-5  # what their code adds to the eigenvalues that it keeps


def published(name):
    """Return the rows of a published table as dictionaries of strings."""
    root = os.environ.get("LINEARDIFFUSION_DATA")
    path = Path(root or "~/scikit_learn_data/lineardiffusion").expanduser() / "wang-vastola" / name
    if not path.is_file():
        download([SOURCE + name], path, SHA256[name])
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def spectrum(images):
    """Return the eigenvalues of the covariance of images (n, d), the largest first, and their mean (d,)."""
    moments = Moments.of(images, np.zeros(len(images)), 1)
    return np.maximum(np.linalg.eigvalsh(moments.covariance[0])[::-1], 0.0), moments.mean[0]


def gains(variance, s):
    """Return the gains g (d,) of the denoiser of a Gaussian in its principal coordinates."""
    denoiser = GaussianDenoiser(np.zeros((1, len(variance))), variance[None])
    return denoiser(Affine.identity(1, len(variance), diagonal=True), 1.0, s).rows[0, 0]


def truncated(variance, rank):
    """Return the variances of a model that keeps the first `rank` of them."""
    return np.where(np.arange(len(variance)) < rank, variance, 0.0)


def loss(variance, model, s):
    """Return E |s score + n|^2 of a model on data of these variances, both (d,)."""
    g = gains(model, s)
    return float(((1 - g) ** 2 * variance + g**2 * s**2).sum() / s**2)


def square(variance, model, s):
    """Return E |score|^2 of a model at the noisy data."""
    return float(((1 - gains(model, s)) ** 2 * (variance + s**2)).sum() / s**4)


def levels(times, base=10.0):
    """Return the noise levels of the variance exploding SDE dx = base^t dw at these times."""
    return np.sqrt((base ** (2 * times) - 1) / (2 * np.log(base)))


def report(title, name, ours, theirs, cells):
    """Print our cells against theirs, row by row or cell by cell, and return the relative deviations."""
    deviation = ours / theirs - 1
    print(f"\n{title}: {ours.size} cells, largest deviation {np.abs(deviation).max():.2%}, "
          f"rms {np.sqrt((deviation**2).mean()):.2%}, within 1 %: {(np.abs(deviation) < 0.01).sum()}")  # fmt: skip
    for row, one, other, off in zip(name, ours, theirs, deviation, strict=True):
        print(f"  {row:<24} largest {off[np.abs(off).argmax()]:+.2%}, rms {np.sqrt((off**2).mean()):.2%}")
        for a, b, c in zip(one, other, off, strict=True) if cells else ():
            print(f"    ours {a:14.6g}   published {b:14.6g}   {c:+.2%}")
    return deviation


def losses(cells):
    """Compare the loss of one Gaussian on MNIST at 11 ranks and 51 noise levels; return what a figure shows."""
    variance, mean = spectrum(load_mnist("train")[1].reshape(60000, -1))
    variance = variance / (variance.mean() + mean.var())  # all pixels of all images have the standard deviation 1
    rows = [row for row in published(LOSSES) if row["n_clusters"] == "1"]
    ranks = [int(row["n_rank"]) for row in rows]
    theirs = np.array([[float(row[f"loss_t{i}"]) for i in range(51)] for row in rows])
    ours = np.array([[loss(variance, truncated(variance, r), s) for s in levels(TIMES)] for r in ranks])
    report("Loss of the Gaussian model, MNIST", [f"rank {r}" for r in ranks], ours, theirs, cells)
    return ranks, ours, theirs


def mean_losses(variance, cells):
    """Compare the loss of one Gaussian on CIFAR-10 at 16 ranks, the mean over times from 0.001 to 1."""
    rows = [row for row in published(CIFAR10_LOSSES) if row["n_clusters"] == "1"]
    ranks, theirs = (np.array([float(row[name]) for row in rows]) for name in ("n_rank", "eval_loss"))
    times = np.geomspace(1e-3, 1, 400)  # the loss falls like 1 / t
    each = np.array([[loss(variance, truncated(variance, r), s) for s in levels(times)] for r in ranks])
    ours = np.trapezoid(each, times, axis=1) / (times[-1] - times[0])
    names = [f"rank {r:.0f}" for r in ranks]
    report("Mean loss of the Gaussian model, CIFAR-10", names, ours[:, None], theirs[:, None], cells)


def squares(title, name, variance, cells):
    """Compare E |score|^2 of all models of one Gaussian; return the explained shares (levels, theirs, ours)."""
    d, table = len(variance), {}
    for row in published(name):
        table.setdefault(row["name"], {})[float(row["sigma"])] = row
    models = {
        "mean isotropic": np.zeros(d), "mean + std isotropic": np.full(d, variance.mean()), "gaussian": variance,
        "gaussian regularize": variance + 1e-4,
    }  # fmt: skip
    for model in table:
        if model.startswith("gmm_1_mode_"):
            models[model] = truncated(variance + RIDGE, int(model.split("_")[3]))
    sigma = np.array(sorted(table["gaussian"]))
    ours, theirs, spread = [], [], []
    for model, kept in models.items():
        ours.append([square(variance, kept, s) for s in sigma])
        theirs.append([float(table[model][s]["St_Var"]) for s in sigma])
        spread.append([float(table[model][s]["St_Var_std"]) for s in sigma])
    ours, theirs, spread = np.array(ours), np.array(theirs), np.array(spread)
    report(f"E |score|^2, {title}", models, ours, theirs, cells)
    z = (ours - theirs) / (spread / np.sqrt(DRAWS))
    print(f"  in standard errors of {DRAWS} draws: rms {np.sqrt((z**2).mean()):.2f}, largest {np.abs(z).max():.1f}")
    total = np.array([float(table["EDM"][s]["St_Var"]) for s in sigma])
    stated = np.array([float(table["gaussian"][s]["St_EV"]) for s in sigma])
    share = ours[list(models).index("gaussian")] / total
    print(f"\nShare of a network's score that the Gaussian explains, {title}\n  sigma  published   closed form")
    for s, a, b in zip(sigma, stated, share, strict=True):
        print(f"  {s:5g}   {a:.4f}     {b:.4f}   {b / a - 1:+.2%}")
    return sigma, stated, share


def explained_by_ours(images, test, sigma, n_styles=500):
    """Return the share of the score of a mixture of styles that the Gaussian explains, on test images."""
    prompts, some = ["digit"] * len(images), ["digit"] * len(test)
    mixture = LinearDiffusion(n_components=300, n_styles=n_styles).fit(prompts, images)
    gaussian = LinearDiffusion(n_components=300, shrinkage=0).fit(prompts, images)
    rng, shares = np.random.default_rng(0), []
    for s in sigma:
        x = test + s * rng.normal(size=test.shape)
        S, G = (((one.denoise(some, x, s) - x) / s**2).reshape(len(x), -1) for one in (mixture, gaussian))
        shares.append(np.mean(1 - ((S - G) ** 2).sum(axis=1) / (S**2).sum(axis=1)))
    return np.array(shares)


def resized(split):
    """Return MNIST as their networks saw it: 32 x 32 pixels by bilinear interpolation, from -1 to 1."""
    images = [Image.fromarray(one).resize((32, 32), Image.Resampling.BILINEAR) for one in load_mnist(split)[1]]
    return np.stack([np.asarray(one) for one in images]).astype(np.float32) / 127.5 - 1


def main(cells=False) -> None:
    ranks, ours, theirs = losses(cells)
    images = resized("train")
    variance, mean = spectrum(images.reshape(len(images), -1))
    stated = next(float(row["Dt_Var"]) for row in published(MNIST) if row["name"] == "mean isotropic")
    print(f"\nSquare of the mean image, MNIST at 32 x 32: ours {mean @ mean:.3f}, published {stated:.3f}")
    shares = {"MNIST": squares("MNIST at 32 x 32", MNIST, variance, cells)}
    path = Path(os.environ.get("LINEARDIFFUSION_DATA", ""), "pierret-galerne", "cifar10_eigenvalues.npy")
    if path.is_file():
        variance = np.maximum(np.sort(np.load(path))[::-1], 0.0)
        mean_losses(variance, cells)
        shares["CIFAR-10"] = squares("CIFAR-10", CIFAR10, variance, cells)
    sigma = np.array([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10])
    own = explained_by_ours(images, resized("test")[:256], sigma)
    print("\nShare of our mixture of 500 styles' score that the Gaussian explains (ours alone), MNIST test digits")
    print("  " + ", ".join(f"{s:g}: {share:.4f}" for s, share in zip(sigma, own, strict=True)))

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i in (0, 3, 5, 7, 9, 10):
        (line,) = left.loglog(levels(TIMES), ours[i], label=f"rank {ranks[i]}")
        left.loglog(levels(TIMES)[::3], theirs[i, ::3], ".", color=line.get_color())
    left.set(xlabel="noise level", ylabel="loss", title="lines: closed form, dots: published")
    left.legend(frameon=False, fontsize=8)
    for name, (sigma_, stated, share) in shares.items():
        (line,) = right.semilogx(sigma_, share, label=f"{name}: closed form")
        right.semilogx(sigma_, stated, ".", color=line.get_color(), label=f"{name}: published")
    right.semilogx(sigma, own, "--", color="grey", label="MNIST: our mixture of 500 styles")
    right.set(xlabel="noise level", title="share of the score that the Gaussian explains", ylim=(0, 1.02))
    right.legend(frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main("--cells" in sys.argv[1:])
