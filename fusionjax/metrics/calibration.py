"""Is what is said with probability p true in p of all cases?"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionjax.metrics.arrays import (
    Label,
    Prob,
    Value,
    Weight,
    bin_sums,
    checked,
    mean_defined,
    onehot,
    ratio,
)
from fusionjax.metrics.bins import equal_mass, equal_width


class Reliability(NamedTuple):
    """A reliability diagram: mean confidence and accuracy of each bin, with Wilson's interval."""

    confidence: Float[np.ndarray, " bin"]
    accuracy: Float[np.ndarray, " bin"]
    count: Int[np.ndarray, " bin"]
    low: Float[np.ndarray, " bin"]
    high: Float[np.ndarray, " bin"]


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
    prob, weight = checked(prob, label, weight)
    return _debiased(*residual(prob, label), weight, bins)


def ece_equal_width(
    prob: Prob, label: Label, weight: Weight | None = None, bins: int = 15
) -> Value:
    """Expected calibration error as most papers report it: equal-width bins, not debiased.

    (Guo et al. 2017.) Positive even for perfect predictions, the more the fewer the records.
    """
    prob, weight = checked(prob, label, weight)
    confidence, gap = residual(prob, label)
    index = np.broadcast_to(equal_width(confidence, bins), weight.shape)
    gaps = np.abs(bin_sums(index, weight * gap, bins)).sum(axis=-1)
    return ratio(gaps, weight.sum(axis=-1))


def ece_top_label(prob: Prob, label: Label, weight: Weight | None = None, bins: int = 15) -> Value:
    """ECE within each predicted class, averaged by how often it is predicted: debiased.

    Over-confidence in one diagnosis is not made good by under-confidence in another (Gupta and
    Ramdas 2022).
    """
    prob, weight = checked(prob, label, weight)
    confidence, gap = residual(prob, label)
    named = onehot(prob.argmax(axis=1), prob.shape[1]).T
    each = [_debiased(confidence, gap, weight * here, bins) for here in named]
    share = np.stack([ratio(weight @ here, weight.sum(axis=-1)) for here in named], axis=-1)
    parts = np.where(share == 0, 0.0, share * np.stack(each, axis=-1))
    return np.asarray(parts.sum(axis=-1))


def ece_classwise(prob: Prob, label: Label, weight: Weight | None = None, bins: int = 15) -> Value:
    """Mean over classes of the ECE of that class's own probability (Kull et al. 2019): debiased."""
    prob, weight = checked(prob, label, weight)
    truth = onehot(label, prob.shape[1])
    each = [_debiased(p, y - p, weight, bins) for p, y in zip(prob.T, truth.T, strict=True)]
    return mean_defined(np.stack(each, axis=-1))


def _debiased(
    confidence: np.ndarray, excess: np.ndarray, weight: np.ndarray, bins: int
) -> np.ndarray:
    """ECE of any probability and (came true − probability), as `ece` describes it."""
    index = equal_mass(confidence, weight, bins)
    mass = bin_sums(index, weight, bins)
    gap = ratio(bin_sums(index, weight * excess, bins), mass, empty=0.0)
    binomial = bin_sums(index, weight**2 * confidence * (1 - confidence), bins)
    noise = np.sqrt(ratio(binomial, mass**2, empty=0.0))
    total = (mass * debiased_gap(mass, gap, noise)).sum(axis=-1)
    return ratio(total, weight.sum(axis=-1))


def debiased_gap(mass: np.ndarray, gap: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """|gap| of each bin [..., bin] less what noise of that standard deviation adds on average."""
    shrunk = gap * _signal_share(mass, gap, noise)
    return np.abs(gap) - _folding_bias(shrunk, noise)


def reliability_curve(prob: Prob, label: Label, bins: int = 10) -> Reliability:
    """Accuracy against confidence in equal-mass bins; empty bins are left out.

    The interval is Wilson's (1927) at 95 % and takes records as independent.
    """
    prob, weight = checked(prob, label, None)
    confidence, gap = residual(prob, label)
    index = equal_mass(confidence, weight, bins)
    count = bin_sums(index, weight, bins)
    kept = count > 0
    count = count[kept]
    confidence = bin_sums(index, confidence, bins)[kept] / count
    share = np.clip(confidence + bin_sums(index, gap, bins)[kept] / count, 0, 1)
    low, high = wilson(share, count)
    return Reliability(confidence, share, count.astype(np.int64), low, high)


def residual(prob: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence in the most probable class, and correctness − confidence."""
    top = prob.argmax(axis=1)
    confidence = np.take_along_axis(prob, top[:, None], axis=1)[:, 0]
    return confidence, (top == label) - confidence


def _signal_share(mass: np.ndarray, gap: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """1 − (what noise makes of the squared gaps), at least 0: positive-part James and Stein."""
    total = (mass * gap**2).sum(axis=-1, keepdims=True)
    explained = ratio((mass * noise**2).sum(axis=-1, keepdims=True), total, empty=1.0)
    return np.maximum(0.0, 1.0 - explained)


def _folding_bias(center: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """E|N(center, sd)| − |center| of a folded normal: sd (2 φ(t) − 2 t Φ(−t)), t = |center|/sd."""
    t = ratio(np.abs(center), sd, empty=np.inf)
    tail = np.where(np.isinf(t), 0.0, t) * np.vectorize(math.erfc, otypes=[float])(t / math.sqrt(2))
    return sd * (math.sqrt(2 / math.pi) * np.exp(-(t**2) / 2) - tail)


def wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % score interval of a binomial proportion (Wilson 1927)."""
    z = 1.959964
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.clip(center - half, 0, share), np.clip(center + half, share, 1)
