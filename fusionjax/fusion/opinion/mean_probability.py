"""The linear opinion pool: the mean of the experts' probabilities."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.opinion.experts import Experts, pooled
from fusionjax.types import Fusion, Params


def mean_probability(bias: Float[Array, " class"]) -> Fusion:
    """P(y | X) = Σ_i o_i P_i(y | X_i) / Σ_i o_i (Stone 1961, "The opinion pool", equal weights).

    Eq. 3.1 of Genest and Zidek (1986). Less sure than its experts where they agree: it averages,
    and does not add up, evidence.
    """
    return pooled(bias, pool)


def pool(
    params: Params,
    experts: Experts,
    log_prior: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log Σ_i o_i P_i, of the prior where nothing is there, so that the logarithm is finite."""
    there = presence | ~jnp.any(presence, axis=1, keepdims=True)
    highest = jnp.max(jnp.where(there[:, :, None], experts, -jnp.inf), axis=1)
    share = jnp.exp(jnp.where(there[:, :, None], experts - highest[:, None, :], -jnp.inf))
    return highest + jnp.log(jnp.sum(share, axis=1))
