"""Evidential conflictive multi-view learning: the mean of the evidence, and a loss on conflict."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import prior_where_nothing
from fusionjax.fusion.evidential.opinions import (
    collectors,
    concentration,
    expected_loss,
    gathered,
    log_prob,
    opinion,
)
from fusionjax.fusion.layers import present_mean
from fusionjax.types import Features, Fusion, Key, Params


def ecml(bias: Float[Array, " class"], penalty: float = 0.1, conflict: float = 1.0) -> Fusion:
    """ECML (Xu et al. 2024): conflictive opinion aggregation, which averages the evidence.

    Proposition 1 says that it does, for two views. The loss is the mean of those of the combined
    opinion and of each modality's, as in the published program (the paper adds them up), plus
    `conflict` times the conflictive degree. Departures: those of TMC; and all present modalities
    weigh the same, while the rule for two views, applied in turn as the published program does,
    lets the last view count half.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        return {"theta": collectors(key, tuple(f.vector for f in features), len(bias))}

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        together = present_mean(gathered(params, features, presence), presence)
        found = log_prob(together, jax.nn.log_softmax(bias))
        return prior_where_nothing(found, bias, presence)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        prior = jax.nn.log_softmax(bias)
        each = gathered(params, features, presence)
        wanted = jnp.broadcast_to(onehot[:, None, :], each.shape)
        own = jnp.where(presence, expected_loss(each, prior, wanted, penalty), 0)
        together = expected_loss(present_mean(each, presence), prior, onehot, penalty)
        mean = (together + jnp.sum(own, axis=1)) / (1 + jnp.sum(presence, axis=1))
        return mean + conflict * conflictive_degree(each, presence, prior)

    return Fusion(init, apply, loss)


def conflictive_degree(
    evidence: Float[Array, "batch modality class"],
    presence: Bool[Array, "batch modality"],
    log_prior: Float[Array, " class"],
) -> Float[Array, " batch"]:
    """Σ_i Σ_{j≠i} ½ Σ_y |P_i(y) − P_j(y)| · (1 − u_i)(1 − u_j) / (n − 1), n modalities present.

    How far the projected probabilities of two opinions are apart, as far as both are certain: of
    each pair the degree of conflict of Jøsang (2016, eqs. 4.61 to 4.63).
    """
    alpha = concentration(evidence, log_prior)
    prob = alpha / jnp.sum(alpha, axis=2, keepdims=True)
    certain = jnp.where(presence, 1 - opinion(evidence).uncertainty, 0)
    apart = jnp.sum(jnp.abs(prob[:, :, None, :] - prob[:, None, :, :]), axis=3) / 2
    pairs = apart * certain[:, :, None] * certain[:, None, :]
    others = jnp.maximum(jnp.sum(presence, axis=1) - 1, 1)
    return jnp.sum(pairs, axis=(1, 2)) / others
