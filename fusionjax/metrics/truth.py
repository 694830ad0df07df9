"""Calibration error where the true probabilities are known: mean |E[p* | p] − p|."""

from typing import NamedTuple

import numpy as np

from fusionjax.metrics.arrays import Prob, bin_sums, ratio
from fusionjax.metrics.bins import equal_mass
from fusionjax.metrics.calibration import debiased_gap


class TruthGap(NamedTuple):
    """`raw` is the binned error, `floor` what it would be on average if p were calibrated, `value`
    the error less what the noise of the bins adds to it."""

    value: float
    raw: float
    floor: float


def gap_to_truth(prob: Prob, true: Prob, bins: int = 15) -> TruthGap:
    """Mean over classes of Σ_b mass_b |mean of p* − p in bin b|, equal-mass bins of p.

    What p does not know of p* is no error: it is the mean of p* where p is said that counts. Labels
    are not used, so the noise is only that of p* within a bin, and 1,000 records have a floor near
    a third of a percent. Fewer than 40 records make one bin, which sees but the mean.
    """
    weight = np.ones(len(prob))
    parts = np.array(
        [_class_gap(prob[:, k], true[:, k], weight, bins) for k in range(prob.shape[1])]
    )
    return TruthGap(*(float(each) for each in parts.mean(axis=0)))


def _class_gap(
    p: np.ndarray, true: np.ndarray, weight: np.ndarray, bins: int
) -> tuple[float, float, float]:
    index = equal_mass(p, weight, bins)
    mass = bin_sums(index, weight, bins)
    gap = ratio(bin_sums(index, true - p, bins), mass, empty=0.0)
    spread = ratio(bin_sums(index, (true - p) ** 2, bins), mass, empty=0.0) - gap**2
    noise = np.sqrt(np.maximum(ratio(spread, mass - 1, empty=0.0), 0.0))
    share = mass / max(mass.sum(), 1.0)
    floor = float((share * noise).sum() * np.sqrt(2 / np.pi))
    return float((share * debiased_gap(mass, gap, noise)).sum()), float(share @ np.abs(gap)), floor
