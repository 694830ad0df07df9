"""Dirichlet calibration: multinomial regression on log-probabilities (Kull et al. 2019).

Exact where log p is Dirichlet given the class. Off-diagonal weights and intercepts are regularised
(their ODIR), here with fixed spreads of 0.5/√class and 1 nat.
"""

import numpy as np

from fusionjax.calibrate import linear
from fusionjax.calibrate.types import Calibrator, Parameters, check_labels


def _fit(log_prob: np.ndarray, label: np.ndarray, prior: np.ndarray) -> Parameters:
    check_labels(label, len(prior))
    spread = linear.Spread(scale=2.0, diagonal=2.0, off=0.5 / len(prior) ** 0.5, bias=1.0)
    return linear.fit(linear.floored(log_prob, prior), label, prior, spread)


def _apply(parameters: Parameters, log_prob: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return linear.apply(parameters, linear.floored(log_prob, prior), prior)


DIRICHLET = Calibrator(_fit, _apply)
