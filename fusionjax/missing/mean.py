"""The training mean in place of the features of a missing modality, under modality dropout."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.log_linear import Theta
from fusionjax.missing import linear
from fusionjax.posterior.types import Observations
from fusionjax.presence import blank
from fusionjax.types import Key


class Params(NamedTuple):
    """The mean of each modality's features, and θ of one vector: 1 and the features."""

    mean: tuple[Float[Array, " _"], ...]
    theta: Theta


def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Params:
    """Means over the records that have the modality."""
    mean = tuple(
        jnp.sum(observations.weight[:, None] * f, axis=0)
        / jnp.maximum(jnp.sum(observations.weight * observations.presence[:, i]), 1e-6)
        for i, f in enumerate(observations.features)
    )
    rows, _ = linear.augmented(key, observations)
    vector = _vector(mean, rows.features, rows.presence)
    return Params(mean, linear.theta(linear.one_vector(rows, vector), bias))


def log_prob(
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | F with means); the prior where nothing is present."""
    vector = _vector(params.mean, features, presence)
    return linear.log_prob_of_vector(params.theta, bias, vector)


def _vector(
    mean: tuple[Float[Array, " _"], ...],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch p"]:
    """All 0, the intercept too, where nothing is present."""
    filled = tuple(
        jnp.where(presence[:, [i]], f, m[None, :])
        for i, (f, m) in enumerate(zip(blank(features, presence), mean, strict=True))
    )
    anything = jnp.any(presence, axis=1, keepdims=True)
    return jnp.where(anything, linear.concatenated(filled, jnp.ones_like(presence)), 0)
