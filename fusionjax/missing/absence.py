"""Evidence for the absence: log P(y | F_S, S) has θ_{i,y}·F_i or, where i is missing, β_{i,y}.

Who is not sent for a scan differs from who is. β is learned from the gaps that the records came
with, and not from modality dropout, which the terms of what is present still get: so β says what an
absence means, and θ what a presence shows. It misleads where records go missing for other reasons
than they did in training.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax import log_linear
from fusionjax.log_linear import Theta
from fusionjax.missing import linear
from fusionjax.posterior.types import Observations
from fusionjax.types import Key


class Params(NamedTuple):
    """θ of each modality and, last, β [class, 1 + modality]."""

    theta: Theta


def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Params:
    """θ under modality dropout, β from the gaps in nature."""
    rows, natural = linear.augmented(key, observations)
    return Params(linear.theta(linear.appended(rows, _gaps(natural)), bias))


def log_prob(
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | F_S, S): every gap of these records counts as one in nature."""
    shown = jnp.concatenate([presence, jnp.ones((len(presence), 1), bool)], axis=1)
    return log_linear.log_prob(params.theta, bias, (*features, _gaps(presence)), shown)


def _gaps(presence: Bool[Array, "batch modality"]) -> Float[Array, "batch p"]:
    """1 where missing; the first column, the constant's place, is left 0."""
    return jnp.concatenate([jnp.zeros((len(presence), 1)), ~presence], axis=1, dtype=jnp.float32)
