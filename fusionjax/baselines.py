"""Logistic regression on the concatenated features: the strong simple baseline in every table.

A fusion that does not beat it, or the same on one modality alone, has not helped.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

STRENGTHS = tuple(10 ** (half / 2) for half in range(-10, 3))


class LogisticModel(NamedTuple):
    """log P(y | x) = log softmax(intercept + coef · (x − mean) / sd).

    A class without training records has intercept −inf and probability `floor` instead, 1 of
    (records + classes) as by Laplace's rule. `strength` is the inverse penalty that was chosen.
    """

    coef: Float[np.ndarray, "class d"]
    intercept: Float[np.ndarray, " class"]
    mean: Float[np.ndarray, " d"]
    sd: Float[np.ndarray, " d"]
    strength: float
    floor: float


def logistic(
    features_train: Float[np.ndarray, "n d"],
    label_train: Int[np.ndarray, " n"],
    features_valid: Float[np.ndarray, "m d"],
    label_valid: Int[np.ndarray, " m"],
    strengths: Sequence[float] = STRENGTHS,
    classes: int | None = None,
) -> LogisticModel:
    """Multinomial logistic regression, ridge penalty chosen by validation NLL.

    Features are standardised by the training records; NaN becomes their mean and a constant column
    (the 1 of an encoder's vector) says nothing. `strengths` are scikit-learn's C; the smallest, the
    heaviest penalty, wins a tie. `classes` is the largest label + 1 unless given: give it where a
    class may occur in the test records alone. Raises ValueError without training records, and for
    a label that is no class.
    """
    label = np.concatenate([label_train, label_valid])
    classes = int(label.max(initial=0)) + 1 if classes is None else classes
    if len(label_train) == 0 or not 0 <= label.min() <= label.max() < classes:
        raise ValueError(f"logistic regression needs training records with labels 0..{classes - 1}")
    mean, sd = _moments(features_train)
    inputs = _standardise(features_train, mean, sd)
    floor = 1 / (len(label_train) + classes)
    models = [
        LogisticModel(*_expand(fit, classes), mean, sd, strength, floor)
        for strength, fit in _path(inputs, label_train, sorted(strengths))
    ]
    return min(models, key=lambda model: _nll(model, features_valid, label_valid))


def log_prob(model: LogisticModel, features: Float[np.ndarray, "n d"]) -> np.ndarray:
    """log P(y | x) [n, class], finite for every class."""
    from scipy.special import log_softmax

    inputs = _standardise(features, model.mean, model.sd)
    absent = np.isneginf(model.intercept)
    seen = log_softmax(inputs @ model.coef.T + model.intercept[None, :], axis=1)
    rest = np.log1p(-model.floor * absent.sum())
    return np.where(absent[None, :], np.log(model.floor), seen + rest)


class _Fit(NamedTuple):
    """Coefficients of the classes that were seen."""

    seen: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray


def _path(
    inputs: np.ndarray, label: np.ndarray, strengths: Sequence[float]
) -> Iterator[tuple[float, _Fit]]:
    """(strength, fit) from the strongest penalty to the weakest, each started from the last.

    The ridge penalty does not see rotations: where there are more columns than records, the fit
    is done in the records' own coordinates (their left singular vectors) and rotated back.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(label)
    if len(seen) == 1:
        yield strengths[0], _Fit(seen, np.zeros((1, inputs.shape[1])), np.zeros(1))
        return
    rotation = _row_space(inputs)
    scores = inputs if rotation is None else inputs @ rotation.T
    regression = LogisticRegression(max_iter=500, warm_start=True)
    for strength in strengths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.set_params(C=strength).fit(scores, label)
        coef = regression.coef_ if rotation is None else regression.coef_ @ rotation
        yield strength, _both_sides(_Fit(seen, np.array(coef), np.array(regression.intercept_)))


def _row_space(inputs: np.ndarray) -> np.ndarray | None:
    """Orthonormal rows that span the records, [n, d], where they are wide; else None."""
    if inputs.shape[1] <= inputs.shape[0]:
        return None
    return np.linalg.svd(inputs, full_matrices=False)[2]


def _both_sides(fit: _Fit) -> _Fit:
    """scikit-learn keeps one row for two classes: their log-odds, split between both here."""
    if len(fit.seen) > 2:
        return fit
    coef = np.concatenate([-fit.coef, fit.coef]) / 2
    return _Fit(fit.seen, coef, np.concatenate([-fit.intercept, fit.intercept]) / 2)


def _expand(fit: _Fit, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for every class; −inf as the intercept of one that was not seen."""
    coef, intercept = np.zeros((classes, fit.coef.shape[1])), np.full(classes, -np.inf)
    coef[fit.seen], intercept[fit.seen] = fit.coef, fit.intercept
    return coef, intercept


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of what is not NaN in each column; sd 1 where nothing varies."""
    values = np.asarray(features, np.float64)
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, values, 0.0).sum(axis=0) / count
    sd = np.sqrt(np.where(there, (values - mean[None, :]) ** 2, 0.0).sum(axis=0) / count)
    return mean, np.where(sd > 1e-6 * np.abs(mean) + 1e-12, sd, 1.0)


def _standardise(features: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    inputs = (np.asarray(features, np.float64) - mean[None, :]) / sd[None, :]
    return np.where(np.isnan(inputs), 0.0, inputs)


def _nll(model: LogisticModel, features: np.ndarray, label: np.ndarray) -> float:
    """Mean NLL, 0 without records: the strongest penalty is then taken."""
    if len(label) == 0:
        return 0.0
    onehot = label[:, None] == np.arange(len(model.intercept))[None, :]
    return -float(np.sum(log_prob(model, features) * onehot)) / len(label)
