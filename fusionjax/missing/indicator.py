"""0 in place of a missing modality, and a column that says so: the missing-indicator method.

Fitted on the records as they came, without modality dropout, as is the field's custom: a gap that
no training record had has a column of weight 0.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.log_linear import Theta
from fusionjax.missing import linear
from fusionjax.posterior.types import Observations
from fusionjax.types import Key


class Params(NamedTuple):
    """θ of one vector: 1, the features, and a column for each missing modality."""

    theta: Theta


def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Params:
    """The key draws nothing."""
    vector = _vector(observations.features, observations.presence)
    return Params(linear.theta(linear.one_vector(observations, vector), bias))


def log_prob(
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | F, the gaps)."""
    return linear.log_prob_of_vector(params.theta, bias, _vector(features, presence))


def _vector(
    features: tuple[Float[Array, "batch _"], ...], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch p"]:
    return linear.concatenated(features, presence, (~presence).astype(jnp.float32))
