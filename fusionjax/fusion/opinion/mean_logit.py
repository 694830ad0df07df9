"""The logarithmic opinion pool with equal weights: the mean of the experts' logits."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.opinion.experts import Experts, pooled, sum_present
from fusionjax.types import Fusion, Params


def mean_logit(bias: Float[Array, " class"]) -> Fusion:
    """P(y | X) ∝ Π_i P_i(y | X_i)^{o_i/n}, n = Σ_i o_i (Genest and Zidek 1986, eq. 3.11)."""
    return pooled(bias, pool)


def pool(
    params: Params,
    experts: Experts,
    log_prior: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """The mean of log P_i over the modalities that are there."""
    count = jnp.maximum(jnp.sum(presence, axis=1), 1)
    return sum_present(experts, presence) / count[:, None]
