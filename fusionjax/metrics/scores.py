"""Scores of a whole prediction: accuracy, likelihood, squared error and its parts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fusionjax.metrics.arrays import (
    Label,
    Prob,
    Value,
    Weight,
    bin_sums,
    checked,
    mean,
    mean_defined,
    onehot,
    ratio,
    xlogy,
)
from fusionjax.metrics.bins import equal_mass


class Decomposition(NamedTuple):
    """Brier score = reliability − resolution + uncertainty + within."""

    reliability: Value
    resolution: Value
    uncertainty: Value
    within: Value


def accuracy(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Share of records whose most probable class (the first, in a tie) is their label."""
    prob, weight = checked(prob, label, weight)
    return mean(prob.argmax(axis=1) == label, weight)


def balanced_accuracy(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Mean over the classes that occur of the share of their records that is recognised."""
    prob, weight = checked(prob, label, weight)
    hit, truth = prob.argmax(axis=1) == label, onehot(label, prob.shape[1])
    return mean_defined(ratio(weight @ (truth * hit[:, None]), weight @ truth))


def nll(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Mean negative log-likelihood in nats; a probability counts as at least 2.2e-16 (36 nats)."""
    prob, weight = checked(prob, label, weight)
    of_label = np.take_along_axis(prob, label[:, None], axis=1)[:, 0]
    return mean(-np.log(np.clip(of_label, np.finfo(np.float64).eps, 1)), weight)


def brier(prob: Prob, label: Label, weight: Weight | None = None) -> Value:
    """Mean over records of the squared error summed over classes (Brier 1950): between 0 and 2."""
    prob, weight = checked(prob, label, weight)
    return mean(((prob - onehot(label, prob.shape[1])) ** 2).sum(axis=1), weight)


def brier_decomposition(
    prob: Prob, label: Label, weight: Weight | None = None, bins: int = 15
) -> Decomposition:
    """The Brier score in four parts that sum to it exactly, over classes, in equal-mass bins.

    Reliability: squared distance of a bin's mean probability from its frequency. Resolution:
    spread of the bins' frequencies. Uncertainty: what the class frequencies alone would score.
    (Murphy 1973.) `within` is what he left out: probabilities differ within a bin (Stephenson,
    Coelho and Jolliffe 2008).
    """
    prob, weight = checked(prob, label, weight)
    truth = onehot(label, prob.shape[1])
    each = [_decomposed(p, y, weight, bins) for p, y in zip(prob.T, truth.T, strict=True)]
    return Decomposition(*(np.asarray(np.sum(part, axis=0)) for part in zip(*each, strict=True)))


def _decomposed(
    p: np.ndarray, y: np.ndarray, weight: np.ndarray, bins: int
) -> tuple[np.ndarray, ...]:
    index = equal_mass(p, weight, bins)
    mass, whole = bin_sums(index, weight, bins), weight.sum(axis=-1)
    said = ratio(bin_sums(index, weight * p, bins), mass, empty=0.0)
    true = ratio(bin_sums(index, weight * y, bins), mass, empty=0.0)
    base = ratio(weight @ y, whole)
    reliability = ratio((mass * (said - true) ** 2).sum(axis=-1), whole)
    resolution = ratio((mass * (true - base[..., None]) ** 2).sum(axis=-1), whole)
    uncertainty = np.asarray(base * (1 - base))
    score = ratio(weight @ (p - y) ** 2, whole)
    within = np.asarray(score - reliability + resolution - uncertainty)
    return reliability, resolution, uncertainty, within


def entropy(prob: Float[np.ndarray, "*batch class"]) -> Float[np.ndarray, "*batch"]:
    """−Σ p log p in nats, with 0 log 0 = 0."""
    return -np.asarray(np.sum(xlogy(prob, prob), axis=-1))


def kl(
    truth: Float[np.ndarray, "*batch class"], prob: Float[np.ndarray, "*batch class"]
) -> Float[np.ndarray, "*batch"]:
    """Kullback–Leibler divergence Σ truth log(truth / prob) in nats; infinite where prob is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.sum(xlogy(truth, truth) - xlogy(truth, prob), axis=-1))
