"""
Choose components, styles and shrinkage
=======================================

The log-likelihood of held-out images is exact and proper in pixel space, so models of
any size can be compared by it. You learn to choose parameters with scikit-learn's
``GridSearchCV``, and to use shrinkage where a prompt is rare.
"""

import warnings

import numpy as np
from matplotlib.figure import Figure
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_digits

# %%
# The data are scikit-learn's 1,797 digits. The prompt "3" is cut to 8 images, so one
# prompt is rare.

prompts, images = map(np.array, load_digits())
kept = (prompts != "3") | (np.cumsum(prompts == "3") <= 8)
prompts, images = prompts[kept], images[kept]
folds = list(StratifiedKFold(4, shuffle=True, random_state=0).split(prompts, prompts))


def search(**grid):
    """Return the held-out log-likelihood at each point of the grid, in nats per image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "3" has fewer images than some numbers of styles
        found = GridSearchCV(LinearDiffusion(), grid, cv=folds).fit(prompts, images)
    print(found.best_params_, f"{found.best_score_:.1f} nats per image")
    return found.cv_results_["mean_test_score"]


# %%
# Left, the number of components. Without shrinkage (maximum likelihood) the covariance
# of a rare prompt is singular, and held-out images of it are very unlikely.
# ``shrinkage="auto"``, the default, takes the amount of shrinkage that the data
# suggest. Right, the number of styles per prompt, with the difference to one style.

figure = Figure(figsize=(8, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
components, styles = [5, 10, 20, 30, 40, 50], [1, 2, 3, 4, 6, "auto"]
for label, shrinkage in (("maximum likelihood", 0.0), ('shrinkage="auto"', "auto")):
    scores = search(n_components=components, shrinkage=[shrinkage])
    left.plot(components, np.maximum(scores, -400), "o-", label=label)
left.set(
    xlabel="n_components",
    ylabel="nats per image (cut at -400)",
    title="Held-out log-likelihood",
)
left.legend()
for n in (20, 40):
    scores = search(n_components=[n], n_styles=styles)
    right.plot(range(len(styles)), scores - scores[0], "o-", label=f"{n} components")
right.set_xticks(range(len(styles)), map(str, styles))
right.set(xlabel="n_styles", ylabel="nats per image", title="Gain over one style")
legend = right.legend()
plot.show(figure)

# %%
# The Bayesian information criterion needs no held-out images. Less is better.

bic = {n: LinearDiffusion(n).fit(prompts, images).bic(prompts, images) for n in components}
print("BIC:", {n: round(value) for n, value in bic.items()})
