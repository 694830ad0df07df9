"""Stacking: a logistic regression on the experts' log-probabilities."""

from functools import partial

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.opinion.experts import Experts, log_ratio, pooled
from fusionjax.log_linear import energy
from fusionjax.types import Fusion, Params


def stacking(bias: Float[Array, " class"]) -> Fusion:
    """log P(y | X) = b_y + Σ_i o_i (c_{i,y} + Σ_k A_{i,y,k} log P_i(k | X_i)/P(k)) − log Z.

    Wolpert (1992) on the experts' probabilities (Ting and Witten 1999); it starts at A = I/m, c = 0
    for m modalities. Departures: level 1 is multinomial logistic, where Ting and Witten have a
    linear regression for each class; and it is fitted along with the experts and on their training
    records, not on predictions for records held out.
    """
    return pooled(bias, pool, partial(_mean, len(bias)))


def pool(
    params: Params,
    experts: Experts,
    log_prior: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """The log-linear energy with full θ_i = [c_i, A_i] on the constant and the log-ratios."""
    ratio = log_ratio(experts, log_prior, presence)
    ones = jnp.ones_like(ratio[:, 0, :1])
    scores = tuple(jnp.concatenate([ones, ratio[:, i]], axis=1) for i in range(ratio.shape[1]))
    return energy(params["level_1"], log_prior, scores, presence)


def _mean(classes: int, modalities: int) -> Params:
    start = jnp.concatenate([jnp.zeros((classes, 1)), jnp.eye(classes) / modalities], axis=1)
    return {"level_1": (start,) * modalities}
