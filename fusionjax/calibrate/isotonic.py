"""Isotonic regression: the best map that keeps order (Zadrozny and Elkan 2002), by scikit-learn.

Its steps are joined by straight lines in the log-odds. A step of 0 or 1 would make one surprise
infinitely dear, so probabilities stay within what so many records can show.
"""

import numpy as np

from fusionjax.calibrate.one_vs_rest import lifted, to_log_odds, within
from fusionjax.calibrate.types import Parameters


def _fit(odds: np.ndarray, positive: np.ndarray) -> Parameters:
    from sklearn.isotonic import IsotonicRegression

    if not len(odds):
        return {"odds": [0.0], "prob": [0.5]}
    found = IsotonicRegression(out_of_bounds="clip").fit(odds, positive)
    prob = within(np.asarray(found.y_thresholds_), len(odds))
    return {"odds": np.asarray(found.X_thresholds_).tolist(), "prob": prob.tolist()}


def _apply(parameters: Parameters, odds: np.ndarray) -> np.ndarray:
    return to_log_odds(np.interp(odds, parameters["odds"], parameters["prob"]))


ISOTONIC = lifted(_fit, _apply)
