"""Prediction sets that hold the true class with a promised probability."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int


def threshold(
    prob: Float[np.ndarray, "n class"], label: Int[np.ndarray, " n"], coverage: float = 0.9
) -> float:
    """The least probability that a class needs to enter the set, by split conformal prediction.

    The k-th smallest of 1 − P(label | X) over calibration records, k = ⌈(n + 1) coverage⌉, is the
    most that a set forgives (least ambiguous sets, Sadinle, Lei and Wasserman 2019). With fewer
    records than coverage/(1 − coverage) nothing can be promised short of every class, and the
    threshold is 0.
    """
    forgiven = np.sort(1 - prob[np.arange(len(label)), label])
    k = math.ceil((len(label) + 1) * coverage - 1e-9)
    return float(max(1 - forgiven[k - 1], 0.0)) if k <= len(label) else 0.0


def sets(prob: Float[np.ndarray, "n class"], least: float) -> Bool[np.ndarray, "n class"]:
    """Classes with at least that probability; the likeliest is always among them."""
    likeliest = prob == prob.max(axis=1, keepdims=True)
    return (prob >= least - 1e-12) | likeliest
