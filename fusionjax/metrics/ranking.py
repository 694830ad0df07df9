"""Does the probability of a class rank those who have it above those who do not?"""

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from fusionjax.metrics.arrays import (
    Label,
    Prob,
    Value,
    Weight,
    checked,
    level_sums,
    levels,
    mean_defined,
    onehot,
    ratio,
    weights,
)

Score = Float[np.ndarray, " n"]
Positive = Bool[np.ndarray, " n"]


def auroc(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Macro AUROC: mean over the classes that occur of each one against the rest."""
    prob, weight = checked(prob, label, weight)
    truth = onehot(label, prob.shape[1]).astype(bool)
    each = [binary_auroc(p, y, weight) for p, y in zip(prob.T, truth.T, strict=True)]
    return mean_defined(np.stack(each, axis=-1))


def auroc_pairs(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """One-vs-one AUROC: mean over pairs of classes that occur, each way (Hand and Till 2001).

    Unlike one-vs-rest it does not depend on how common the classes are.
    """
    prob, weight = checked(prob, label, weight)
    each = []
    for a, b in combinations(range(prob.shape[1]), 2):
        pair = weight * np.isin(label, (a, b))
        sides = [binary_auroc(prob[:, k], label == k, pair) for k in (a, b)]
        each.append((sides[0] + sides[1]) / 2)
    return mean_defined(np.stack(each, axis=-1))


def auprc(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Macro average precision over the classes that occur, each against the rest."""
    prob, weight = checked(prob, label, weight)
    truth = onehot(label, prob.shape[1]).astype(bool)
    each = [average_precision(p, y, weight) for p, y in zip(prob.T, truth.T, strict=True)]
    return mean_defined(np.stack(each, axis=-1))


def sensitivity_at(
    prob: Prob, label: Label, weight: Weight | None = None, specificity: float = 0.9
) -> Value:
    """Macro sensitivity, each class at the threshold that keeps this specificity."""
    prob, weight = checked(prob, label, weight)
    truth = onehot(label, prob.shape[1]).astype(bool)
    each = [
        binary_sensitivity(p, y, weight, specificity) for p, y in zip(prob.T, truth.T, strict=True)
    ]
    return mean_defined(np.stack(each, axis=-1))


def binary_auroc(score: Score, positive: Positive, weight: Weight | None = None) -> Value:
    """P(score of a positive > score of a negative) + P(tie)/2; NaN where either side is missing."""
    above, below = _sides(score, positive, weights(weight, len(score)))
    wins = (above * (np.cumsum(below, axis=-1) - below / 2)).sum(axis=-1)
    return ratio(wins, above.sum(axis=-1) * below.sum(axis=-1))


def average_precision(score: Score, positive: Positive, weight: Weight | None = None) -> Value:
    """Σ (recall gained) · precision over thresholds, with no interpolation; NaN if no positive."""
    above, below = _sides(score, positive, weights(weight, len(score)))
    true, false = _from_top(above), _from_top(below)
    precision = ratio(true, true + false, empty=0.0)
    return ratio((above * precision).sum(axis=-1), above.sum(axis=-1))


def binary_sensitivity(
    score: Score, positive: Positive, weight: Weight | None = None, specificity: float = 0.9
) -> Value:
    """The most positives found by a threshold that keeps this specificity; 0 if none can."""
    above, below = _sides(score, positive, weights(weight, len(score)))
    found, alarms = _rates(above), _rates(below)
    kept = alarms <= 1 - specificity + 1e-12
    best = np.max(np.where(kept, found, 0.0), axis=-1, initial=0.0)
    return np.where(_both(above, below), best, np.nan)


def false_positives_at(
    score: Score, positive: Positive, weight: Weight | None = None, sensitivity: float = 0.95
) -> Value:
    """The fewest false alarms of a threshold that finds this share of positives.

    With "in distribution" as positive and minus an uncertainty as score it is the FPR95 of
    out-of-distribution detection (Hendrycks and Gimpel 2017).
    """
    above, below = _sides(score, positive, weights(weight, len(score)))
    found, alarms = _rates(above), _rates(below)
    enough = found >= sensitivity - 1e-12
    fewest = np.min(np.where(enough, alarms, 1.0), axis=-1, initial=1.0)
    return np.where(_both(above, below), fewest, np.nan)


def _sides(
    score: np.ndarray, positive: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at each distinct score [..., level], ascending."""
    order, starts = levels(score)
    total = level_sums(weight[..., order], starts)
    above = level_sums(weight[..., order] * positive[order], starts)
    return above, total - above


def _both(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Whether there are positives as well as negatives [...]."""
    return np.asarray((above.sum(axis=-1) > 0) & (below.sum(axis=-1) > 0))


def _from_top(mass: np.ndarray) -> np.ndarray:
    """At each level, the mass at it and above."""
    return np.cumsum(mass[..., ::-1], axis=-1)[..., ::-1]


def _rates(mass: np.ndarray) -> np.ndarray:
    """Share of the mass at each level and above; NaN where there is none."""
    return ratio(_from_top(mass), mass.sum(axis=-1, keepdims=True) + 0 * mass)
