"""Vector scaling: a scale and an intercept for each class (Guo et al. 2017).

The common scale is almost free, the classes' own departures from it are held by a prior of 0.25,
the intercepts by one of 1 nat: ten records a class can say something, three cannot.
"""

import numpy as np

from fusionjax.calibrate import linear
from fusionjax.calibrate.types import Calibrator, Parameters, check_labels

SPREAD = linear.Spread(scale=2.0, diagonal=0.25, off=0.0, bias=1.0)


def _fit(log_prob: np.ndarray, label: np.ndarray, prior: np.ndarray) -> Parameters:
    check_labels(label, len(prior))
    return linear.fit(linear.centred(linear.floored(log_prob, prior)), label, prior, SPREAD)


def _apply(parameters: Parameters, log_prob: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return linear.apply(parameters, linear.centred(linear.floored(log_prob, prior)), prior)


VECTOR = Calibrator(_fit, _apply)
