"""Perceiver-style fusion: a few learnt latents ask the tokens of all modalities."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Block, Head
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.attention.cross_attention import Crossing
from fusionjax.fusion.attention.tokens import Tokens, tiled
from fusionjax.types import Features, Fusion


def latent_array(
    bias: Float[Array, " class"], width: int = 32, depth: int = 2, latents: int = 8
) -> Fusion:
    """`depth` times: the latents cross-attend to all tokens, then attend to each other.

    Perceiver (Jaegle et al. 2021, section 3.1), with new weights for every cross-attention and one
    block of self-attention after each. Scores are a linear layer on the mean of the latents.
    """
    return from_linen(LatentArray(width, depth, latents, len(bias)), bias)


class LatentArray(nn.Module):
    """Tokens, latents that ask, mean, one layer."""

    width: int
    depth: int
    latents: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        tokens, masks = Tokens(self.width)(features)
        everything, there = jnp.concatenate(tokens, axis=1), jnp.concatenate(masks, axis=1)
        table = self.param("latents", nn.initializers.normal(1.0), (self.latents, self.width))
        x = tiled(table, len(presence))
        for _ in range(self.depth):
            x = Crossing(heads=1)(x, everything, there)
            x = Block()(x, jnp.ones(x.shape[:2], bool))
        return Head(self.classes)(nn.LayerNorm()(jnp.mean(x, axis=1)))
