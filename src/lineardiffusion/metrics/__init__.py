"""How good are generated images? Each function answers one question, none answers all.

==================================  ====================================================================
`frechet_distance`                  do features of both sets have the same mean and covariance?
`precision_recall_density_coverage` do the generated look like real ones, and the real like generated ones?
`train_on_synthetic`                what does a classifier learn from the generated images?
`prompt_fidelity`                   does a classifier read the prompts back?
`copying_ratio`                     are the generated nearer to the training images than new real ones are?
==================================  ====================================================================

`fit_classifier` is the classifier that the third trains, `nearest` shows which image the last one found.

>>> from lineardiffusion import LinearDiffusion
>>> from lineardiffusion.datasets import load_digits
>>> prompts, images = load_digits()
>>> ld = LinearDiffusion(30).fit(prompts[:900], images[:900])
>>> drawn = ld.predict(prompts[:900], seed=137)
>>> train_on_synthetic(drawn, prompts[:900], images[900:], prompts[900:]) > 0.85
True
>>> 0.8 < copying_ratio(drawn, images[:900], images[900:]) < 1.5
True
"""

from lineardiffusion.metrics.copies import copying_ratio, nearest
from lineardiffusion.metrics.features import PRDC, frechet_distance, precision_recall_density_coverage
from lineardiffusion.metrics.fidelity import (
    PixelClassifier,
    fit_classifier,
    prompt_fidelity,
    train_on_synthetic,
)

__all__ = [
    "PRDC",
    "PixelClassifier",
    "copying_ratio",
    "fit_classifier",
    "frechet_distance",
    "nearest",
    "precision_recall_density_coverage",
    "prompt_fidelity",
    "train_on_synthetic",
]
