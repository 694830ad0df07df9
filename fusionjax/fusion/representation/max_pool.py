"""Fusion by the largest value of the representations, column by column."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Perceptron, Projections
from fusionjax.types import Features, Fusion


def max_pool(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """log P(y | X) = log softmax(b + MLP(max_i gelu(W_i F_i))), over present modalities.

    Each column is taken from the modality that speaks loudest there, as max pooling over points
    does (Qi et al. 2017, PointNet, eq. 1). A departure: each modality has its own W_i, where the
    points share one network.
    """
    return from_linen(MaxPool(width, len(bias)), bias)


class MaxPool(nn.Module):
    """Projections, maximum, perceptron."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        each = nn.gelu(Projections(self.width)(features))
        anything = jnp.any(presence, axis=1)[:, None, None]
        there = presence[:, :, None] | ~anything
        fused = jnp.max(jnp.where(there, each, -jnp.inf), axis=1)
        return Perceptron(self.width, self.classes)(fused)
