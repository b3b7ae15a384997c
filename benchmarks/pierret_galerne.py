"""Reproduce the table of Pierret and Galerne (2025), cell by cell.

They computed the Wasserstein errors of six samplers on the Gaussian of CIFAR-10's pixels, exactly. This prints all
192 cells with the deviation of the library's own samplers.

The data's law is N(0, C) with the eigenvalues of the covariance of CIFAR-10's 3,072 pixels, from the authors'
code (github.com/emilePi, code/cifar10.npy), and the schedule is VPLinear. In the column NFE = N there are N even
times from 1 to eps, which are N - 1 steps. The times of rk4 are N / 4, but heun has N times too, although it
evaluates twice a step. p_T starts from the marginal at t = 1 and N_0 from N(0, I), both under one composed map.
The truncation eps ends sampling early: the error is that of the state at eps against the data.

The paper's DDPM takes beta = 2 h b(t) for a step of length h, where 2 b is VPLinear's rate. The library's beta is
1 - (alpha / alpha')^2, so theirs is written here. The library has no sampler that solves the reverse SDE exactly,
so its continuous errors are computed from the law in closed form.

The table has two decimals, so the most that a right number may be off is .005.

    LINEARDIFFUSION_DATA=folder python benchmarks/pierret_galerne.py  # six seconds

The folder holds pierret-galerne/cifar10_eigenvalues.npy, the authors' file.

References
----------
Pierret and Galerne (2025), Diffusion models for Gaussian distributions: exact solutions and Wasserstein errors.
ICML. Table 5.
"""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from lineardiffusion import samplers
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.samplers import get_sampler
from lineardiffusion.diffusion.trajectory import Trajectory, compose
from lineardiffusion.schedules import VPLinear

FILE = Path("pierret-galerne", "cifar10_eigenvalues.npy")
STARTS = ("p_T", "N_0")
VP = VPLinear()
EPS = (0.0, 1e-5, 1e-4, 1e-3)
NFE = (50, 250, 500, 1000)

# sampler, eps: errors from p_T, and from N_0, at each NFE
TABLE = {
    ("em", 0): ((4.78, 0.65, 0.32, 0.16), (4.78, 0.66, 0.32, 0.16)),
    ("em", 1e-5): ((4.77, 0.66, 0.32, 0.16), (4.77, 0.66, 0.32, 0.16)),
    ("em", 1e-4): ((4.76, 0.66, 0.32, 0.17), (4.76, 0.66, 0.32, 0.17)),
    ("em", 1e-3): ((4.68, 0.70, 0.40, 0.27), (4.68, 0.70, 0.40, 0.27)),
    ("ei", 0): ((2.81, 0.57, 0.30, 0.16), (2.81, 0.57, 0.30, 0.16)),
    ("ei", 1e-5): ((2.81, 0.57, 0.30, 0.16), (2.81, 0.57, 0.30, 0.16)),
    ("ei", 1e-4): ((2.82, 0.58, 0.31, 0.17), (2.82, 0.58, 0.31, 0.17)),
    ("ei", 1e-3): ((2.91, 0.67, 0.41, 0.29), (2.91, 0.67, 0.41, 0.29)),
    ("ddpm", 0): ((6.82, 0.97, 0.47, 0.23), (6.82, 0.97, 0.47, 0.23)),
    ("ddpm", 1e-5): ((6.82, 0.97, 0.47, 0.24), (6.82, 0.97, 0.47, 0.23)),
    ("ddpm", 1e-4): ((6.81, 0.98, 0.47, 0.24), (6.81, 0.98, 0.47, 0.24)),
    ("ddpm", 1e-3): ((6.74, 1.00, 0.53, 0.32), (6.74, 1.00, 0.53, 0.32)),
    ("euler", 0): ((1.72, 0.38, 0.20, 0.10), (1.78, 0.44, 0.26, 0.17)),
    ("euler", 1e-5): ((1.72, 0.38, 0.20, 0.10), (1.78, 0.44, 0.26, 0.17)),
    ("euler", 1e-4): ((1.72, 0.38, 0.20, 0.11), (1.78, 0.44, 0.26, 0.17)),
    ("euler", 1e-3): ((1.73, 0.42, 0.27, 0.21), (1.79, 0.48, 0.32, 0.25)),
    ("heun", 1e-5): ((23.42, 2.86, 1.05, 0.37), (23.42, 2.87, 1.06, 0.38)),
    ("heun", 1e-4): ((4.68, 0.43, 0.12, 0.03), (4.68, 0.44, 0.14, 0.08)),
    ("heun", 1e-3): ((0.58, 0.13, 0.16, 0.17), (0.59, 0.15, 0.18, 0.19)),
    ("rk4", 1e-5): ((67.32, 5.49, 2.11, 0.77), (67.32, 5.49, 2.11, 0.77)),
    ("rk4", 1e-4): ((14.35, 0.93, 0.29, 0.07), (14.35, 0.93, 0.29, 0.10)),
    ("rk4", 1e-3): ((2.60, 0.09, 0.15, 0.17), (2.60, 0.12, 0.17, 0.19)),
}
# without a step, by eps from 0 on: from p_T, and from N_0
CONTINUOUS = {
    "ODE": ((0.0, 4.1e-3, 0.03, 0.18), (0.07, 0.07, 0.08, 0.19)),
    "SDE": ((0.0, 4.1e-3, 0.03, 0.18), (6.7e-4, 4.2e-3, 0.03, 0.18)),
}


@dataclass(frozen=True)
class PaperDDPM(samplers.Sampler):
    """x' = (x + beta s) / sqrt(1 - beta) + sqrt(beta) n with beta = 2 h b(t), noise at the last step too."""

    isotropic = True  # so that its maps are diagonal

    def __call__(self, denoise, x, schedule, times, add_noise):
        for t, t_ in pairwise(times.tolist()):
            alpha, sigma = map(float, schedule(t))
            beta = (t - t_) * (schedule.beta_min + t * (schedule.beta_max - schedule.beta_min))
            score = (alpha * denoise(x, alpha, sigma) - x) / sigma**2
            x = add_noise((x + beta * score) / (1 - beta) ** 0.5, beta**0.5)
            yield x


def load(root):
    """Return the eigenvalues (3072,), from the folder of data."""
    return np.maximum(np.load(Path(root, FILE)).astype(float), 0.0)


def errors(spectrum, sampler, times):
    """Wasserstein errors from p_T and from N_0, of diagonal maps."""
    denoiser = GaussianDenoiser(np.zeros((1, len(spectrum))), spectrum[None])
    way = Trajectory(get_sampler(sampler, len(times) - 1), VP, given=tuple(times.tolist()))
    x = compose(denoiser, 1, len(spectrum), way)
    alpha, sigma = way.start
    gain, added = x.rows[0, 0] ** 2, (x.rows[0, 1:-1] ** 2).sum(axis=0)
    starts = (alpha**2 * spectrum + sigma**2) / sigma**2, 1 / sigma**2
    return [float(np.linalg.norm(np.sqrt(gain * start + added) - np.sqrt(spectrum))) for start in starts]


def rows(spectrum, sampler, eps):
    """Both rows of the table, from p_T and from N_0."""
    run = PaperDDPM() if sampler == "ddpm" else sampler
    found = [errors(spectrum, run, np.linspace(1.0, eps, n // 4 if sampler == "rk4" else n)) for n in NFE]
    return np.transpose(found)


def continuous(spectrum):
    """Errors without steps, from p_T and from N_0, at each eps: of the exact sampler, and of the reverse SDE.

    The state at t of the reverse SDE given that at T has the gain g = (alpha_T / alpha) v / v_T and the variance
    v - g^2 v_T, where v and v_T are the variances of the forward process.
    """
    ode = np.transpose([errors(spectrum, "exact", np.array([1.0, eps])) for eps in EPS])
    alpha, sigma = VP(np.array([1.0, *EPS]))
    last, *now = alpha[:, None] ** 2 * spectrum + sigma[:, None] ** 2
    gains = [alpha[0] / a * v / last for a, v in zip(alpha[1:], now, strict=True)]
    sde = [[v + g**2 * (start - last) for v, g in zip(now, gains, strict=True)] for start in (last, 1.0)]
    return {"ODE": ode, "SDE": np.linalg.norm(np.sqrt(sde) - np.sqrt(spectrum), axis=2)}


def main() -> None:
    spectrum = load(os.environ.get("LINEARDIFFUSION_DATA", "."))
    largest = 0.0
    for name, found in continuous(spectrum).items():
        for start, mine, published in zip(STARTS, found, CONTINUOUS[name], strict=True):
            off = mine - published
            print(f"{name:5s} by eps   {start}", *(f"{a:8.4f} ({b:+.4f})" for a, b in zip(mine, off, strict=True)))
            largest = max(largest, np.abs(off).max())
    for (name, eps), published in TABLE.items():
        for start, mine, theirs in zip(STARTS, rows(spectrum, name, eps), published, strict=True):
            off = mine - theirs
            print(f"{name:5s} {eps:<8g} {start}", *(f"{a:8.4f} ({b:+.4f})" for a, b in zip(mine, off, strict=True)))
            largest = max(largest, np.abs(off).max())
    cells = 2 * len(NFE) * len(TABLE) + 4 * len(EPS)
    print(f"{cells} cells; the largest deviation is {largest:.4f}")


if __name__ == "__main__":
    main()
