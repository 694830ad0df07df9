"""The learned log-opinion pool: the log-linear model on the scores of experts."""

from functools import partial
from typing import Literal

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.opinion.experts import Experts, log_ratio, pooled
from fusionjax.log_linear import energy
from fusionjax.types import Fusion, Params

Kind = Literal["scalar", "class"]


def log_opinion_pool(bias: Float[Array, " class"], kind: Kind = "scalar") -> Fusion:
    """P(y | X) ∝ P(y) Π_i [P_i(y | X_i)/P(y)]^{o_i w_i}, w_i learned.

    The pool of Allard, Comunian and Renard (2012, "Probability aggregation methods in geoscience",
    eq. 15). `kind` is what w_i is, one number or, a departure, one a class: θ of the log-linear
    model on class scores, here log P_i − log P. It starts at 1, the corrected product; it may
    become negative and need not sum to 1, as in Heskes (1998) it must.
    """
    return pooled(bias, pool, partial(_ones, kind, len(bias)))


def pool(
    params: Params,
    experts: Experts,
    log_prior: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """The log-linear energy with θ_i = w_i."""
    ratio = log_ratio(experts, log_prior, presence)
    scores = tuple(ratio[:, i] for i in range(ratio.shape[1]))
    return energy(params["weight"], log_prior, scores, presence)


def _ones(kind: Kind, classes: int, modalities: int) -> Params:
    return {"weight": (jnp.ones(() if kind == "scalar" else classes),) * modalities}
