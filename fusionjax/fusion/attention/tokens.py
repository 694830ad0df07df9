"""The modalities' tokens in one width."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.layers import each
from fusionjax.types import Features


class Tokens(nn.Module):
    """Each modality's tokens through a linear layer of its own, whose intercept names it."""

    width: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...]
    ) -> tuple[list[Float[Array, "batch token width"]], list[Bool[Array, "batch token"]]]:
        """Tokens and masks, one entry a modality."""
        tokens = [
            nn.Dense(self.width, bias_init=nn.initializers.normal(1.0), name=each(i))(f.tokens)
            for i, f in enumerate(features)
        ]
        return tokens, [f.token_mask for f in features]


def tiled(
    table: Float[Array, "token width"], records: int
) -> Float[Array, "{records} token width"]:
    """The same learnt tokens for every record."""
    return jnp.broadcast_to(table[None], (records, *table.shape))
