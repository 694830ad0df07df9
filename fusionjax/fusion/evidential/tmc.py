"""Trusted multi-view classification: opinions combined by Dempster's rule."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import prior_where_nothing
from fusionjax.fusion.evidential.opinions import (
    collectors,
    expected_loss,
    gathered,
    log_prob,
)
from fusionjax.types import Features, Fusion, Key, Params

MOST = 60.0
"""Bound on log(1 + e/K) of the fused evidence, so that it stays finite in float32."""


def tmc(bias: Float[Array, " class"], penalty: float = 0.1) -> Fusion:
    """TMC (Han et al. 2021): evidence e_i = softplus(θ_i F_i), Dempster's rule, the losses of all.

    Opinions are combined by the rule of their definition 3.1. The loss is that of the combined
    opinion and of each modality's. Departures: the base rate is the prior; `penalty` on misleading
    evidence is constant, where the paper raises it from 0 to 1 over the epochs; one linear layer
    collects the evidence, since encoders have gone before.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        return {"theta": collectors(key, tuple(f.vector for f in features), len(bias))}

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        together = dempster(gathered(params, features, presence))
        found = log_prob(together, jax.nn.log_softmax(bias))
        return prior_where_nothing(found, bias, presence)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        each = gathered(params, features, presence)
        return losses(each, presence, jax.nn.log_softmax(bias), onehot, penalty)

    return Fusion(init, apply, loss)


def dempster(evidence: Float[Array, "batch modality class"]) -> Float[Array, "batch class"]:
    """The evidence of the modalities' opinions combined by Dempster's reduced rule, as in TMC.

    For opinions that believe in single classes or in nothing, b_y ∝ Π_i (b_{i,y} + u_i) − Π_i u_i
    and u ∝ Π_i u_i, so that the rule is a product: 1 + e_y/K = Π_i (1 + e_{i,y}/K).
    """
    classes = evidence.shape[2]
    log_growth = jnp.sum(jnp.log1p(evidence / classes), axis=1)
    return classes * jnp.expm1(jnp.minimum(log_growth, MOST))


def losses(
    each: Float[Array, "batch view class"],
    there: Bool[Array, "batch view"],
    log_prior: Float[Array, " class"],
    onehot: Float[Array, "batch class"],
    penalty: float,
) -> Float[Array, " batch"]:
    """The loss of the views' opinions combined and of every view that is there, added up."""
    wanted = jnp.broadcast_to(onehot[:, None, :], each.shape)
    own = jnp.where(there, expected_loss(each, log_prior, wanted, penalty), 0)
    return expected_loss(dempster(each), log_prior, onehot, penalty) + jnp.sum(own, axis=1)
