"""Drop the term: log P(y | F_S) = b_y + α_{S,y} + Σ_{i in S} θ_{i,y}·F_i − log Z.

Exact if the modalities are independent given y. Where they are not, what is left out was also
counted by what stays: α_S, an intercept for each presence pattern, takes that up on average. The
α_S are drawn towards 0 with a scale of their own, and learned under modality dropout.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax import log_linear
from fusionjax.log_linear import Theta
from fusionjax.missing import linear
from fusionjax.posterior.types import Observations
from fusionjax.types import Key

MOST_MODALITIES = 8


class Params(NamedTuple):
    """θ of each modality and, last, α [class, 1 + 2^M]."""

    theta: Theta


def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Params:
    """Raises ValueError for more than 8 modalities, whose patterns are too many."""
    if observations.presence.shape[1] > MOST_MODALITIES:
        raise ValueError(f"intercepts for each pattern: want at most {MOST_MODALITIES} modalities")
    rows, _ = linear.augmented(key, observations, draws=2)
    return Params(linear.theta(linear.appended(rows, _which(rows.presence)), bias))


def log_prob(
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | F_S); the prior where S is empty."""
    anything = jnp.any(presence, axis=1, keepdims=True)
    shown = jnp.concatenate([presence, anything], axis=1)
    return log_linear.log_prob(params.theta, bias, (*features, _which(presence)), shown)


def _which(presence: Bool[Array, "batch modality"]) -> Float[Array, "batch p"]:
    """A column for each pattern; the first, the constant's place, is left 0."""
    modalities = presence.shape[1]
    number = presence @ (2 ** jnp.arange(modalities))
    return jax.nn.one_hot(number + 1, 1 + 2**modalities)
