"""The product of experts in which the prior counts once."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.opinion.experts import Experts, log_ratio, pooled
from fusionjax.types import Fusion, Params


def corrected_product(bias: Float[Array, " class"]) -> Fusion:
    """P(y | X) ∝ P(y) Π_i [P_i(y | X_i)/P(y)]^{o_i}, exact for modalities independent given y.

    The product rule of Kittler et al. (1998, eq. 7), of two classes that of Bordley (1982); the
    reliability mixture with π = 1.
    """
    return pooled(bias, pool)


def pool(
    params: Params,
    experts: Experts,
    log_prior: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """b + Σ_i o_i (log P_i − b)."""
    return log_prior[None, :] + jnp.sum(log_ratio(experts, log_prior, presence), axis=1)
