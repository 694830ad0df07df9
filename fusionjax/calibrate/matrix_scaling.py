"""Structured matrix scaling: one scale, a scale for each class, a weight for each pair of classes.

The hierarchy is that of Berta, Holzmüller, Jordan and Bach (2025, "Structured matrix scaling for
multi-class calibration"): the finer a block, the more it is held back. Here by Gaussian priors
around the identity, and the pairs' shrinks with the number of classes, so that a row of them has
the same prior spread however many there are.
"""

import numpy as np

from fusionjax.calibrate import linear
from fusionjax.calibrate.types import Calibrator, Parameters, check_labels


def _fit(log_prob: np.ndarray, label: np.ndarray, prior: np.ndarray) -> Parameters:
    check_labels(label, len(prior))
    spread = linear.Spread(scale=2.0, diagonal=0.25, off=0.25 / len(prior) ** 0.5, bias=1.0)
    return linear.fit(linear.centred(linear.floored(log_prob, prior)), label, prior, spread)


def _apply(parameters: Parameters, log_prob: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return linear.apply(parameters, linear.centred(linear.floored(log_prob, prior)), prior)


MATRIX = Calibrator(_fit, _apply)
