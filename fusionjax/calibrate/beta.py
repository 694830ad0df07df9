"""Beta calibration: logit q = a log p − b log(1 − p) + c with a, b ≥ 0 (Kull et al. 2017).

Exact where p is beta given either class; the identity is a = b = 1, c = 0. A prior of 1 around it
keeps separable records from diverging, and is nothing beside a hundred records.
"""

import numpy as np

from fusionjax.calibrate.logistic import logistic
from fusionjax.calibrate.one_vs_rest import lifted
from fusionjax.calibrate.types import Parameters


def _fit(odds: np.ndarray, positive: np.ndarray) -> Parameters:
    features = np.concatenate([_logs(odds), np.ones((len(odds), 1))], axis=1)
    a, b, c = logistic(features, positive.astype(float), np.array([1.0, 1.0, 0.0]), np.ones(3), 2)
    return {"a": a, "b": b, "c": c}


def _apply(parameters: Parameters, odds: np.ndarray) -> np.ndarray:
    return _logs(odds) @ np.array([parameters["a"], parameters["b"]]) + parameters["c"]


def _logs(odds: np.ndarray) -> np.ndarray:
    """log p and −log(1 − p), [n, 2]."""
    from scipy.special import log_expit

    return np.stack([log_expit(odds), -log_expit(-odds)], axis=1)


BETA = lifted(_fit, _apply)
