"""Bins of records by a score: equal mass with ties together, or equal width."""

import numpy as np

from fusionjax.metrics.arrays import level_sums, levels, ratio


def equal_mass(confidence: np.ndarray, weight: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each record [..., n]: equal weight in each, ties together, 20 records or more."""
    order, starts = levels(confidence)
    mass = level_sums(weight[..., order], starts)
    share = ratio(np.cumsum(mass, axis=-1) - mass / 2, weight.sum(axis=-1)[..., None] + 0 * mass)
    used = np.clip(np.count_nonzero(weight, axis=-1) // 20, 1, bins)[..., None]
    level = np.empty(len(order), np.int64)
    level[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    return np.minimum(np.nan_to_num(share) * used, used - 1).astype(np.int64)[..., level]


def equal_width(score: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each record [n]: ((b − 1)/bins, b/bins], 0 in the first (Guo et al. 2017)."""
    return np.clip(np.ceil(score * bins).astype(np.int64) - 1, 0, bins - 1)
