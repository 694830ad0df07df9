"""Calibrators that are linear in the log-probabilities, fitted by penalised maximum likelihood.

    log q_y ∝ log prior_y + (scale + diagonal_y) x_y + Σ_{j≠y} off_yj x_j + bias_y

The negative log-likelihood is convex in all parameters. Each block has a Gaussian prior around the
identity (scale 1, all else 0), of a standard deviation that the calibrator states: many parameters
on few records then stay near what the model said, and separable records do not diverge.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fusionjax.calibrate.types import Label, LogProb, Parameters, Prior, evidence, normalised

SCALE = 1.0
SMALLEST = float(np.log(np.finfo(np.float64).eps))


class Spread(NamedTuple):
    """Prior standard deviation of each block; 0 leaves a block out."""

    scale: float
    diagonal: float
    off: float
    bias: float


def fit(features: LogProb, label: Label, prior: Prior, spread: Spread) -> Parameters:
    """The most probable scale, diagonal, off and bias: L-BFGS on a convex loss."""
    from scipy.optimize import minimize

    classes = features.shape[1]
    weight, kept = _precision(spread, classes)
    onehot = np.eye(classes)[label]

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        every = np.zeros(len(weight))
        every[kept] = free
        log_prob = _log_prob(every, features, prior)
        error = np.exp(log_prob) - onehot
        push = np.concatenate(
            [
                [np.sum(error * features)],
                np.sum(error * features, axis=0),
                (error.T @ features).ravel(),
                error.sum(axis=0),
            ]
        )
        value = -np.sum(onehot * log_prob) + np.sum(weight * every**2) / 2
        records = max(len(label), 1)
        return value / records, ((push + weight * every) / records)[kept]

    found = minimize(
        loss,
        np.zeros(kept.sum()),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "ftol": 1e-11, "gtol": 1e-6, "maxcor": 20},
    )
    every = np.zeros(len(weight))
    every[kept] = found.x
    scale, diagonal, off, bias = _parts(every, classes)
    matrix = (SCALE + scale) * np.eye(classes) + np.diag(diagonal) + off
    return {"matrix": matrix.tolist(), "bias": bias.tolist()}


def apply(parameters: Parameters, features: LogProb, prior: Prior) -> LogProb:
    """log q for features [n, class]."""
    matrix, bias = np.asarray(parameters["matrix"]), np.asarray(parameters["bias"])
    return normalised(np.log(prior, dtype=float)[None] + features @ matrix.T + bias[None])


def floored(log_prob: LogProb, prior: Prior) -> LogProb:
    """Evidence, log p at least −36 as in `metrics.nll`: one log 0 would steer the whole fit."""
    return evidence(np.maximum(log_prob, SMALLEST), prior)


def centred(found: LogProb) -> LogProb:
    """Evidence in the gauge whose sum over classes is 0: a constant added to a row is nothing."""
    return found - found.mean(axis=1, keepdims=True)


def _log_prob(every: np.ndarray, features: np.ndarray, prior: np.ndarray) -> np.ndarray:
    scale, diagonal, off, bias = _parts(every, features.shape[1])
    own = (SCALE + scale + diagonal)[None] * features
    return normalised(np.log(prior, dtype=float)[None] + own + features @ off.T + bias[None])


def _parts(every: np.ndarray, classes: int) -> tuple[np.ndarray, ...]:
    """Scale [1], diagonal [class], off [class, class] and bias [class] of one flat vector."""
    scale, diagonal, off, bias = np.split(every, np.cumsum([1, classes, classes**2]).tolist())
    return scale, diagonal, off.reshape(classes, classes), bias


def _precision(spread: Spread, classes: int) -> tuple[Float[np.ndarray, " parameter"], np.ndarray]:
    """Prior precision of each parameter, and which are free at all."""
    aside = 1 - np.eye(classes).ravel()
    sd = np.concatenate(
        [
            [spread.scale],
            np.full(classes, spread.diagonal),
            spread.off * aside,
            np.full(classes, spread.bias),
        ]
    )
    return 1 / np.where(sd > 0, sd, 1.0) ** 2, sd > 0
