"""A latent product of experts: what the modalities believe of z is multiplied."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import prior_where_nothing, shown
from fusionjax.fusion.representation.latent import (
    Belief,
    Latent,
    beliefs,
    decode,
    divergence,
    log_prob,
    nll_bound,
)
from fusionjax.types import Features, Fusion, Key, Params


def latent_product(bias: Float[Array, " class"], width: int = 32, beta: float = 0.01) -> Fusion:
    """q(z | X) ∝ N(z; 0, 1) Π_i q_i(z | X_i)^{o_i} (Wu and Goodman 2018, MVAE).

    Classifying from such a z under an information bottleneck is DeepIMV (Lee and van der Schaar
    2021, section 4.2). Departures: the decoder is linear, so that the bound needs no draw; the
    views' own predictors, and the reconstruction of MVAE, are left out. `beta` weighs the
    bottleneck, in nats.
    """
    module = Latent(width, len(bias))

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        return dict(module.init(key, features))["params"]

    def believed(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> tuple[Belief, Float[Array, "class width"]]:
        each, decoder = beliefs(module, params, shown(features, presence))
        return product(each, presence), decoder

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        found = log_prob(decode(*believed(params, features, presence)), bias)
        return prior_where_nothing(found, bias, presence)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        belief, decoder = believed(params, features, presence)
        return nll_bound(decode(belief, decoder), bias, onehot) + beta * divergence(belief)

    return Fusion(init, apply, loss)


def product(each: Belief, presence: Bool[Array, "batch modality"]) -> Belief:
    """The normalised product of N(0, 1) and the present beliefs: precisions add up."""
    precision = jnp.where(presence[:, :, None], each.precision, 0)
    total = 1 + jnp.sum(precision, axis=1)
    return Belief(jnp.sum(precision * each.mean, axis=1) / total, total)
