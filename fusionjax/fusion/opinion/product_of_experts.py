"""The product of experts: the log-linear model with θ = 1 on the experts' log-probabilities."""

from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.opinion.experts import Experts, pooled, sum_present
from fusionjax.types import Fusion, Params


def product_of_experts(bias: Float[Array, " class"]) -> Fusion:
    """P(y | X) ∝ Π_i P_i(y | X_i)^{o_i} (Hinton 2002; here each expert is trained on its own).

    Each expert brings the prior, which so counts as often as there are modalities; with none it
    counts once, as everywhere.
    """
    return pooled(bias, pool)


def pool(
    params: Params,
    experts: Experts,
    log_prior: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """Σ_i o_i log P_i."""
    return sum_present(experts, presence)
