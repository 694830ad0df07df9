"""Two-class calibrators made to serve any number of classes (Zadrozny and Elkan 2002).

Each class is calibrated against the rest and the results are normalised; with two classes one
calibrator serves both. A two-class calibrator maps the log-odds of a class to log-odds. The prior
plays no part: what these maps do cannot be told from it.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from fusionjax.calibrate.types import Calibrator, LogProb, Parameters, check_labels, normalised

FARTHEST = float(-np.log(np.finfo(np.float64).eps))  # 36 nats, as in metrics.nll

LogOdds = Float[np.ndarray, " n"]
FitOne = Callable[[LogOdds, Bool[np.ndarray, " n"]], Parameters]
ApplyOne = Callable[[Parameters, LogOdds], LogOdds]


def lifted(fit_one: FitOne, apply_one: ApplyOne) -> Calibrator:
    """The calibrator of any number of classes."""
    return Calibrator(partial(_fit, fit_one), partial(_apply, apply_one))


def log_odds(log_prob: LogProb) -> Float[np.ndarray, "n class"]:
    """log p_k − log(1 − p_k), the latter from the other classes; at most 36 nats either way."""
    from scipy.special import logsumexp

    if np.isnan(log_prob).any():
        raise ValueError("log_prob holds NaN")
    log_prob = np.maximum(np.asarray(log_prob, np.float64), -700.0)
    rest = [logsumexp(np.delete(log_prob, k, axis=1), axis=1) for k in range(log_prob.shape[1])]
    odds = log_prob - np.stack(rest, axis=1)
    return np.minimum(np.maximum(odds, -FARTHEST), FARTHEST)


def to_log_odds(prob: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """log p − log(1 − p) for 0 < p < 1."""
    return np.log(prob) - np.log1p(-prob)


def within(prob: Float[np.ndarray, "*shape"], records: int) -> Float[np.ndarray, "*shape"]:
    """Kept from 0 and 1 by Laplace's rule: no surer than so many records can show."""
    least = 1 / (records + 2)
    return np.minimum(np.maximum(prob, least), 1 - least)


def _fit(fit_one: FitOne, log_prob: np.ndarray, label: np.ndarray, prior: np.ndarray) -> Parameters:
    check_labels(label, len(prior))
    odds = log_odds(log_prob)
    return {"classes": [fit_one(odds[:, k], label == k) for k in _columns(len(prior))]}


def _apply(
    apply_one: ApplyOne, parameters: Parameters, log_prob: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    from scipy.special import log_expit

    odds = log_odds(log_prob)
    columns = _columns(len(prior))
    each = [
        apply_one(one, odds[:, k]) for one, k in zip(parameters["classes"], columns, strict=True)
    ]
    if len(columns) == 1:
        return np.stack([log_expit(-each[0]), log_expit(each[0])], axis=1)
    return normalised(np.stack([log_expit(one) for one in each], axis=1))


def _columns(classes: int) -> list[int]:
    return [1] if classes == 2 else list(range(classes))
