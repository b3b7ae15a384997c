"""Compare approximate posteriors of half digits with the exact one: the table of the page on posteriors.

Each row is a method, with a number of steps in each column. The digits are MNIST's test digits, which the model was
not fitted on, reduced to its components. Their prompts are given, and the upper half is seen with noise.

    python benchmarks/posteriors.py  # a minute
"""

import numpy as np

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist
from lineardiffusion.posteriors import posterior_law

DIGITS = [0, 1, 18, 15, 84]  # test digits
SEED, NOISE = 137, 0.1  # pixels are from -1 to 1
STEPS = 20, 100, 400
ZETAS = 0.01, 0.04, 0.16, 0.64


def compare(law, exact):
    """The squares of W2, of its part from the means, and of the spread, in units of the posterior's spread."""
    spread = np.trace(exact.covariance)
    squares = law.wasserstein(exact) ** 2, np.sum((law.mean - exact.mean) ** 2), np.trace(law.covariance)
    return np.array(squares) / spread


def main() -> None:
    prompts, images = load_mnist("train")
    ld = LinearDiffusion().fit(prompts, images / 127.5 - 1)
    prompts, images = (of_test[DIGITS] for of_test in map(np.asarray, load_mnist("test")))
    digits = ld.decode(ld.encode(images / 127.5 - 1)).astype(float)
    offset = ld.decode(np.zeros(ld.n_components_)).ravel()
    half = offset.size // 2
    A = (ld.decode(np.eye(ld.n_components_)).reshape(-1, offset.size) - offset).T[:half]
    y = digits.reshape(len(digits), -1)[:, :half]
    y = y + NOISE * np.random.default_rng(SEED).normal(size=y.shape)
    priors = [ld.law(prompt) for prompt in prompts]
    exact = [
        law.condition(one, A, NOISE**2 * np.eye(half)) for law, one in zip(priors, y - offset[:half], strict=True)
    ]

    def laws(num_steps, **method):
        both = zip(priors, y - offset[:half], strict=True)
        return [posterior_law(law, one, A, NOISE, num_steps=num_steps, **method) for law, one in both]

    def row(name, **method):
        cells = []
        for num_steps in STEPS:
            try:
                found = [compare(*pair) for pair in zip(laws(num_steps, **method), exact, strict=True)]
                cells.append("{:.2f} ({:.2f}, {:.2f})".format(*np.sqrt(np.mean(found, axis=0))))
            except ValueError:
                cells.append("diverges")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)

    print("| method | 20 steps | 100 steps | 400 steps |\n|---|---|---|---|")
    for method in "exact", "pigdm":
        row(f"`{method}`, ddim", method=method, sampler="ddim")
    for method in "exact", "tmpd", "tmpd_diagonal", "pigdm", "dps_score":
        row(f"`{method}`, ddpm", method=method)
    for zeta in ZETAS:
        row(f"`dps`, ddpm, step {zeta:.2f}", method="dps", step=zeta)


if __name__ == "__main__":
    main()
