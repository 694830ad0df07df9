"""How good are the probabilities? Metrics of predictions, each with a patient-level interval.

A metric is a function of `prob` [n, class], `label` [n] and, optionally, `weight` [..., n]; it
returns one value for each leading index of `weight`, so that a whole bootstrap is one call. A
record of weight 0 counts as absent; weights are otherwise as in scikit-learn's `sample_weight`.
What is undefined on a slice (no records; AUROC where one class is seen) is NaN, never an error.
NumPy only: rows are predictions that have left the device.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

Prob = Float[np.ndarray, "n class"]
Label = Int[np.ndarray, " n"]
Weight = Shaped[np.ndarray, "*draw n"]
Value = Float[np.ndarray, "*draw"]
Metric = Callable[..., Value]


class Estimate(NamedTuple):
    """A value with its 95 % interval; all NaN where the value is undefined."""

    value: float
    low: float
    high: float


class Reliability(NamedTuple):
    """A reliability diagram: mean confidence and accuracy of each bin, with Wilson's interval."""

    confidence: Float[np.ndarray, " bin"]
    accuracy: Float[np.ndarray, " bin"]
    count: Int[np.ndarray, " bin"]
    low: Float[np.ndarray, " bin"]
    high: Float[np.ndarray, " bin"]


def accuracy(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Share of records whose most probable class (the first, in a tie) is their label."""
    prob, weight = _checked(prob, label, weight)
    return mean(prob.argmax(axis=1) == label, weight)


def balanced_accuracy(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Mean over the classes that occur of the share of their records that is recognised."""
    prob, weight = _checked(prob, label, weight)
    hit, onehot = prob.argmax(axis=1) == label, _onehot(label, prob.shape[1])
    return _mean_defined(_ratio(weight @ (onehot * hit[:, None]), weight @ onehot))


def auroc(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Macro AUROC: mean over the classes that occur of each one against the rest."""
    prob, weight = _checked(prob, label, weight)
    onehot = _onehot(label, prob.shape[1]).astype(bool)
    each = [binary_auroc(p, y, weight) for p, y in zip(prob.T, onehot.T, strict=True)]
    return _mean_defined(np.stack(each, axis=-1))


def nll(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Mean negative log-likelihood in nats; a probability counts as at least 2.2e-16 (36 nats)."""
    prob, weight = _checked(prob, label, weight)
    of_label = np.take_along_axis(prob, label[:, None], axis=1)[:, 0]
    return mean(-np.log(np.clip(of_label, np.finfo(np.float64).eps, 1)), weight)


def brier(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Mean over records of the squared error summed over classes (Brier 1950): between 0 and 2."""
    prob, weight = _checked(prob, label, weight)
    return mean(((prob - _onehot(label, prob.shape[1])) ** 2).sum(axis=1), weight)


def ece(prob: Prob, label: Label, weight: Weight | None = None, bins: int = 15) -> Value:
    """Expected calibration error of the most probable class, equal-mass bins, debiased.

    The plain ECE, Σ_b mass_b |gap_b|, is positive even for perfect predictions, because the gap
    (accuracy − confidence) of a bin is noisy; equal mass keeps that bias small (Roelofs et al.
    2022), a parametric bootstrap removes part of it (Kumar et al. 2019, App. E). Here the bias
    is E|N(m_b, s_b)| − |m_b| in closed form, s_b² the binomial variance of the bin, and m_b the
    gap shrunk towards 0 by the share of all squared gaps that noise explains: the raw gap as m_b
    would leave more than half of the bias. Slightly negative values are possible, as they must be
    for a mean near 0. Bins are fewer than `bins` where there are fewer than 20 records for each.
    Records count as independent: several of one patient leave a part of the bias.
    """
    prob, weight = _checked(prob, label, weight)
    confidence, residual = _residual(prob, label)
    index = _equal_mass(confidence, weight, bins)
    mass = _bin_sums(index, weight, bins)
    gap = _ratio(_bin_sums(index, weight * residual, bins), mass, empty=0.0)
    binomial = _bin_sums(index, weight**2 * confidence * (1 - confidence), bins)
    noise = np.sqrt(_ratio(binomial, mass**2, empty=0.0))
    shrunk = gap * _signal_share(mass, gap, noise)
    total = (mass * (np.abs(gap) - _folding_bias(shrunk, noise))).sum(axis=-1)
    return _ratio(total, weight.sum(axis=-1))


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


def reliability_curve(prob: Prob, label: Label, bins: int = 10) -> Reliability:
    """Accuracy against confidence in equal-mass bins; empty bins are left out.

    The interval is Wilson's (1927) at 95 % and takes records as independent.
    """
    prob, weight = _checked(prob, label, None)
    confidence, residual = _residual(prob, label)
    index = _equal_mass(confidence, weight, bins)
    count = _bin_sums(index, weight, bins)
    kept = count > 0
    count = count[kept]
    confidence = _bin_sums(index, confidence, bins)[kept] / count
    share = np.clip(confidence + _bin_sums(index, residual, bins)[kept] / count, 0, 1)
    low, high = _wilson(share, count)
    return Reliability(confidence, share, count.astype(np.int64), low, high)


def binary_auroc(
    score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], weight: Weight | None = None
) -> Value:
    """P(score of a positive > score of a negative) + P(tie)/2; NaN where either side is missing."""
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
    order, starts = _levels(score)
    total = _level_sums(weight[..., order], starts)
    above = _level_sums(weight[..., order] * positive[order], starts)
    below = total - above
    wins = (above * (np.cumsum(below, axis=-1) - below / 2)).sum(axis=-1)
    return _ratio(wins, above.sum(axis=-1) * below.sum(axis=-1))


def mean(values: Shaped[np.ndarray, " n"], weight: Weight | None = None) -> Value:
    """Weighted mean of any value a record: `bootstrap` takes a metric that is built on it."""
    weight = np.ones(len(values)) if weight is None else np.asarray(weight, np.float64)
    return _ratio(weight @ np.asarray(values, np.float64), weight.sum(axis=-1))


def entropy(prob: Float[np.ndarray, "*batch class"]) -> Float[np.ndarray, "*batch"]:
    """−Σ p log p in nats, with 0 log 0 = 0."""
    return -np.asarray(np.sum(_xlogy(prob, prob), axis=-1))


def kl(
    truth: Float[np.ndarray, "*batch class"], prob: Float[np.ndarray, "*batch class"]
) -> Float[np.ndarray, "*batch"]:
    """Kullback–Leibler divergence Σ truth log(truth / prob) in nats; infinite where prob is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.sum(_xlogy(truth, truth) - _xlogy(truth, prob), axis=-1))


def _checked(prob: Prob, label: Label, weight: Weight | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and weights in float64. Raises ValueError for a label that is no class."""
    if len(label) and not 0 <= label.min() <= label.max() < prob.shape[1]:
        raise ValueError(
            f"labels must lie in 0..{prob.shape[1] - 1}, got {label.min()}..{label.max()}: "
            "leave records without a label out"
        )
    weight = np.ones(len(label)) if weight is None else weight
    return np.asarray(prob, np.float64), np.asarray(weight, np.float64)


def _onehot(label: np.ndarray, classes: int) -> np.ndarray:
    return (label[:, None] == np.arange(classes)[None, :]).astype(np.float64)


def _ratio(top: ArrayLike, bottom: ArrayLike, empty: float = np.nan) -> np.ndarray:
    """top / bottom, and `empty` where bottom is 0."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    return np.divide(top, bottom, out=np.full(bottom.shape, empty), where=bottom > 0)


def _mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _xlogy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x log y, and 0 where x is 0."""
    return x * np.log(np.where(x > 0, y, 1.0))


def _levels(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order that sorts `score`, and where in it each distinct value starts: ties share one."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    return order, np.flatnonzero(np.r_[len(score) > 0, ordered[1:] != ordered[:-1]])


def _level_sums(ordered: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums over runs of the last axis that begin at `starts`."""
    if len(starts) in (0, ordered.shape[-1]):
        return ordered
    return np.add.reduceat(ordered, starts, axis=-1)


def _residual(prob: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence in the most probable class, and correctness − confidence."""
    top = prob.argmax(axis=1)
    confidence = np.take_along_axis(prob, top[:, None], axis=1)[:, 0]
    return confidence, (top == label) - confidence


def _equal_mass(confidence: np.ndarray, weight: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each record [..., n]: equal weight in each, ties together, 20 records or more."""
    order, starts = _levels(confidence)
    mass = _level_sums(weight[..., order], starts)
    share = _ratio(np.cumsum(mass, axis=-1) - mass / 2, weight.sum(axis=-1)[..., None] + 0 * mass)
    used = np.clip(np.count_nonzero(weight, axis=-1) // 20, 1, bins)[..., None]
    level = np.empty(len(order), np.int64)
    level[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    return np.minimum(np.nan_to_num(share) * used, used - 1).astype(np.int64)[..., level]


def _bin_sums(index: np.ndarray, values: np.ndarray, bins: int) -> np.ndarray:
    """Sums of `values` [..., n] over the records of each bin [..., bin]."""
    draws = np.prod(index.shape[:-1], dtype=np.int64)
    flat = index.reshape(draws, index.shape[-1]) + bins * np.arange(draws)[:, None]
    sums = np.bincount(flat.ravel(), values.ravel(), minlength=draws * bins)
    return sums.reshape(*index.shape[:-1], bins)


def _signal_share(mass: np.ndarray, gap: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """1 − (what noise makes of the squared gaps), at least 0: positive-part James and Stein."""
    total = (mass * gap**2).sum(axis=-1, keepdims=True)
    explained = _ratio((mass * noise**2).sum(axis=-1, keepdims=True), total, empty=1.0)
    return np.maximum(0.0, 1.0 - explained)


def _folding_bias(center: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """E|N(center, sd)| − |center| of a folded normal: sd (2 φ(t) − 2 t Φ(−t)), t = |center|/sd."""
    t = _ratio(np.abs(center), sd, empty=np.inf)
    tail = np.where(np.isinf(t), 0.0, t) * np.vectorize(math.erfc, otypes=[float])(t / math.sqrt(2))
    return sd * (math.sqrt(2 / math.pi) * np.exp(-(t**2) / 2) - tail)


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % score interval of a binomial proportion (Wilson 1927)."""
    z = 1.959964
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.clip(center - half, 0, share), np.clip(center + half, share, 1)


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
