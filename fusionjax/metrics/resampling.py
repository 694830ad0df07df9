"""Intervals that resample patients."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from fusionjax.metrics.arrays import Label, Metric, Prob
from fusionjax.metrics.calibration import ece
from fusionjax.metrics.ranking import auroc
from fusionjax.metrics.scores import accuracy, balanced_accuracy, brier, nll


class Estimate(NamedTuple):
    """A value with its 95 % interval; all NaN where the value is undefined."""

    value: float
    low: float
    high: float


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "auroc": auroc,
    "nll": nll,
    "brier": brier,
    "ece": ece,
}


def bootstrap(
    metric: Metric,
    prob: Prob,
    label: Label,
    group: np.ndarray | None,
    seed: int,
    resamples: int = 500,
) -> Estimate:
    """A metric with its 95 % percentile interval over resampled patients (`group`, or records).

    Resamples on which the metric is undefined are left out. The same seed gives the same patients
    to every metric. Percentiles are too narrow under some 30 patients: all right of 10 is [1, 1].
    """
    return interval(lambda weight: metric(prob, label, weight), len(label), group, seed, resamples)


def difference(
    metric: Metric,
    prob_a: Prob,
    prob_b: Prob,
    label: Label,
    group: np.ndarray | None,
    seed: int,
    resamples: int = 500,
) -> Estimate:
    """metric(a) − metric(b) on the same records, resampled together: the paired interval."""

    def gain(weight: np.ndarray) -> np.ndarray:
        return np.asarray(metric(prob_a, label, weight) - metric(prob_b, label, weight))

    return interval(gain, len(label), group, seed, resamples)


def table(
    prob: Prob, label: Label, group: np.ndarray | None, seed: int, resamples: int = 500
) -> dict[str, Estimate]:
    """Every metric by name, with its patient-level bootstrap interval."""
    return {
        name: bootstrap(metric, prob, label, group, seed, resamples)
        for name, metric in METRICS.items()
    }


def interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    group: np.ndarray | None,
    seed: int,
    resamples: int = 500,
) -> Estimate:
    """Any statistic of record weights [..., n], with percentiles over resampled patients."""
    value = float(statistic(np.ones(n)))
    if math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan)
    draws = np.concatenate([statistic(weight) for weight in _resampled(n, group, seed, resamples)])
    defined = draws[~np.isnan(draws)]
    low, high = np.quantile(defined, [0.025, 0.975]) if defined.size else (math.nan, math.nan)
    return Estimate(value, float(low), float(high))


def _resampled(n: int, group: np.ndarray | None, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Weights [draw, n] of resamples: how often each record's patient was drawn, in blocks.

    Blocks bound the memory to some 10 MB whatever n is.
    """
    patient = np.arange(n) if group is None else np.unique(group, return_inverse=True)[1]
    patients, rng = patient.max() + 1, np.random.default_rng(seed)
    for block in np.array_split(np.arange(resamples), math.ceil(resamples * n / 1_000_000)):
        drawn = rng.integers(patients, size=(len(block), patients))
        drawn += patients * np.arange(len(block))[:, None]
        counts = np.bincount(drawn.ravel(), minlength=len(block) * patients)
        yield counts.reshape(len(block), patients)[:, patient].astype(np.float64)
