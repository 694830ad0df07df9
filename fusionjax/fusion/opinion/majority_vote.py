"""Majority vote: each expert has one vote, whatever its certainty."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.opinion.experts import Experts, pooled, sum_present
from fusionjax.types import Fusion, Params


def majority_vote(bias: Float[Array, " class"]) -> Fusion:
    """P(y | X) = (P(y) + Σ_i o_i [y is expert i's most probable class]) / (1 + Σ_i o_i).

    The majority vote rule of Kittler et al. (1998) as a probability: the prior is one vote, split
    among the classes, which breaks ties and keeps what nobody voted for possible.
    """
    return pooled(bias, pool)


def pool(
    params: Params,
    experts: Experts,
    log_prior: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """The logarithm of the votes; the first of an expert's equal favourites gets its vote."""
    votes = jax.nn.one_hot(jnp.argmax(experts, axis=2), experts.shape[2])
    return jnp.log(jnp.exp(log_prior)[None, :] + sum_present(votes, presence))
