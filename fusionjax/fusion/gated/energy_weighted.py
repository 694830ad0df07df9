"""Quality-aware fusion: an expert counts as much as its logits are high."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import prior_where_nothing
from fusionjax.fusion.log_linear import start_theta
from fusionjax.fusion.opinion.experts import expert_losses
from fusionjax.log_linear import evidence, negative_log_likelihood
from fusionjax.types import Features, Fusion, Key, Params


def energy_weighted(bias: Float[Array, " class"], ranking: float = 1.0) -> Fusion:
    """log P(y | X) = b_y + Σ_i o_i w_i f_{i,y} − log Z, w_i = log Σ_y exp(f_{i,y}) / 10.

    QMF (Zhang et al. 2023, "Provable dynamic fusion for low-quality multimodal data"): the weight
    is the negative energy of modality i's logits f_i (eqs. 9 and 13; a tenth of it, as in the
    authors' program), no gradient flows through it, and the loss adds each modality's own and a
    correctness ranking loss (eqs. 14 to 18), by which the record of the batch that is predicted
    better must have the higher weight. Departures: the prior is not weighed, f_i = θ_i F_i in the
    zero-sum gauge; and "predicted better" is the expert's present P_i(label), not its mean loss
    over past epochs. `ranking` weighs that loss.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        vectors = tuple(f.vector for f in features)
        return {"theta": start_theta(key, vectors, len(bias), "full")}

    def logits(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch modality class"]:
        return evidence(params["theta"], tuple(f.vector for f in features), presence)

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        return fused(logits(params, features, presence), bias, presence)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        found = logits(params, features, presence)
        experts = jax.nn.log_softmax(bias[None, None, :] + found, axis=2)
        right = jax.lax.stop_gradient(jnp.exp(jnp.sum(onehot[:, None, :] * experts, axis=2)))
        together = negative_log_likelihood(fused(found, bias, presence), onehot)
        order = ranking * misranked(weight(found), right, presence)
        return together + expert_losses(experts, presence, onehot) + order

    return Fusion(init, apply, loss)


def weight(logits: Float[Array, "batch modality class"]) -> Float[Array, "batch modality"]:
    """w_i = log Σ_y exp(f_{i,y}) / 10; positive in the zero-sum gauge."""
    return jax.nn.logsumexp(logits, axis=2) / 10


def fused(
    logits: Float[Array, "batch modality class"],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log softmax(b + Σ_i o_i w_i f_i), w held fixed; missing modalities' logits are 0."""
    fixed = jax.lax.stop_gradient(weight(logits))
    energy = bias[None, :] + jnp.sum(fixed[:, :, None] * logits, axis=1)
    return prior_where_nothing(energy, bias, presence)


def misranked(
    weight: Float[Array, "batch modality"],
    right: Float[Array, "batch modality"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, " batch"]:
    """Σ_i max(0, |Δκ| − sign(Δκ) Δw), Δ between a record and the next one of the batch.

    The correctness ranking loss of Moon et al. (2020, eq. 2), on the pairs of their section 3.3. κ
    is `right`, how well modality i alone predicts. Only pairs that both have modality i count.
    """
    gap = right - jnp.roll(right, -1, axis=0)
    lead = weight - jnp.roll(weight, -1, axis=0)
    both = presence & jnp.roll(presence, -1, axis=0)
    hinge = jnp.maximum(0, jnp.abs(gap) - jnp.sign(gap) * lead)
    return jnp.sum(jnp.where(both, hinge, 0), axis=1)
