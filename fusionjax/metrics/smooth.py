"""Calibration without bins: a kernel, or cumulative sums."""

from typing import NamedTuple

import numpy as np

from fusionjax.metrics.arrays import (
    Label,
    Prob,
    Value,
    Weight,
    bin_sums,
    checked,
    level_sums,
    levels,
    ratio,
)
from fusionjax.metrics.calibration import residual

GRID = 512


class Test(NamedTuple):
    """A statistic and how often chance alone would give one as extreme."""

    statistic: float
    p_value: float


def smooth_ece(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Smooth calibration error of the likeliest class (Błasiok and Nakkiran 2023).

    The residuals are smoothed over confidence by a Gaussian that is reflected at 0 and 1, of the
    width σ at which the mean absolute residual is σ itself: no bins, no choice. The reflected
    kernel multiplies the cosine series of the residuals by exp(−(πkσ)²/2), on a grid of 512.
    """
    from scipy.fft import dct, idct

    prob, weight = checked(prob, label, weight)
    confidence, gap = residual(prob, label)
    index = np.minimum((confidence * GRID).astype(np.int64), GRID - 1)
    spread = bin_sums(np.broadcast_to(index, weight.shape), weight * gap, GRID)
    share = ratio(spread, weight.sum(axis=-1)[..., None] + 0 * spread)
    series = np.asarray(dct(share, axis=-1))
    wave = np.pi * np.arange(GRID)

    def error(width: np.ndarray) -> np.ndarray:
        damped = series * np.exp(-((wave * width[..., None]) ** 2) / 2)
        return np.asarray(np.abs(np.asarray(idct(damped, axis=-1))).sum(axis=-1))

    low, high = np.zeros(series.shape[:-1]), np.ones(series.shape[:-1])
    for _ in range(20):
        middle = np.asarray((low + high) / 2)
        wide = error(middle) < middle
        low, high = np.where(wide, low, middle), np.where(wide, middle, high)
    return np.asarray(error(high))


def spiegelhalter(prob: Prob, label: Label) -> Test:
    """Is the Brier score what calibrated probabilities would give? Standard normal if so.

    (Spiegelhalter 1986, for any number of classes.) Given p, a record's score has the mean
    1 − Σp² and the variance 4 (Σp³ − (Σp²)²). Records count as independent.
    """
    from scipy.stats import norm

    prob, _ = checked(prob, label, None)
    square, cube = (prob**2).sum(axis=1), (prob**3).sum(axis=1)
    surprise = 2 * (square - prob[np.arange(len(label)), label]).sum()
    spread = float(2 * np.sqrt(np.maximum(cube - square**2, 0).sum()))
    if spread == 0:
        return Test(np.nan, np.nan)
    z = float(surprise / spread)
    return Test(z, float(2 * norm.sf(abs(z))))


def kuiper(prob: Prob, label: Label) -> Test:
    """Range of the cumulative residuals over confidence (Arrieta-Ibarra et al. 2022, ECCE-R).

    In standard deviations of its last value; if calibrated, the range of a Brownian motion on
    [0, 1] (Feller 1951). Ties in confidence count as one step; records as independent.
    """
    prob, weight = checked(prob, label, None)
    confidence, gap = residual(prob, label)
    sd = float(np.sqrt((confidence * (1 - confidence)).sum()))
    if sd == 0:
        return Test(np.nan, np.nan)
    order, starts = levels(confidence)
    walk = np.concatenate([[0.0], np.cumsum(level_sums((weight * gap)[order], starts))])
    statistic = float(np.ptp(walk) / sd)
    return Test(statistic, range_of_brownian_motion(statistic))


def range_of_brownian_motion(width: float) -> float:
    """P(the range of a standard Brownian motion on [0, 1] exceeds `width`)."""
    from scipy.stats import norm

    if width < 0.4:
        return 1.0  # 1 to nine digits, where the series would need hundreds of terms
    k = np.arange(1, 101)
    return float(np.clip(8 * np.sum((-1.0) ** (k - 1) * k * norm.sf(k * width)), 0, 1))
