"""A transformer on one token a modality."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Block, Head
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.attention.tokens import tiled
from fusionjax.fusion.layers import Projections
from fusionjax.types import Features, Fusion


def modality_tokens(bias: Float[Array, " class"], width: int = 32, depth: int = 2) -> Fusion:
    """Scores from a class token that attends, with the modalities W_i F_i, through `depth` blocks.

    The encoder of Vaswani et al. (2017, section 3.1) with a class token (Devlin et al. 2019), norms
    first. The intercept in W_i stands for an embedding of the modality's name.
    """
    return from_linen(ModalityTokens(width, depth, len(bias)), bias)


class ModalityTokens(nn.Module):
    """Projections, a class token, blocks, one layer."""

    width: int
    depth: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        each = Projections(self.width)(features)
        asks = tiled(self.param("class", nn.initializers.normal(1.0), (1, self.width)), len(each))
        x = jnp.concatenate([asks, each], axis=1)
        mask = jnp.concatenate([jnp.ones_like(presence[:, :1]), presence], axis=1)
        for _ in range(self.depth):
            x = Block()(x, mask)
        return Head(self.classes)(nn.LayerNorm()(x[:, 0]))
