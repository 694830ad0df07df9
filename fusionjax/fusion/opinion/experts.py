"""The experts, and how a pool of their opinions is made a `Fusion`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import prior_where_nothing
from fusionjax.fusion.log_linear import start_theta
from fusionjax.fusion.reliability import expert_log_probs
from fusionjax.log_linear import negative_log_likelihood
from fusionjax.presence import blank
from fusionjax.types import Features, Fusion, Key, Params

Experts = Float[Array, "batch modality class"]
Pool = Callable[
    [Params, Experts, Float[Array, " class"], Bool[Array, "batch modality"]],
    Float[Array, "batch class"],
]


def pooled(
    bias: Float[Array, " class"], pool: Pool, start: Callable[[int], Params] | None = None
) -> Fusion:
    """The fusion with params {"theta": the experts' θ [class, p_i], "pool": what the pool learns}.

    `pool(params, log P_i [batch, modality, class], log prior [class], presence)` gives energies
    [batch, class]; `start(modalities)` are its first parameters, if it has any. The experts' own
    negative log-likelihoods, summed over the present modalities, are their loss; a pool that learns
    adds that of the fusion, whose gradient stops at the experts.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        vectors = tuple(f.vector for f in features)
        pool_params = start(len(features)) if start else {}
        return {"theta": start_theta(key, vectors, len(bias), "full"), "pool": pool_params}

    def opinions(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Experts:
        vectors = blank(tuple(f.vector for f in features), presence)
        return expert_log_probs(params["theta"], bias, vectors)

    def fused(
        params: Params, experts: Experts, presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        energy = pool(params["pool"], experts, jax.nn.log_softmax(bias), presence)
        return prior_where_nothing(energy, bias, presence)

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        return fused(params, opinions(params, features, presence), presence)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        experts = opinions(params, features, presence)
        own = expert_losses(experts, presence, onehot)
        if start is None:
            return own
        together = fused(params, jax.lax.stop_gradient(experts), presence)
        return own + negative_log_likelihood(together, onehot)

    return Fusion(init, apply, loss)


def expert_losses(
    experts: Experts, presence: Bool[Array, "batch modality"], onehot: Float[Array, "batch class"]
) -> Float[Array, " batch"]:
    """Σ_i −o_i log P_i(y | X_i) of each record, in nats."""
    own = -jnp.sum(onehot[:, None, :] * experts, axis=2)
    return jnp.sum(jnp.where(presence, own, 0), axis=1)


def sum_present(
    values: Experts, presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch class"]:
    """Sum over the modalities that are there."""
    return jnp.sum(jnp.where(presence[:, :, None], values, 0), axis=1)


def log_ratio(
    experts: Experts, log_prior: Float[Array, " class"], presence: Bool[Array, "batch modality"]
) -> Experts:
    """log P_i(y | X_i)/P(y), what modality i says beside the prior; 0 where it is missing."""
    ratio = experts - log_prior[None, None, :]
    return jnp.where(presence[:, :, None], ratio, 0)
