"""ψ for notes: a bag of embedded phrases, and a small transformer."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from fusionjax.encoders.adapters import Encoding, from_linen
from fusionjax.encoders.layers import Block, Head, blank, masked_mean, positions, windows
from fusionjax.types import Encoder, Inputs


def bag(features: int = 16, width: int = 32, vocabulary: int = 2000) -> Encoder:
    """The mean of embedded phrases of three tokens (Kim 2014), in whichever order they come.

    `vocabulary` bounds the token ids; ids from there on share the last place.
    """
    return from_linen(Bag(features, width, vocabulary))


def transformer(
    features: int = 16, width: int = 32, depth: int = 1, vocabulary: int = 2000
) -> Encoder:
    """Transformer blocks on embedded tokens, then their mean; `vocabulary` as for `bag`."""
    return from_linen(Transformer(features, width, depth, vocabulary))


class Bag(nn.Module):
    """Embedding, phrases, mean, two layers."""

    features: int
    width: int
    vocabulary: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of tokens [batch, token]."""
        x = blank(Embedding(self.width, self.vocabulary)(inputs.values), inputs.mask)
        x = blank(nn.relu(nn.Dense(2 * self.width)(windows(x, 1, stride=1))), inputs.mask)
        mean = nn.LayerNorm()(masked_mean(x, inputs.mask))
        return Encoding(Head(self.features)(mean), x, inputs.mask)


class Transformer(nn.Module):
    """Embedding, places, blocks, mean."""

    features: int
    width: int
    depth: int
    vocabulary: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of tokens [batch, token]."""
        x = Embedding(self.width, self.vocabulary)(inputs.values)
        x = x + positions(x.shape[1], self.width)[None]
        for _ in range(self.depth):
            x = Block()(x, inputs.mask)
        x = nn.LayerNorm()(x)
        return Encoding(Head(self.features)(masked_mean(x, inputs.mask)), x, inputs.mask)


class Embedding(nn.Module):
    """A row of a learnt table for each token."""

    width: int
    vocabulary: int

    @nn.compact
    def __call__(self, tokens: Int[Array, "batch token"]) -> Float[Array, "batch token q"]:
        """[batch, token, width]."""
        shape = (self.vocabulary, self.width)
        table = self.param("table", nn.initializers.normal(1.0), shape)
        return look_up(table, jnp.minimum(tokens, self.vocabulary - 1))


@jax.custom_vjp
def look_up(
    table: Float[Array, "word q"], tokens: Int[Array, "batch token"]
) -> Float[Array, "batch token q"]:
    """`table[tokens]`, with the gradient in the form that suits the machine."""
    return table[tokens]


def scattered(
    like: Float[Array, "word q"], tokens: Int[Array, " place"], slopes: Float[Array, "place q"]
) -> Float[Array, "word q"]:
    """The slopes of each word's places, added up one by one: fast on a CPU."""
    return jnp.zeros_like(like).at[tokens].add(slopes)


def multiplied(
    like: Float[Array, "word q"], tokens: Int[Array, " place"], slopes: Float[Array, "place q"]
) -> Float[Array, "word q"]:
    """The same as a matrix product: fast on a GPU."""
    return jax.nn.one_hot(tokens, len(like), axis=0) @ slopes


def _forward(table, tokens):
    return table[tokens], (table, tokens)


def _backward(kept, slope):
    table, tokens = kept
    flat = table, tokens.reshape(-1), slope.reshape(-1, slope.shape[-1])
    return jax.lax.platform_dependent(*flat, cpu=scattered, default=multiplied), None


look_up.defvjp(_forward, _backward)
