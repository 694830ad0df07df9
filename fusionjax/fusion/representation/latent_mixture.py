"""A latent mixture of experts: z is what one of the modalities believes, each equally likely."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import prior_where_nothing, shown
from fusionjax.fusion.layers import present_mean
from fusionjax.fusion.representation.latent import (
    Latent,
    beliefs,
    decode,
    divergence,
    log_prob,
    nll_bound,
)
from fusionjax.types import Features, Fusion, Key, Params


def latent_mixture(bias: Float[Array, " class"], width: int = 32, beta: float = 0.01) -> Fusion:
    """q(z | X) = Σ_i o_i q_i(z | X_i) / Σ_i o_i (Shi et al. 2019, MMVAE).

    P(y | X) is the mean of what z of each present modality says; the loss is the mean of their
    bounds (stratified, as MMVAE's). Departures as for the latent product: a linear decoder, no
    reconstruction. `beta` weighs the bottleneck, in nats.
    """
    module = Latent(width, len(bias))

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        return dict(module.init(key, features))["params"]

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        each, decoder = beliefs(module, params, shown(features, presence))
        prob = present_mean(jnp.exp(log_prob(decode(each, decoder), bias)), presence)
        anything = jnp.any(presence, axis=1, keepdims=True)
        found = jnp.log(jnp.where(anything, prob, 1) + jnp.finfo(prob.dtype).tiny)
        return prior_where_nothing(found, bias, presence)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        each, decoder = beliefs(module, params, shown(features, presence))
        wanted = jnp.broadcast_to(onehot[:, None, :], (*presence.shape, len(bias)))
        bound = nll_bound(decode(each, decoder), bias, wanted) + beta * divergence(each)
        return present_mean(bound[:, :, None], presence)[:, 0]

    return Fusion(init, apply, loss)
