"""Multimodal bottleneck transformer: modalities exchange what fits through a few tokens."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Block, Head
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.attention.tokens import Tokens, tiled
from fusionjax.fusion.layers import each, present_mean
from fusionjax.types import Features, Fusion


def bottleneck(
    bias: Float[Array, " class"], width: int = 32, depth: int = 2, between: int = 4
) -> Fusion:
    """MBT (Nagrani et al. 2021): in each block modality i sees [x_i, x_fsn] alone (eq. 8), and the
    `between` tokens x_fsn that it leaves are averaged over the present modalities (eq. 9).

    Scores are those of the mean of the present modalities' class tokens: the mean of their scores,
    as in the paper. Fusion begins with the first block, since encoders have gone before.
    """
    return from_linen(Bottleneck(width, depth, between, len(bias)), bias)


class Bottleneck(nn.Module):
    """Tokens with a class token each, blocks with a shared bottleneck, one layer."""

    width: int
    depth: int
    between: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        tokens, masks = Tokens(self.width)(features)
        start = nn.initializers.normal(1.0)
        asks = tiled(self.param("class", start, (1, self.width)), len(presence))
        shared = tiled(self.param("between", start, (self.between, self.width)), len(presence))
        always = jnp.ones((len(presence), self.between + 1), bool)
        seen = [jnp.concatenate([always, m], axis=1) for m in masks]
        own = [jnp.concatenate([asks, x], axis=1) for x in tokens]
        for layer in range(self.depth):
            left = []
            for i in range(len(features)):
                x = jnp.concatenate([shared, own[i]], axis=1)
                x = Block(name=f"{each(i)}_block_{layer}")(x, seen[i])
                left.append(x[:, : self.between].reshape(len(x), -1))
                own[i] = x[:, self.between :]
            shared = present_mean(jnp.stack(left, axis=1), presence).reshape(shared.shape)
        said = nn.LayerNorm()(jnp.stack([x[:, 0] for x in own], axis=1))
        return Head(self.classes)(present_mean(said, presence))
