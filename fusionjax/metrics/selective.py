"""What is gained by not deciding: risk among the patients of whom the model is surest.

`loss` [n] is 1 where a decision is wrong (or any cost), `confidence` [n] decides who is kept.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fusionjax.metrics.arrays import Value, Weight, level_sums, levels, ratio, weights

Loss = Float[np.ndarray, " n"]


class RiskCoverage(NamedTuple):
    """Mean loss among the surest `coverage` of all records, with its 95 % interval (normal)."""

    coverage: Float[np.ndarray, " point"]
    risk: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]
    high: Float[np.ndarray, " point"]


def aurc(confidence: Loss, loss: Loss, weight: Weight | None = None) -> Value:
    """Mean over coverages of the risk among those kept (Geifman and El-Yaniv 2017).

    Ties in confidence are broken at random and averaged over: with c kept so far and their loss
    L, m tied records of mean loss ℓ add Σ_i (L + iℓ)/(c + i) = mℓ + (L − cℓ)(ψ(c+m+1) − ψ(c+1)).
    """
    from scipy.special import digamma

    mass, lost, kept, before = _descending(confidence, loss, weights(weight, len(loss)))
    mean = ratio(lost, mass, empty=0.0)
    start = kept - mass
    tied = mass * mean + (before - start * mean) * (digamma(kept + 1) - digamma(start + 1))
    return ratio(tied.sum(axis=-1), mass.sum(axis=-1))


def augrc(confidence: Loss, loss: Loss, weight: Weight | None = None) -> Value:
    """Area under coverage × risk: the chance that a random patient is kept, and wrongly decided.

    Averaged over coverages (Traub et al. 2024). Unlike AURC it does not weigh the surest few most.
    """
    mass, lost, _, before = _descending(confidence, loss, weights(weight, len(loss)))
    area = (mass * (before + lost / 2)).sum(axis=-1)
    return ratio(area, mass.sum(axis=-1) ** 2)


def risk_coverage(confidence: Loss, loss: Loss, points: int = 50) -> RiskCoverage:
    """The risk–coverage curve at `points` even coverages; records count as independent."""
    n = len(loss)
    if n == 0:
        return RiskCoverage(*(np.zeros(0) for _ in range(4)))
    mass, lost, kept, before = _descending(confidence, loss, np.ones(n))
    # A whole level of ties is kept or none: the curve goes straight between.
    at = np.unique(np.ceil(np.linspace(1 / points, 1, points) * n))
    total = np.interp(at, np.append(0.0, kept), np.append(0.0, before + lost))
    square = level_sums((loss**2)[np.argsort(-confidence, kind="stable")], _starts(mass))
    squares = np.interp(at, np.append(0.0, kept), np.append(0.0, np.cumsum(square)))
    risk = total / at
    error = 1.959964 * np.sqrt(np.maximum(squares / at - risk**2, 0) / at)
    return RiskCoverage(at / n, risk, np.maximum(risk - error, 0), risk + error)


def _descending(
    confidence: np.ndarray, loss: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From the surest level [..., level]: mass, loss, mass down to it, loss before it."""
    order, starts = levels(-np.asarray(confidence, np.float64))
    mass = level_sums(weight[..., order], starts)
    lost = level_sums(weight[..., order] * loss[order], starts)
    return mass, lost, np.cumsum(mass, axis=-1), np.cumsum(lost, axis=-1) - lost


def _starts(mass: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(mass)[:-1]]).astype(np.int64)
