"""What a handler of missing modalities is, and all presence patterns at once."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.posterior.types import Observations
from fusionjax.presence import patterns
from fusionjax.types import Key, Params

LogProb = Callable[
    [
        Params,
        Float[Array, " class"],
        tuple[Float[Array, "batch _"], ...],
        Bool[Array, "batch modality"],
    ],
    Float[Array, "batch class"],
]


class Handler(NamedTuple):
    """The two functions of a sibling: `Handler(drop.fit, drop.log_prob)`."""

    fit: Callable[[Key, Observations, Float[Array, " class"]], Params]
    log_prob: LogProb


def every_pattern(
    log_prob: LogProb,
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
) -> Float[Array, "pattern batch class"]:
    """log P(y | F_S) for all 2^M − 1 subsets S, in the order of `presence.patterns`.

    The features are shared: encoders run once, whatever the number of patterns.
    """
    batch = len(features[0])

    def one(pattern: Bool[Array, " modality"]) -> Float[Array, "batch class"]:
        presence = jnp.broadcast_to(pattern, (batch, len(features)))
        return log_prob(params, bias, features, presence)

    return jax.vmap(one)(patterns(len(features)))
