"""0 in place of the features of a missing modality, under modality dropout."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.log_linear import Theta
from fusionjax.missing import linear
from fusionjax.posterior.types import Observations
from fusionjax.types import Key


class Params(NamedTuple):
    """θ of one vector: 1 and the features."""

    theta: Theta


def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Params:
    """One intercept, whatever is present."""
    rows, _ = linear.augmented(key, observations)
    return Params(
        linear.theta(linear.one_vector(rows, _vector(rows.features, rows.presence)), bias)
    )


def log_prob(
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | F with zeros); the prior where nothing is present."""
    return linear.log_prob_of_vector(params.theta, bias, _vector(features, presence))


def _vector(
    features: tuple[Float[Array, "batch _"], ...], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch p"]:
    """All 0, the intercept too, where nothing is present."""
    anything = jnp.any(presence, axis=1, keepdims=True)
    return jnp.where(anything, linear.concatenated(features, presence), 0)
