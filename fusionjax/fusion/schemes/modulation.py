"""On-the-fly gradient modulation: the encoder of the modality that is ahead learns more slowly."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.types import Features, Fusion, Params


def modulation(fusion: Fusion, alpha: float = 0.5) -> Fusion:
    """The same loss, but feature i's gradient is multiplied by k_i = 1 − tanh(α ρ_i) where ρ_i > 1.

    OGM (Peng et al. 2022, eq. 8 to 10): ρ_i is the summed P_i(label) of the batch over the mean of
    the others'. It acts on whatever made the features, that is the encoders; with features that
    are fixed it changes nothing. Departures: P_i is the fusion with the others masked; and the
    noise of OGM-GE is left out, since a loss cannot add it: it needs the gradient of the batch.
    """

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        factors = coefficients(fusion, params, features, presence, onehot, alpha)
        slowed = tuple(_slowed(f, k) for f, k in zip(features, factors, strict=True))
        return fusion.loss(params, slowed, presence, onehot)

    return fusion._replace(loss=loss)


def coefficients(
    fusion: Fusion,
    params: Params,
    features: tuple[Features, ...],
    presence: Bool[Array, "batch modality"],
    onehot: Float[Array, "batch class"],
    alpha: float,
) -> Float[Array, " modality"]:
    """k_i of each modality, in (0, 1]; the scores are means, so that missing ones do not count."""
    scores = []
    for i in range(presence.shape[1]):
        only = presence & (jnp.arange(presence.shape[1]) == i)[None, :]
        right = jnp.sum(onehot * jnp.exp(fusion.apply(params, features, only)), axis=1)
        count = jnp.maximum(jnp.sum(presence[:, i]), 1)
        scores.append(jnp.sum(jnp.where(presence[:, i], right, 0)) / count)
    score = jax.lax.stop_gradient(jnp.stack(scores))
    others = (jnp.sum(score) - score) / max(len(scores) - 1, 1)
    ratio = score / jnp.maximum(others, 1e-6)
    ahead = (ratio > 1) & (others > 0)
    return jnp.where(ahead, 1 - jnp.tanh(alpha * ratio), 1)


def _slowed(feature: Features, factor: Float[Array, ""]) -> Features:
    """The same values; their gradient times `factor`."""

    def slow(values: Float[Array, "..."]) -> Float[Array, "..."]:
        still = jax.lax.stop_gradient(values)
        return still + factor * (values - still)

    return feature._replace(vector=slow(feature.vector), tokens=slow(feature.tokens))
