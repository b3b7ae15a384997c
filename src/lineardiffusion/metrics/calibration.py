"""Measure whether the probabilities of a classifier are its frequencies of being right.

Images are put into bins by the confidence, which is the largest probability. With n_b of n images in bin b ::

    ECE = sum_b n_b / n | accuracy_b - mean confidence_b |

the expected calibration error (Naeini et al. 2015, Guo et al. 2017). The error of few images is too large: a
classifier that is right as often as it says has an ECE of some 0.02 on 500 images, by chance alone.

References
----------
- Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning. AAAI.
- Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks. ICML.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from lineardiffusion._validation import check_integer, check_labels

__all__ = ["calibration_error"]


def calibration_error(prompts: Any, probabilities: ArrayLike, known: Any, n_bins: int = 15) -> float:
    """Compute the expected calibration error of the most probable prompts.

    Parameters
    ----------
    prompts : array-like of shape (n,)
        Right prompts, which are compared as strings so that 7 equals "7".
    probabilities : array-like of shape (n, p)
        Probabilities of the known prompts, from ``classify_proba``; every row sums to 1.
    known : array-like of shape (p,)
        Known prompts, in the order of the columns: ``ld.prompts_``.
    n_bins : int, default=15
        Number of bins, which divide the confidences from 0 to 1 evenly.

    Returns
    -------
    float
        Mean distance of confidence and accuracy, from 0 to 1.

    Raises
    ------
    ValueError
        If shapes differ, a row is no distribution, or a prompt is not known.

    See Also
    --------
    lineardiffusion.LinearDiffusion.calibrate : Fit the temperature of the probabilities.

    Examples
    --------
    >>> from lineardiffusion.metrics import calibration_error
    >>> probabilities = [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]]
    >>> round(calibration_error(["a", "b", "a", "a"], probabilities, ["a", "b"]), 3)  # 0.9 and 0.6; 2 of 2, 1 of 2
    0.1
    """
    names, words = check_labels(known), check_labels(prompts)
    p = check_array(probabilities, dtype=np.float64, input_name="probabilities")
    if p.shape != (len(words), len(names)):
        raise ValueError(f"probabilities must have the shape {(len(words), len(names))}, got {p.shape}")
    if (p < 0).any() or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("probabilities must be 0 or more, and sum to 1 in every row")
    if odd := sorted(set(words.tolist()) - set(names.tolist())):
        raise ValueError(f"unknown prompt {odd[0]!r}; known are {', '.join(names)}")
    confidence, right = p.max(axis=1), names[p.argmax(axis=1)] == words
    bins = np.minimum(confidence * check_integer(n_bins, "n_bins"), n_bins - 1).astype(int)
    return float(np.abs(np.bincount(bins, right - confidence)).sum() / len(p))
