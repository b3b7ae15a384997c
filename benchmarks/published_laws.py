"""Print what papers proved about Gaussians beside what this library's samplers and fits give.

Guidance of Gaussians (Bradley and Nakkiran 2024). A prompt has the law N(0, 1), all images together N(0, 2). With
alpha = 1 and sigma^2 = t the score guided by w is -a(t) x with a = w / (1 + t) + (1 - w) / (2 + t). From V(T) = T,
with T to infinity, the variance V(t) of what is sampled obeys

    probability flow   dV/dt = a V         V(0) = 2^(1-w)
    reverse SDE        dV/dt = 2 a V - 1   V(0) = (2 - 2^(2-2w)) / (2w - 1)
    density p_c^w p^(1-w)                  V    = 2 / (w + 1)

The second follows with the integrating factor ((1 + t)^w (2 + t)^(1-w))^-2 and u = (2 + t) / (1 + t). The three are
equal at w = 1 only. The sampler ddim converges to the first and ddpm to the second.

Equal covariances. Where the prompt has the law N(m, S) and guidance leads away from N(m_all, S), the guided
denoiser is that of N(m + (w - 1) (m - m_all), S), with any sampler and any number of steps.

Linear models of N samples (Merger and Goldt 2025). The paper finds that the Kullback-Leibler divergence between the
data's law and what a linear diffusion model samples falls linearly with d / N for N > d, whatever the law. Here the
model is the maximum likelihood estimate. N times its covariance is Wishart with N - 1 degrees of freedom, so the
expected divergence from the truth to the model is known for every N > d + 2 (psi is the digamma function):

    E KL = (1/2) (d (N + 1) / (N - d - 2) - d + sum_i psi((N - i) / 2) + d log(2 / N))
         = d (d + 3) / (4 N) + O(1 / N^2)

    python benchmarks/published_laws.py  # ten seconds

References
----------
Bradley and Nakkiran (2024), Classifier-free guidance is a predictor-corrector.
Merger and Goldt (2025), Generalization dynamics of linear diffusion models.
"""

import numpy as np
from scipy.special import digamma

from lineardiffusion import Gaussian, LinearDiffusion
from lineardiffusion.diffusion.schedules import Karras


def toy() -> LinearDiffusion:
    """Fit one pixel whose prompt "c" has the law N(0, 1), and all images N(0, 2)."""
    images = np.array([-1.0, 1.0, -(3**0.5), 3**0.5]).reshape(4, 1, 1)
    ld = LinearDiffusion(n_components=1, shrinkage=0, schedule=Karras(sigma_max=1000.0, sigma_min=1e-4))
    return ld.fit(["c", "c", "other", "other"], images)


def variance(ld, **sampling) -> float:
    """Return the variance of the law of prompt "c" in pixels."""
    return float(ld.law("c", **sampling).covariance[0, 0]) * ld.scaling_factor_**2


def guidance() -> None:
    ld = toy()
    print("Variance of N(0, 1) guided away from N(0, 2)")
    print("  scale   flow: formula  exact     ddim  SDE: formula    ddpm   density")
    for w in (1.0, 1.5, 2.0, 3.0, 5.0, 8.0):
        flow, sde, density = 2 ** (1 - w), (2 - 2 ** (2 - 2 * w)) / (2 * w - 1), 2 / (w + 1)
        exact = variance(ld, sampler="exact", guidance_scale=w)
        ddim, ddpm = (extrapolated(ld, sampler, w) for sampler in ("ddim", "ddpm"))
        print(f"  {w:5g}   {flow:11.6f} {exact:8.6f} {ddim:8.6f}  {sde:11.6f} {ddpm:8.6f}  {density:8.6f}"
              f"   deviations {exact / flow - 1:+.0e}, {ddim / flow - 1:+.0e}, {ddpm / sde - 1:+.0e}")  # fmt: skip


def extrapolated(ld, sampler, w, num_steps=2000) -> float:
    """Return the limit of the variance, from two numbers of steps of a sampler of first order."""
    how = {"sampler": sampler, "guidance_scale": w}
    return 2 * variance(ld, num_steps=2 * num_steps, **how) - variance(ld, num_steps=num_steps, **how)


def covariances(d=5, w=3.0) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40, d)) @ rng.normal(size=(d, d))
    m, away = rng.normal(size=(2, d))
    means = {"c": m, "away": away, "predicted": m + (w - 1) * (m - away)}
    images = np.concatenate([base + mean for mean in means.values()]).reshape(-1, 1, d)
    ld = LinearDiffusion(n_components=d, shrinkage=0).fit(np.repeat(list(means), len(base)).tolist(), images)
    print(f"\nGuidance by {w:g} of equal covariances: W2 to N(m + (w - 1) (m - m_all), S), relative to its spread")
    spread = np.sqrt(np.trace(ld.law("predicted").covariance))
    for sampler, n in (("exact", 1), ("ddim", 3), ("ddim", 50), ("ddpm", 3), ("ddpm", 50), ("heun", 10)):
        how = {"sampler": sampler, "num_steps": n}
        guided = ld.law("c", guidance_scale=w, negative_prompt="away", **how)
        pooled = ld.law("c", guidance_scale=w, **how)
        one, other = (law.wasserstein(ld.law("predicted", **how)) / spread for law in (guided, pooled))
        print(f"  {sampler:>5}, {n:2} steps: {one:.1e}   (away from the pooled Gaussian: {other:.2f})")


def expected_kl(d, n) -> float:
    """Return the expected divergence KL(truth || maximum likelihood estimate) of n samples."""
    logs = digamma((n - np.arange(1, d + 1)) / 2).sum() + d * np.log(2 / n)
    return 0.5 * (d * (n + 1) / (n - d - 2) - d + logs)


def fitted_law(images) -> Gaussian:
    """Return the law, in pixels, of a model fitted to images (n, d)."""
    ld = LinearDiffusion(n_components=images.shape[1], shrinkage=0).fit(["x"] * len(images), images[:, None])
    law, V = ld.law("x"), ld.components_ * ld.scaling_factor_
    return Gaussian(ld.decode(law.mean[None]).ravel(), V.T @ law.covariance @ V)


def samples(d=16, fits=100) -> None:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    print(f"\nModels of N samples in {d} dimensions, means of {fits} fits (standard error of KL in %)")
    for name, eigenvalues in (("white", np.ones(d)), ("power law", np.arange(1, d + 1) ** -2.0)):
        truth = Gaussian(np.zeros(d), (rotation * eigenvalues) @ rotation.T)
        sizes, found = np.array([24, 32, 64, 128, 256, 512, 1024]), []
        print(f"  {name:>9}: N   d/N      KL  expected  d(d+3)/4N       W2")
        for n in sizes.tolist():
            laws = [fitted_law(truth.draw(n, rng)) for _ in range(fits)]
            kl, w2 = (np.array([f(law) for law in laws]) for f in (truth.kl, truth.wasserstein))
            found.append((kl.mean(), w2.mean()))
            error = 100 * kl.std() / np.sqrt(fits) / kl.mean()
            row = f"{n:14} {d / n:5.2f} {kl.mean():7.3f} {expected_kl(d, n):9.3f} {d * (d + 3) / 4 / n:10.3f}"
            print(f"{row} {w2.mean():8.3f}   ({error:.1f})")
        far = sizes >= 8 * d
        slopes = [np.polyfit(np.log(sizes[far]), np.log(values[far]), 1)[0] for values in np.array(found).T]
        print(f"    slopes from N = {8 * d} on: KL {slopes[0]:.2f} (d/N: -1), W2 {slopes[1]:.2f} (control: -1/2)")


if __name__ == "__main__":
    guidance()
    covariances()
    samples()
