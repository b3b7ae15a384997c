"""Choose components, styles and shrinkage by held-out likelihood: docs/choose.png.

The data are scikit-learn's 1,797 digits with "3" cut to 8 images, so one prompt is rare. ``GridSearchCV`` compares
the log-likelihood of held-out images, which is exact and proper in pixel space, so models of any size can be
compared. Left, the curve against the number of components, without shrinkage and with the amount that the data
choose. Right, the numbers of styles, with ``"auto"`` among them. BIC, which needs no held-out images, is printed.

    python examples/plot_choose.py
"""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_digits

DOCS = Path(__file__).parent.parent / "docs"
COMPONENTS, STYLES = (5, 10, 20, 30, 40, 50, 0.95), (1, 2, 3, 4, 6, "auto")


def main() -> None:
    prompts, images = map(np.array, load_digits())
    kept = np.sort(np.concatenate([np.flatnonzero(prompts != "3"), np.flatnonzero(prompts == "3")[:8]]))
    prompts, images = prompts[kept], images[kept]
    folds = list(StratifiedKFold(4, shuffle=True, random_state=0).split(prompts, prompts))

    def search(grid: dict) -> list[float]:
        with warnings.catch_warnings():  # of "3", which has fewer images than styles
            warnings.simplefilter("ignore")
            found = GridSearchCV(LinearDiffusion(), grid, cv=folds).fit(prompts, images)
        print({name: found.best_params_[name] for name in grid}, f"{found.best_score_:.1f} nats an image")
        return found.cv_results_["mean_test_score"].tolist()

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    numbers = [n for n in COMPONENTS if n >= 1]
    for label, shrinkage in (("maximum likelihood", 0.0), ('shrinkage="auto"', "auto")):
        scores = search({"n_components": list(COMPONENTS), "shrinkage": [shrinkage]})
        left.plot(numbers, [max(score, -400) for score in scores[: len(numbers)]], "o-", label=label)
    left.set(xlabel="n_components", ylabel="nats an image (cut at -400)", title="Held-out log-likelihood")
    left.legend()
    for n in (20, 40):
        scores = search({"n_components": [n], "n_styles": list(STYLES)})
        right.plot(range(len(STYLES)), scores, "o-", label=f"{n} components")
    right.set_xticks(range(len(STYLES)), map(str, STYLES))
    right.set(xlabel="n_styles", title="Held-out log-likelihood")
    right.legend()
    figure.savefig(DOCS / "choose.png", dpi=80)
    bic = {n: LinearDiffusion(n).fit(prompts, images).bic(prompts, images) for n in numbers}
    print("BIC:", {n: round(value) for n, value in bic.items()}, "least at", min(bic, key=bic.__getitem__))


if __name__ == "__main__":
    main()
