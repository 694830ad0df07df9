"""Auxiliary unimodal losses: the fusion must also predict from each modality alone."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.types import Features, Fusion, Params


def auxiliary(fusion: Fusion, weight: float = 1.0) -> Fusion:
    """The loss plus `weight` times the mean over present modalities of the loss of each alone.

    Wang et al. (2020) compare gradient blending with it. A departure: the heads of single
    modalities are the fusion itself with the others masked.
    """

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        own = alone(fusion, params, features, presence, onehot)
        count = jnp.maximum(jnp.sum(presence, axis=1), 1)
        whole = fusion.loss(params, features, presence, onehot)
        return whole + weight * jnp.sum(own, axis=1) / count

    return fusion._replace(loss=loss)


def alone(
    fusion: Fusion,
    params: Params,
    features: tuple[Features, ...],
    presence: Bool[Array, "batch modality"],
    onehot: Float[Array, "batch class"],
) -> Float[Array, "batch modality"]:
    """The loss of each modality alone, 0 where it is missing."""
    each = []
    for i in range(presence.shape[1]):
        only = presence & (jnp.arange(presence.shape[1]) == i)[None, :]
        each.append(fusion.loss(params, features, only, onehot))
    return jnp.where(presence, jnp.stack(each, axis=1), 0)
