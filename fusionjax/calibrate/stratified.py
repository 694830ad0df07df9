"""A calibrator for each stratum (missingness pattern, site), drawn towards that of all records.

Strata are small, so each is a compromise, log q ∝ (1 − share) log q_all + share log q_own, where
share = n/(n + reluctance). For calibrators that are linear in log p this averages the parameters,
and the share is that of the posterior mean in a normal hierarchy: reluctance counts the records
that tell as much as the strata's spread. It is the same for all strata, chosen by
cross-validated NLL, infinity (one calibrator for all) among the choices.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from fusionjax.calibrate.types import (
    Calibrator,
    Label,
    LogProb,
    Parameters,
    Prior,
    normalised,
)

RELUCTANCE = (math.inf, 3000.0, 1000.0, 300.0, 100.0, 30.0)
FEWEST = 10

Stratum = Shaped[np.ndarray, " n"]


class Stratified(NamedTuple):
    """A calibrator that knows each record's stratum, by name; unknown ones are like all records.

    `fit(log_prob, label, prior, stratum, group) -> parameters`; `group` names the patients, so that
    none is on both sides of a cross-validation; `apply(parameters, log_prob, prior, stratum)`.
    """

    fit: Callable[[LogProb, Label, Prior, Stratum, Stratum], Parameters]
    apply: Callable[[Parameters, LogProb, Prior, Stratum], LogProb]


def by_stratum(calibrator: Calibrator) -> Stratified:
    """The calibrator, once for all records and once for each stratum of ten or more."""
    return Stratified(partial(_fit, calibrator), partial(_apply, calibrator))


def folds(group: Stratum, count: int, seed: int) -> Int[np.ndarray, " n"]:
    """A fold for each record, the same for all of a group; groups are shuffled and dealt out."""
    names, index = np.unique(group, return_inverse=True)
    dealt = np.arange(len(names)) % count
    return np.random.default_rng(seed).permutation(dealt)[index]


def _fit(
    calibrator: Calibrator,
    log_prob: np.ndarray,
    label: np.ndarray,
    prior: np.ndarray,
    stratum: np.ndarray,
    group: np.ndarray,
) -> Parameters:
    found = _fit_all(calibrator, log_prob, label, prior, stratum)
    return {**found, "reluctance": _reluctance(calibrator, log_prob, label, prior, stratum, group)}


def _apply(
    calibrator: Calibrator,
    parameters: Parameters,
    log_prob: np.ndarray,
    prior: np.ndarray,
    stratum: np.ndarray,
) -> np.ndarray:
    everyone, own, count = _predict(calibrator, parameters, log_prob, prior, stratum)
    return _mixed(everyone, own, count, parameters["reluctance"])


def _fit_all(
    calibrator: Calibrator,
    log_prob: np.ndarray,
    label: np.ndarray,
    prior: np.ndarray,
    stratum: np.ndarray,
) -> Parameters:
    strata = {}
    for name in np.unique(stratum):
        rows = np.flatnonzero(stratum == name)
        if len(rows) >= FEWEST:
            own = calibrator.fit(log_prob[rows], label[rows], prior)
            strata[str(name)] = {"records": len(rows), "parameters": own}
    return {"everyone": calibrator.fit(log_prob, label, prior), "strata": strata}


def _predict(
    calibrator: Calibrator,
    parameters: Parameters,
    log_prob: np.ndarray,
    prior: np.ndarray,
    stratum: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What all records' calibrator says, what the stratum's own does, and its records [n]."""
    everyone = calibrator.apply(parameters["everyone"], log_prob, prior)
    own, count = everyone.copy(), np.zeros(len(log_prob))
    for name, entry in parameters["strata"].items():
        rows = np.flatnonzero(stratum.astype(str) == name)
        own[rows] = calibrator.apply(entry["parameters"], log_prob[rows], prior)
        count[rows] = entry["records"]
    return everyone, own, count


def _mixed(
    everyone: np.ndarray, own: np.ndarray, count: np.ndarray, reluctance: float | None
) -> np.ndarray:
    if reluctance is None:
        return everyone
    share = (count / (count + reluctance))[:, None]
    return normalised((1 - share) * everyone + share * own)


def _reluctance(
    calibrator: Calibrator,
    log_prob: np.ndarray,
    label: np.ndarray,
    prior: np.ndarray,
    stratum: np.ndarray,
    group: np.ndarray,
) -> float | None:
    """The reluctance of least cross-validated NLL; None, which JSON can hold, for infinity."""
    fold, losses = folds(group, 5, 0), np.zeros(len(RELUCTANCE))
    for k in range(5):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(train) or not len(held):
            continue
        fitted = _fit_all(calibrator, log_prob[train], label[train], prior, stratum[train])
        parts = _predict(calibrator, fitted, log_prob[held], prior, stratum[held])
        for i, each in enumerate(RELUCTANCE):
            mixed = _mixed(*parts, None if math.isinf(each) else each)
            losses[i] -= mixed[np.arange(len(held)), label[held]].sum()
    best = RELUCTANCE[int(losses.argmin())]
    return None if math.isinf(best) else best
