"""The mixture's predictive: P(y | X) and P(r_i = 1 | X) averaged over draws of θ and π.

The draws may come from `jointly`, or, for experts fitted one by one, from any engine of
`posterior` on one modality at a time, with the same π in every draw.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion import reliability
from fusionjax.mixture.singly import sharpened
from fusionjax.presence import blank


class Judged(NamedTuple):
    """log P(y | X) of some records, and whether each of their modalities can be believed."""

    log_prob: Float[Array, "batch class"]
    reliable: Float[Array, "batch modality"]


@jax.jit
def predictive(
    theta: tuple[Float[Array, "draw class _"], ...],
    pi: Float[Array, "draw modality"],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: Float[Array, " modality"] | None = None,
) -> Judged:
    """The mean of P(y, r | X, θ, π) over equally weighted draws, one draw in memory at a time.

    `scale` is the 1/T of each expert (`singly.scales`), 1 unless given.
    """
    vectors = blank(features, presence)
    judge = partial(_judge, bias=bias, vectors=vectors, presence=presence, scale=scale)

    def add(total: Judged, draw: tuple) -> tuple[Judged, None]:
        now = judge(*draw)
        log_prob = jnp.logaddexp(total.log_prob, now.log_prob)
        return Judged(log_prob, total.reliable + now.reliable), None

    nothing = Judged(
        jnp.full((len(presence), len(bias)), -jnp.inf), jnp.zeros(presence.shape, bias.dtype)
    )
    total, _ = jax.lax.scan(add, nothing, (theta, pi))
    return Judged(total.log_prob - jnp.log(len(pi)), total.reliable / len(pi))


def _judge(
    theta: tuple[Float[Array, "class _"], ...],
    pi: Float[Array, " modality"],
    bias: Float[Array, " class"],
    vectors: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: Float[Array, " modality"] | None,
) -> Judged:
    experts = reliability.expert_log_probs(theta, bias, vectors)
    if scale is not None:
        experts = sharpened(experts, bias, scale)
    return Judged(
        reliability.log_prob(experts, bias, presence, pi),
        reliability.reliable(experts, bias, presence, pi),
    )
