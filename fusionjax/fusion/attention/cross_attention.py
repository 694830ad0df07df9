"""Cross-attention: the tokens of each modality ask those of the others."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Head, masked_mean
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.attention.tokens import Tokens
from fusionjax.fusion.layers import each
from fusionjax.types import Features, Fusion


def cross_attention(bias: Float[Array, " class"], width: int = 32, heads: int = 4) -> Fusion:
    """Scores from Σ_i o_i mean over tokens of (x_i + attention(x_i, x_others)), each i its weights.

    The crossmodal attention of MulT (Tsai et al. 2019, section 3.1), one block deep. Departures:
    MulT has a transformer for each ordered pair of modalities, here one for each modality asks all
    the others at once, so that the cost grows as the number of modalities and not as its square;
    and the convolutions and positions before it, and the self-attention after it, are left out.
    """
    return from_linen(CrossAttention(width, heads, len(bias)), bias)


class CrossAttention(nn.Module):
    """Tokens, one crossing for each modality, mean, sum, one layer."""

    width: int
    heads: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        tokens, masks = Tokens(self.width)(features)
        parts = []
        for i in range(len(features)):
            x = tokens[i]
            if len(features) > 1:
                others = jnp.concatenate(tokens[:i] + tokens[i + 1 :], axis=1)
                there = jnp.concatenate(masks[:i] + masks[i + 1 :], axis=1)
                x = Crossing(self.heads, name=each(i))(x, others, there)
            parts.append(masked_mean(x, masks[i]))
        fused = jnp.sum(jnp.stack(parts), axis=0)
        return Head(self.classes)(nn.LayerNorm()(fused))


class Crossing(nn.Module):
    """A transformer block whose keys and values come from elsewhere (norms first)."""

    heads: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch token width"],
        source: Float[Array, "batch other width"],
        mask: Bool[Array, "batch other"],
    ) -> Float[Array, "batch token width"]:
        """Tokens that asked; where there is nobody to ask, the perceptron alone acts on them."""
        attention = nn.MultiHeadDotProductAttention(num_heads=self.heads)
        asked, told = nn.LayerNorm()(x), nn.LayerNorm()(source)
        heard = attention(asked, told, mask=mask[:, None, None, :])
        x = x + jnp.where(jnp.any(mask, axis=1)[:, None, None], heard, 0)
        y = nn.Dense(2 * x.shape[-1])(nn.LayerNorm()(x))
        return x + nn.Dense(x.shape[-1])(nn.gelu(y))
