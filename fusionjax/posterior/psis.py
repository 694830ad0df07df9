"""Pareto-smoothed importance sampling: how far weights can be believed, and draws made from them.

After Vehtari et al. (2024), "Pareto smoothed importance sampling", JMLR 25.
"""

import math

import numpy as np
from jaxtyping import Float, Int

from fusionjax.keys import generator
from fusionjax.types import Key


def smooth(log_weights: Float[np.ndarray, " draw"]) -> tuple[Float[np.ndarray, " draw"], float]:
    """Log weights with their tail replaced by a fitted Pareto's quantiles; and its shape k̂.

    No weight exceeds the largest raw one, whose log is 0 in what is returned. Weights that are all
    alike have k̂ = 0, weights that are not finite or fewer than 5 inf, and all are left as they are.
    """
    if len(log_weights) < 5 or not np.all(np.isfinite(log_weights)):
        return log_weights, math.inf
    log_weights = log_weights - np.max(log_weights)
    size = math.ceil(min(len(log_weights) / 5, 3 * math.sqrt(len(log_weights))))
    order = np.argsort(log_weights)
    tail, cut = order[-size:], np.exp(log_weights[order[-size - 1]])
    excess = np.exp(log_weights[tail]) - cut
    if excess[-1] < 1e-9:
        return log_weights, 0.0
    shape, scale = _pareto(np.maximum(excess, 1e-300))
    # A weak prior towards 1/2, worth ten weights.
    shape = (size * shape + 5.0) / (size + 10.0)
    middle = (np.arange(size) + 0.5) / size
    # A shape of many tens overflows, and is then cut off at the largest weight.
    with np.errstate(over="ignore"):
        quantile = np.expm1(-shape * np.log1p(-middle)) / shape
    smoothed = log_weights.copy()
    smoothed[tail] = np.minimum(np.log(cut + scale * quantile), 0.0)
    return smoothed, shape


def k_hat(log_weights: Float[np.ndarray, " draw"]) -> float:
    """The Pareto shape of the largest weights: above 0.7 hardly any mean can be believed."""
    return smooth(log_weights)[1]


def tail_excess(log_weights: Float[np.ndarray, " draw"]) -> float:
    """The part of all the weight by which the largest weights, those that k̂ is of, exceed the rest.

    Where it is minute the shape of the tail says nothing: weights between 0.99 and 1.02 may well
    have k̂ = 1.
    """
    weights = np.sort(normalised(log_weights))
    size = math.ceil(min(len(weights) / 5, 3 * math.sqrt(len(weights))))
    return float(np.sum(weights[-size:] - weights[-size - 1]))


def most_k_hat(draws: int) -> float:
    """The Pareto shape up to which this many weighted draws can be relied on, at most 0.7."""
    return min(1.0 - 1.0 / math.log10(max(draws, 2)), 0.7)


def normalised(log_weights: Float[np.ndarray, " draw"]) -> Float[np.ndarray, " draw"]:
    """The weights, summing to 1."""
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / np.sum(weights)


def effective(log_weights: Float[np.ndarray, " draw"]) -> float:
    """Kish's effective number of weighted draws, (Σw)²/Σw²."""
    return 1.0 / float(np.sum(normalised(log_weights) ** 2))


def resample(
    key: Key, log_weights: Float[np.ndarray, " draw"], count: int
) -> Int[np.ndarray, " count"]:
    """`count` indices in random order, each as often as its weight says (systematic resampling)."""
    random = generator(key)
    ticks = (random.random() + np.arange(count)) / count
    chosen = np.searchsorted(np.cumsum(normalised(log_weights)), ticks)
    return random.permutation(np.minimum(chosen, len(log_weights) - 1))


def _pareto(excess: Float[np.ndarray, " tail"]) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto, after Zhang and Stephens (2009)."""
    size = len(excess)
    grid = np.arange(1, 31 + math.isqrt(size)) - 0.5
    quartile = excess[int(size / 4 + 0.5) - 1]
    rate = 1 / excess[-1] + (1 - np.sqrt((len(grid) + 0.0) / grid)) / (3 * quartile)
    shape = np.mean(np.log1p(-rate[:, None] * excess[None, :]), axis=1)
    profile = size * (np.log(-rate / shape) - shape - 1)
    weight = np.exp(profile - np.max(profile))
    best = np.sum(rate * weight) / np.sum(weight)
    shape = float(np.mean(np.log1p(-best * excess)))
    return shape, -shape / float(best)
