"""Histogram binning: how often each bin came true (Zadrozny and Elkan 2001).

Bins hold equal mass, 20 records or more, 15 at most; a bin gets one record more at the base rate.
"""

import numpy as np

from fusionjax.calibrate.one_vs_rest import lifted, to_log_odds, within
from fusionjax.calibrate.types import Parameters

BINS, RECORDS = 15, 20


def _fit(odds: np.ndarray, positive: np.ndarray) -> Parameters:
    if not len(odds):
        return {"edges": [], "prob": [0.5]}
    bins = int(np.clip(len(odds) // RECORDS, 1, BINS))
    edges = np.unique(np.quantile(odds, np.arange(1, bins) / bins, method="higher"))
    index = np.searchsorted(edges, odds, side="right")
    count = np.bincount(index, minlength=len(edges) + 1)
    hits = np.bincount(index, positive, minlength=len(edges) + 1)
    prob = within((hits + positive.mean()) / (count + 1), len(odds))
    return {"edges": edges.tolist(), "prob": prob.tolist()}


def _apply(parameters: Parameters, odds: np.ndarray) -> np.ndarray:
    index = np.searchsorted(parameters["edges"], odds, side="right")
    return to_log_odds(np.asarray(parameters["prob"])[index])


HISTOGRAM = lifted(_fit, _apply)
