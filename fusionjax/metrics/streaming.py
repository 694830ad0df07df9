"""Metrics of any number of records in fixed memory: sums that are added up, shard by shard.

Patients are dealt into 50 buckets by a hash of their name; every sum is kept for each bucket, and
histograms of the probabilities stand for their order. Adding two `Sums` is adding their arrays, in
any order. Intervals leave out one bucket at a time (the delete-a-group jackknife, Kott 2001):
patient-level, and for every metric alike. They need some 10⁴ patients; below, resample.

Sums over records are exact. AUROC, AUPRC, AURC and ECE read histograms of 512 bins that are finest
near 0 and 1: within a bin, order is taken to be chance.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fusionjax.metrics.arrays import Label, Prob, checked, mean_defined, ratio
from fusionjax.metrics.calibration import debiased_gap
from fusionjax.metrics.resampling import Estimate

BUCKETS = 50
BINS = 512
REACH = 16.0  # log-odds beyond which probabilities share the outermost bin

Bucket = Int[np.ndarray, " n"]


class Sums(NamedTuple):
    """What a stream leaves; every leaf adds. `top_…` are of the likeliest class, by its bin."""

    records: Float[np.ndarray, " bucket"]
    hits: Float[np.ndarray, " bucket"]
    nll: Float[np.ndarray, " bucket"]
    brier: Float[np.ndarray, " bucket"]
    brier_surprise: Float[np.ndarray, " bucket"]
    brier_variance: Float[np.ndarray, " bucket"]
    confusion: Float[np.ndarray, "bucket class class"]
    top_count: Float[np.ndarray, "bucket bin"]
    top_hits: Float[np.ndarray, "bucket bin"]
    top_confidence: Float[np.ndarray, "bucket bin"]
    top_variance: Float[np.ndarray, "bucket bin"]
    positive: Float[np.ndarray, "bucket class bin"]
    negative: Float[np.ndarray, "bucket class bin"]


def empty(classes: int) -> Sums:
    """The sums of no records."""
    one, two = np.zeros(BUCKETS), np.zeros((BUCKETS, BINS))
    three = np.zeros((BUCKETS, classes, BINS))
    table = np.zeros((BUCKETS, classes, classes))
    return Sums(one, one, one, one, one, one, table, two, two, two, two, three, three)


def buckets(hashed: np.ndarray) -> Bucket:
    """The bucket of each record from a 64-bit hash of its patient's name."""
    # The low bits of some hashes are poor: the high ones are folded in.
    mixed = hashed.astype(np.uint64)
    return ((mixed ^ (mixed >> np.uint64(32))) % np.uint64(BUCKETS)).astype(np.int64)


def collect(
    prob: Prob, label: Label, bucket: Bucket, mask: Bool[np.ndarray, " n"] | None = None
) -> Sums:
    """The sums of some records; those where `mask` is False count as absent, NaN or not."""
    if mask is not None:
        prob, label, bucket = prob[mask], label[mask], bucket[mask]
    prob, _ = checked(prob, label, None)
    n, classes = prob.shape
    rows = np.arange(n)
    top = prob.argmax(axis=1)
    confidence, of_label = prob[rows, top], prob[rows, label]
    hit = top == label
    square = np.einsum("nk,nk->n", prob, prob)
    cube = np.einsum("nk,nk,nk->n", prob, prob, prob)
    places = bucket * BINS + place(confidence)

    def per_bucket(value: np.ndarray | None) -> np.ndarray:
        return np.bincount(bucket, value, BUCKETS).astype(np.float64)

    def per_bin(value: np.ndarray | None) -> np.ndarray:
        return np.bincount(places, value, BUCKETS * BINS).reshape(BUCKETS, BINS).astype(float)

    seen = np.bincount((bucket * classes + label) * classes + top, minlength=BUCKETS * classes**2)
    histograms = [_sides(prob[:, k], label == k, bucket) for k in range(classes)]
    return Sums(
        records=per_bucket(None),
        hits=per_bucket(hit),
        nll=per_bucket(-np.log(np.clip(of_label, np.finfo(np.float64).eps, 1))),
        brier=per_bucket(1 - 2 * of_label + square),
        brier_surprise=per_bucket(2 * (square - of_label)),
        brier_variance=per_bucket(4 * np.maximum(cube - square**2, 0)),
        confusion=seen.reshape(BUCKETS, classes, classes).astype(np.float64),
        top_count=per_bin(None),
        top_hits=per_bin(hit),
        top_confidence=per_bin(confidence),
        top_variance=per_bin(confidence * (1 - confidence)),
        positive=np.stack([above for above, _ in histograms], axis=1),
        negative=np.stack([below for _, below in histograms], axis=1),
    )


def merge(*parts: Sums) -> Sums:
    """The sums of all records together."""
    return Sums(*(np.sum(leaves, axis=0) for leaves in zip(*parts, strict=True)))


def place(prob: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The bin of a probability, ascending; equally spaced in log-odds, from −16 to 16."""
    tiny = np.exp(-REACH)
    inner = np.minimum(np.maximum(prob, tiny), 1 - tiny)
    odds = np.log(inner / (1 - inner))
    return np.minimum(((odds + REACH) * (BINS / (2 * REACH))).astype(np.int64), BINS - 1)


def summarise(sums: Sums) -> dict[str, Estimate]:
    """Every metric by name, with its 95 % interval over patients."""
    return {name: _estimate(sums, metric) for name, metric in METRICS.items()}


def accuracy(sums: Sums) -> float:
    """Share of records whose likeliest class is their label."""
    return _over(sums.hits, sums.records)


def balanced_accuracy(sums: Sums) -> float:
    """Mean over the classes that occur of the share recognised."""
    table = sums.confusion.sum(axis=0)
    return float(mean_defined(ratio(np.diag(table), table.sum(axis=1))))


def nll(sums: Sums) -> float:
    """Mean negative log-likelihood, nats."""
    return _over(sums.nll, sums.records)


def brier(sums: Sums) -> float:
    """Mean squared error summed over classes."""
    return _over(sums.brier, sums.records)


def spiegelhalter_z(sums: Sums) -> float:
    """Spiegelhalter's z: see `smooth.spiegelhalter`."""
    return _over(sums.brier_surprise, np.sqrt(sums.brier_variance.sum()))


def auroc(sums: Sums) -> float:
    """Macro one-vs-rest AUROC."""
    above, below = sums.positive.sum(axis=0), sums.negative.sum(axis=0)
    wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    return float(mean_defined(ratio(wins, above.sum(axis=1) * below.sum(axis=1))))


def auprc(sums: Sums) -> float:
    """Macro average precision."""
    above, below = sums.positive.sum(axis=0), sums.negative.sum(axis=0)
    # Half of a bin lies above its middle: to call it a tie would be to lose a little everywhere.
    true, false = (np.cumsum(side[:, ::-1], axis=1)[:, ::-1] - side / 2 for side in (above, below))
    precision = ratio(true, true + false, empty=0.0)
    return float(mean_defined(ratio((above * precision).sum(axis=1), above.sum(axis=1))))


def ece(sums: Sums, bins: int = 15) -> float:
    """Equal-mass ECE of the likeliest class, debiased: see `calibration.ece`."""
    mass, gap, variance = _gaps(sums, bins)
    noise = np.sqrt(ratio(variance, mass**2, empty=0.0))
    return _over(mass * debiased_gap(mass, gap, noise), mass)


def aurc(sums: Sums) -> float:
    """Mean risk over coverages, from the surest down."""
    count = sums.top_count.sum(axis=0)[::-1]
    wrong = count - sums.top_hits.sum(axis=0)[::-1]
    kept, lost = np.cumsum(count), np.cumsum(wrong)
    middle = ratio(lost - wrong / 2, kept - count / 2, empty=0.0)
    return _over(count * middle, count)


def augrc(sums: Sums) -> float:
    """Area under coverage × risk."""
    count = sums.top_count.sum(axis=0)[::-1]
    wrong = count - sums.top_hits.sum(axis=0)[::-1]
    return _over(count * (np.cumsum(wrong) - wrong / 2), count.sum() ** 2)


METRICS: dict[str, Callable[[Sums], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "auroc": auroc,
    "nll": nll,
    "brier": brier,
    "ece": ece,
    "auprc": auprc,
    "spiegelhalter_z": spiegelhalter_z,
    "aurc": aurc,
    "augrc": augrc,
}


def reliability(
    sums: Sums, bins: int = 10
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Mean confidence, accuracy and records of equal-mass bins; empty ones are left out."""
    mass, gap, _ = _gaps(sums, bins)
    said = np.bincount(_bins(sums, bins), sums.top_confidence.sum(axis=0), bins)
    kept = mass > 0
    confidence = said[kept] / mass[kept]
    return confidence, np.clip(confidence + gap[kept], 0, 1), mass[kept]


def _estimate(sums: Sums, metric: Callable[[Sums], float]) -> Estimate:
    """Value and t-interval of the delete-a-group jackknife over the buckets that hold records."""
    from scipy.stats import t

    value = metric(sums)
    filled = np.flatnonzero(sums.records > 0)
    whole = [leaf.sum(axis=0, keepdims=True) for leaf in sums]
    without = np.array(
        [
            metric(Sums(*(w - leaf[g : g + 1] for w, leaf in zip(whole, sums, strict=True))))
            for g in filled
        ]
    )
    if np.isnan(value) or len(filled) < 2 or np.isnan(without).any():
        return Estimate(float(value), np.nan, np.nan)
    groups = len(filled)
    error = np.sqrt((groups - 1) / groups * ((without - without.mean()) ** 2).sum())
    half = float(t.ppf(0.975, groups - 1) * error)
    return Estimate(float(value), float(value - half), float(value + half))


def _gaps(sums: Sums, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass, accuracy − confidence and binomial variance of each equal-mass bin."""
    index = _bins(sums, bins)
    mass, hits, said, variance = (
        np.bincount(index, leaf.sum(axis=0), bins)
        for leaf in (sums.top_count, sums.top_hits, sums.top_confidence, sums.top_variance)
    )
    return mass, ratio(hits - said, mass, empty=0.0), variance


def _bins(sums: Sums, bins: int) -> np.ndarray:
    """Which of the equal-mass bins each fine bin belongs to."""
    count = sums.top_count.sum(axis=0)
    share = ratio(np.cumsum(count) - count / 2, np.full(BINS, count.sum()), empty=0.0)
    return np.minimum((share * bins).astype(np.int64), bins - 1)


def _sides(p: np.ndarray, positive: np.ndarray, bucket: np.ndarray) -> tuple[np.ndarray, ...]:
    """Histograms [bucket, bin] of a class's probability where it is true, and where it is not."""
    at = bucket * BINS + place(p) + positive * (BUCKETS * BINS)
    both = np.bincount(at, minlength=2 * BUCKETS * BINS).astype(np.float64)
    below, above = both.reshape(2, BUCKETS, BINS)
    return above, below


def _over(top: np.ndarray, bottom: np.ndarray | float) -> float:
    return float(ratio(np.sum(top), np.sum(bottom)))
