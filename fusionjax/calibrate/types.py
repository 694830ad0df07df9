"""What every calibrator shares: its two functions, and evidence against the prior.

A calibrator acts on the log-probabilities of any model. Where it can, it acts on the *evidence*,
log p − log prior, so that a patient of whom nothing is known keeps the class frequencies; a model
that knows no prior takes a uniform one, which gives the calibrators their usual form.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

LogProb = Float[np.ndarray, "n class"]
Label = Int[np.ndarray, " n"]
Prior = Float[np.ndarray, " class"]
Parameters = dict[str, Any]
"""Numbers, lists and dictionaries of them: what JSON can hold."""


class Calibrator(NamedTuple):
    """Two pure functions.

    `fit(log_prob, label, prior) -> parameters` on validation records, and
    `apply(parameters, log_prob, prior) -> log_prob`, finite and normalised. `prior` holds class
    probabilities. Both raise ValueError for NaN, for a prior that is not positive and for a label
    that is no class; few records, one class, and probabilities of 0 and 1 are no error.
    """

    fit: Callable[[LogProb, Label, Prior], Parameters]
    apply: Callable[[Parameters, LogProb, Prior], LogProb]


def evidence(log_prob: LogProb, prior: Prior) -> LogProb:
    """log p − log prior in float64; log 0 counts as −700. Raises ValueError where undefined."""
    if not (np.isfinite(prior).all() and (prior > 0).all()):
        raise ValueError("prior must be a positive probability for each class")
    if np.isnan(log_prob).any():
        raise ValueError("log_prob holds NaN")
    return np.maximum(np.asarray(log_prob, np.float64), -700.0) - np.log(prior, dtype=float)[None]


def posterior(found: LogProb, prior: Prior, scale: float = 1.0) -> LogProb:
    """log softmax(log prior + scale · evidence)."""
    return normalised(np.log(prior, dtype=float)[None] + scale * found)


def normalised(score: LogProb) -> LogProb:
    """log softmax over the classes."""
    from scipy.special import log_softmax

    return log_softmax(score, axis=1)


def check_labels(label: Label, classes: int) -> None:
    """Raise ValueError for a label that is no class."""
    if len(label) and not 0 <= label.min() <= label.max() < classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}: leave unlabelled records out")
