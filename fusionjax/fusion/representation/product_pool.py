"""Fusion by the product of representations, column by column."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Perceptron, Projections
from fusionjax.types import Features, Fusion


def product_pool(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """log P(y | X) = log softmax(b + MLP(Π_i (1 + o_i tanh(W_i F_i)))), product over modalities.

    The element-wise product of representations (Fukui et al. 2016, MCB, compare it in table 1),
    with 1 added to each factor: a missing modality is a factor 1, and training does not start at a
    product of many small numbers.
    """
    return from_linen(ProductPool(width, len(bias)), bias)


class ProductPool(nn.Module):
    """Projections, product, perceptron."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        each = jnp.tanh(Projections(self.width)(features))
        fused = jnp.prod(1 + each, axis=1)
        return Perceptron(self.width, self.classes)(fused)
