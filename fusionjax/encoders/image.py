"""ψ for images: a small convolutional net, and a small vision transformer."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.adapters import Encoding, from_linen
from fusionjax.encoders.layers import Block, Head, Stage, masked_mean
from fusionjax.types import Encoder, Inputs

GRID = 4


def cnn(features: int = 16, width: int = 16) -> Encoder:
    """Strided convolutions, doubling in width up to 4 · `width`, down to a grid of 4 × 4 or less.

    Where on the grid something is counts; instances are averaged. Tokens are the cells.
    """
    return from_linen(Cnn(features, width))


def vit(features: int = 16, width: int = 32, depth: int = 2) -> Encoder:
    """A vision transformer (Dosovitskiy et al. 2021) on at most 8 × 8 patches, the tokens."""
    return from_linen(Vit(features, width, depth))


class Cnn(nn.Module):
    """Stages until the grid is small, then one linear layer on all of it."""

    features: int
    width: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of images [batch, instance, height, width, channel]."""
        batch, room = inputs.mask.shape
        x = inputs.values.reshape(-1, *inputs.values.shape[2:])
        stages = 0
        while max(x.shape[1:3]) > GRID:
            rows = jnp.ones(x.shape[:2], bool)
            x, _ = Stage(self.width * min(4, 2**stages), axes=(1, 2))(x, rows)
            stages += 1
        cells = x.reshape(batch, room, -1, x.shape[-1])
        flat = masked_mean(cells.reshape(batch, room, -1), inputs.mask)
        return Encoding(Head(self.features)(flat), *_tokens(cells, inputs))


class Vit(nn.Module):
    """Patches, learnt places, blocks, mean."""

    features: int
    width: int
    depth: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of images [batch, instance, height, width, channel]."""
        batch, room = inputs.mask.shape
        patch = -(-max(inputs.values.shape[2:4]) // 8)
        x = inputs.values.reshape(-1, *inputs.values.shape[2:])
        x = nn.Conv(self.width, (patch, patch), strides=(patch, patch), padding="SAME")(x)
        x = x.reshape(len(x), -1, self.width)
        x = x + self.param("place", nn.initializers.normal(0.02), x.shape[1:])[None]
        for _ in range(self.depth):
            x = Block()(x, jnp.ones(x.shape[:2], bool))
        cells = nn.LayerNorm()(x).reshape(batch, room, -1, self.width)
        mean = masked_mean(cells.mean(axis=2), inputs.mask)
        return Encoding(Head(self.features)(mean), *_tokens(cells, inputs))


def _tokens(
    cells: Float[Array, "batch instance cell q"], inputs: Inputs
) -> tuple[Float[Array, "batch token q"], Bool[Array, "batch token"]]:
    batch, room, count, width = cells.shape
    mask = jnp.repeat(inputs.mask, count, axis=1)
    return cells.reshape(batch, room * count, width), mask
