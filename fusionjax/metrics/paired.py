"""Two models on the same records: tests that need no resampling. Records count as independent."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fusionjax.metrics.resampling import Estimate

Score = Float[np.ndarray, " n"]
Side = Bool[np.ndarray, " n"]


class Compared(NamedTuple):
    """The difference a − b with its 95 % interval, and a two-sided p-value."""

    difference: Estimate
    p_value: float


def delong(score_a: Score, score_b: Score, positive: Side) -> Compared:
    """AUROC of a less that of b (DeLong, DeLong and Clarke-Pearson 1988), by midranks.

    All NaN where a side is missing or has one record.
    """
    from scipy.stats import norm

    if min(positive.sum(), (~positive).sum()) < 2:
        return Compared(Estimate(np.nan, np.nan, np.nan), np.nan)
    parts = [_placements(score, positive) for score in (score_a, score_b)]
    value = parts[0][0].mean() - parts[1][0].mean()
    variance = sum(np.var(a - b, ddof=1) / len(a) for a, b in zip(parts[0], parts[1], strict=True))
    error = float(np.sqrt(variance))
    if error == 0:
        return Compared(Estimate(float(value), float(value), float(value)), float(value == 0))
    half = 1.959964 * error
    estimate = Estimate(float(value), float(value - half), float(value + half))
    return Compared(estimate, float(2 * norm.sf(abs(value) / error)))


def mcnemar(right_a: Side, right_b: Side) -> Compared:
    """Accuracy of a less that of b: an exact test on the records where only one is right.

    (McNemar 1947; the interval is the Wald one of the paired difference.)
    """
    from scipy.stats import binomtest

    n = len(right_a)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if n == 0:
        return Compared(Estimate(np.nan, np.nan, np.nan), np.nan)
    value = (only_a - only_b) / n
    error = 1.959964 * float(np.sqrt(max(only_a + only_b - n * value**2, 0.0))) / n
    p = 1.0 if only_a + only_b == 0 else float(binomtest(only_a, only_a + only_b).pvalue)
    return Compared(Estimate(value, value - error, value + error), p)


def _placements(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each positive, the share of negatives below it; for each negative, of positives above."""
    from scipy.stats import rankdata

    high, low = score[positive], score[~positive]
    every = rankdata(np.concatenate([high, low]))
    m, n = len(high), len(low)
    return (every[:m] - rankdata(high)) / n, 1 - (every[m:] - rankdata(low)) / m
