"""Sums over weighted records that every metric is made of, for a whole block of weights at once."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import ArrayLike

Prob = Float[np.ndarray, "n class"]
Label = Int[np.ndarray, " n"]
Weight = Shaped[np.ndarray, "*draw n"]
Value = Float[np.ndarray, "*draw"]
Metric = Callable[..., Value]


def checked(prob: Prob, label: Label, weight: Weight | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and weights in float64. Raises ValueError for a label that is no class."""
    if len(label) and not 0 <= label.min() <= label.max() < prob.shape[1]:
        raise ValueError(
            f"labels must lie in 0..{prob.shape[1] - 1}, got {label.min()}..{label.max()}: "
            "leave records without a label out"
        )
    return np.asarray(prob, np.float64), weights(weight, len(label))


def onehot(label: np.ndarray, classes: int) -> np.ndarray:
    """[n, class], 1 for the label's class."""
    return (label[:, None] == np.arange(classes)[None, :]).astype(np.float64)


def ratio(top: ArrayLike, bottom: ArrayLike, empty: float = np.nan) -> np.ndarray:
    """top / bottom, and `empty` where bottom is 0."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    return np.divide(top, bottom, out=np.full(bottom.shape, empty), where=bottom > 0)


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def xlogy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x log y, and 0 where x is 0."""
    return x * np.log(np.where(x > 0, y, 1.0))


def levels(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order that sorts `score`, and where in it each distinct value starts: ties share one."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    return order, np.flatnonzero(np.r_[len(score) > 0, ordered[1:] != ordered[:-1]])


def level_sums(ordered: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums over runs of the last axis that begin at `starts`."""
    if len(starts) in (0, ordered.shape[-1]):
        return ordered
    return np.add.reduceat(ordered, starts, axis=-1)


def bin_sums(index: np.ndarray, values: np.ndarray, bins: int) -> np.ndarray:
    """Sums of `values` [..., n] over the records of each bin [..., bin]."""
    draws = np.prod(index.shape[:-1], dtype=np.int64)
    flat = index.reshape(draws, index.shape[-1]) + bins * np.arange(draws)[:, None]
    sums = np.bincount(flat.ravel(), values.ravel(), minlength=draws * bins)
    return sums.reshape(*index.shape[:-1], bins)


def weights(weight: Weight | None, n: int) -> np.ndarray:
    """Weights [..., n] in float64, 1 where none are given."""
    return np.ones(n) if weight is None else np.asarray(weight, np.float64)


def mean(values: Shaped[np.ndarray, " n"], weight: Weight | None = None) -> Value:
    """Weighted mean of any value a record: `bootstrap` takes a metric that is built on it."""
    weight = weights(weight, len(values))
    return ratio(weight @ np.asarray(values, np.float64), weight.sum(axis=-1))
