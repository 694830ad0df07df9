"""A learned token in place of a missing modality, under modality dropout.

In a log-linear model a token t_i enters by θ_{i,y}·t_i alone, so it is learned as that: a number
for each class that counts where modality i is missing.
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
    """The token is seen wherever dropout or nature left a gap."""
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
    """log P(y | F with the token)."""
    return linear.log_prob_of_vector(params.theta, bias, _vector(features, presence))


def _vector(
    features: tuple[Float[Array, "batch _"], ...], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch p"]:
    return linear.concatenated(features, presence, (~presence).astype(jnp.float32))
