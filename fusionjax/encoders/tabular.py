"""ψ for tables: a perceptron beside a linear layer, and a transformer on columns as tokens."""

import jax.numpy as jnp
from flax import linen as nn

from fusionjax.encoders.adapters import Encoding, from_linen
from fusionjax.encoders.layers import Block, Head, blank, masked_mean
from fusionjax.types import Encoder, Inputs


def mlp(features: int = 16, width: int = 64) -> Encoder:
    """Values and gaps through two hidden layers, and past them through a linear one."""
    return from_linen(Mlp(features, width))


def tokens(features: int = 16, width: int = 32, depth: int = 1) -> Encoder:
    """A transformer on one token a column (Gorishniy et al. 2021); a gap is a token not there."""
    return from_linen(Tokens(features, width, depth))


class Mlp(nn.Module):
    """A wide part and a deep part, added (Cheng et al. 2016); the hidden layer is the one token."""

    features: int
    width: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of rows [batch, column]."""
        there = jnp.any(inputs.mask, axis=1)
        x = jnp.concatenate([inputs.values, 1.0 - inputs.mask], axis=1)
        hidden = nn.gelu(nn.Dense(self.width)(x))
        hidden = nn.gelu(nn.Dense(self.width)(hidden))
        vector = Head(self.features)(hidden) + Head(self.features)(x)
        return Encoding(vector, hidden[:, None, :], there[:, None])


class Tokens(nn.Module):
    """token_j = value_j · weight_j + bias_j, blocks, mean."""

    features: int
    width: int
    depth: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of rows [batch, column]."""
        shape = (inputs.values.shape[1], self.width)
        weight = self.param("weight", nn.initializers.normal(1.0), shape)
        bias = self.param("bias", nn.initializers.normal(1.0), shape)
        x = inputs.values[:, :, None] * weight[None] + bias[None]
        for _ in range(self.depth):
            x = Block()(x, inputs.mask)
        x = blank(nn.LayerNorm()(x), inputs.mask)
        return Encoding(Head(self.features)(masked_mean(x, inputs.mask)), x, inputs.mask)
