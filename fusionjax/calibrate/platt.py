"""Platt scaling: logit q = slope · logit p + intercept (Platt 1999).

Targets are his: (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2), so that separable records do not diverge. The
slope is never negative: order is kept.
"""

import numpy as np

from fusionjax.calibrate.logistic import logistic
from fusionjax.calibrate.one_vs_rest import lifted
from fusionjax.calibrate.types import Parameters


def _fit(odds: np.ndarray, positive: np.ndarray) -> Parameters:
    many = int(positive.sum())
    target = np.where(positive, (many + 1) / (many + 2), 1 / (len(positive) - many + 2))
    features = np.stack([odds, np.ones(len(odds))], axis=1)
    slope, intercept = logistic(features, target, np.array([1.0, 0.0]), np.full(2, np.inf), 1)
    return {"slope": slope, "intercept": intercept}


def _apply(parameters: Parameters, odds: np.ndarray) -> np.ndarray:
    return parameters["slope"] * odds + parameters["intercept"]


PLATT = lifted(_fit, _apply)
