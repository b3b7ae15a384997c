"""Measure the quality of generated images. Each function answers one question.

===================================  ====================================================================
`frechet_distance`                   do both sets of features have the same mean and covariance?
`precision_recall_density_coverage`  are the generated images realistic, and do they cover the real ones?
`train_on_synthetic`                 what does a classifier learn from the generated images?
`fit_classifier`                     which classifier is that, unless another one is given?
`prompt_fidelity`                    does a classifier predict the prompts of the generated images?
`calibration_error`                  is a classifier right as often as its probabilities say?
`copying`                            are the generated images nearer to the training images than test images?
`copying_ratio`                      how much nearer, by the median?
`nearest`                            which training image is the nearest to an image?
`nearest_style`                      which style of its prompt is the nearest to an image?
===================================  ====================================================================
"""

from lineardiffusion.metrics.calibration import calibration_error
from lineardiffusion.metrics.copies import Copying, copying, copying_ratio, nearest, nearest_style
from lineardiffusion.metrics.features import PRDC, frechet_distance, precision_recall_density_coverage
from lineardiffusion.metrics.fidelity import fit_classifier, prompt_fidelity, train_on_synthetic

__all__ = [
    "PRDC",
    "Copying",
    "calibration_error",
    "copying",
    "copying_ratio",
    "fit_classifier",
    "frechet_distance",
    "nearest",
    "nearest_style",
    "precision_recall_density_coverage",
    "prompt_fidelity",
    "train_on_synthetic",
]
