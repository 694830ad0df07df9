"""Fusion by the sum of representations."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Perceptron, Projections
from fusionjax.types import Features, Fusion


def sum_pool(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """log P(y | X) = log softmax(b + MLP(Σ_i o_i gelu(W_i F_i))), additive, `width` columns.

    The joint representation of Baltrušaitis et al. (2019, eq. 1) with addition for joining.
    """
    return from_linen(SumPool(width, len(bias)), bias)


class SumPool(nn.Module):
    """Projections, sum, perceptron."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        fused = jnp.sum(nn.gelu(Projections(self.width)(features)), axis=1)
        return Perceptron(self.width, self.classes)(fused)
