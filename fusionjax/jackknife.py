"""Prediction sets from the training records themselves: jackknife+ with no model fitted again.

Jackknife+ (Barber et al. 2021; for classes Romano, Sesia and Candès 2020) compares a new patient's
score under the model that left record i out with record i's own under the same model. The n models
are not fitted here. For a log-linear model with a Gaussian prior, leaving out i moves the scores of
a patient by one Newton step from the mode,

    Δ_i(x) = J(x, i) (I − W_i J(i, i))⁻¹ (p_i − y_i),   J(x, i) = (I ⊗ x)ᵀ H⁻¹ (I ⊗ F_i),

where W_i = diag(p_i) − p_i p_iᵀ and H is the Hessian of the negative log posterior. This is
approximate, the better the smaller the leverage: the guarantee of jackknife+, 1 − 2(1 − coverage),
is then one of the n exact models and not of these. In practice coverage is near what is asked.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

Features = Float[np.ndarray, "n p"]
Logits = Float[np.ndarray, "n class"]


def hessian(
    features: Features, prob: Logits, precision: Float[np.ndarray, "k k"]
) -> Float[np.ndarray, "k k"]:
    """Σ_n W_n ⊗ F_n F_nᵀ + the prior's precision; k = class · p, the class outermost."""
    classes, p = prob.shape[1], features.shape[1]
    found = precision.copy()
    for a in range(classes):
        for b in range(classes):
            weight = (prob[:, a] * (a == b) - prob[:, a] * prob[:, b])[:, None]
            found[a * p : (a + 1) * p, b * p : (b + 1) * p] += features.T @ (weight * features)
    return found


def moves(
    asked: Float[np.ndarray, "m p"],
    features: Features,
    prob: Logits,
    label: Int[np.ndarray, " n"],
    inverse: Float[np.ndarray, "k k"],
) -> tuple[Float[np.ndarray, "m n class"], Logits]:
    """What leaving record i out adds to the scores of each new record, and to its own."""
    classes, p = prob.shape[1], features.shape[1]
    blocks = inverse.reshape(classes, p, classes, p)
    # [n, class, p, class]: H⁻¹ (I ⊗ F_i).
    pushed = np.einsum("apbq,nq->napb", blocks, features)
    own = np.einsum("np,napb->nab", features, pushed)
    weight = prob[:, :, None] * np.eye(classes)[None] - prob[:, :, None] * prob[:, None, :]
    error = prob - np.eye(classes)[label]
    # (I − W J)⁻¹ error: the step of the objective without i, seen from the mode with it.
    step = np.linalg.solve(np.eye(classes)[None] - weight @ own, error[:, :, None])[:, :, 0]
    direction = np.einsum("napb,nb->nap", pushed, step)
    return np.einsum("mp,nap->mna", asked, direction), np.einsum("np,nap->na", features, direction)


def sets(
    logits: Float[np.ndarray, "m class"],
    moved: Float[np.ndarray, "m n class"],
    own: Float[np.ndarray, " n"],
    coverage: float = 0.9,
) -> Bool[np.ndarray, "m class"]:
    """Classes whose score 1 − p exceeds record i's own, both without i, for few enough i.

    `own` holds 1 − P(label) of each training record by the model without it. A class stays out
    where ⌈(n + 1) coverage⌉ records or more are less strange than it; with too few records for
    the coverage no class ever is, and every set is empty: nothing is promised.
    """
    n = len(own)
    k = math.ceil((n + 1) * coverage - 1e-9)
    if k > n:
        return np.zeros(logits.shape, bool)
    without = softmax(logits[:, None, :] + moved)
    stranger = (1 - without > own[None, :, None] + 1e-12).sum(axis=1)
    return stranger < k


def softmax(score: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    raised = np.exp(score - score.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
