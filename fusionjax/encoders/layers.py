"""What encoders are made of: masked means, strided convolutions as matrix products, attention.

Convolutions are written as strided slices and one `Dense`: XLA runs them several times faster than
its own convolution inside `scan` and `vmap` on a CPU, and as fast elsewhere.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Shaped


def blank(values: Shaped[Array, "..."], mask: Bool[Array, "..."]) -> Shaped[Array, "..."]:
    """The values with 0 where the mask, which has the leading axes of the values, is False."""
    spread = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    return jnp.where(spread, values, 0)


def masked_mean(
    values: Float[Array, "batch token q"], mask: Bool[Array, "batch token"]
) -> Float[Array, "batch q"]:
    """Mean over the tokens that are there, 0 where none is."""
    count = jnp.maximum(jnp.sum(mask, axis=1), 1)
    return jnp.sum(blank(values, mask), axis=1) / count[:, None]


def windows(x: Float[Array, "batch ..."], axis: int, stride: int = 2) -> Float[Array, "batch ..."]:
    """Three neighbours along `axis`, side by side in the last axis, around every stride-th place.

    There is one 0 before the first place and after the last, so that places appended to the end
    leave the others as they are.
    """
    if stride == 2:
        return _around_even(x, axis)
    length = -(-x.shape[axis] // stride)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (1, stride)
    padded = jnp.pad(x, widths)
    parts = [
        jax.lax.slice_in_dim(padded, k, k + stride * (length - 1) + 1, stride, axis)
        for k in range(3)
    ]
    return jnp.concatenate(parts, axis=-1)


def _around_even(x: Float[Array, "batch ..."], axis: int) -> Float[Array, "batch ..."]:
    """`windows` of stride 2 by way of pairs: no slice has a stride, nor has its gradient."""
    length = -(-x.shape[axis] // 2)
    after, before = [(0, 0)] * x.ndim, [(0, 0)] * x.ndim
    after[axis], before[axis] = (0, 2 * length - x.shape[axis]), (1, 0)
    pairs = jnp.pad(x, after).reshape(*x.shape[:axis], length, 2, *x.shape[axis + 1 :])
    even, odd = (jax.lax.index_in_dim(pairs, k, axis + 1, keepdims=False) for k in range(2))
    previous = jax.lax.slice_in_dim(jnp.pad(odd, before), 0, length, axis=axis)
    return jnp.concatenate([previous, even, odd], axis=-1)


def halved(mask: Bool[Array, "batch step"]) -> Bool[Array, "batch half"]:
    """The mask of every second step: there where the step or the next one is."""
    even = jnp.pad(mask, ((0, 0), (0, mask.shape[1] % 2)))
    return jnp.any(even.reshape(len(mask), -1, 2), axis=2)


class Norm(nn.Module):
    """Group normalisation (Wu and He 2018) in one group, over the unmasked steps of a record."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch ... channel"], mask: Bool[Array, "batch step"]
    ) -> Float[Array, "batch ... channel"]:
        """`mask` belongs to the second axis of x; a record without a step is taken as it is."""
        used = mask | ~jnp.any(mask, axis=1, keepdims=True)
        axes = tuple(range(1, x.ndim))
        norm = nn.LayerNorm(reduction_axes=axes, feature_axes=-1)
        return norm(x, mask=used.reshape(used.shape + (1,) * (x.ndim - 2)))


class Stage(nn.Module):
    """One strided convolution, of width 3 along each axis of `axes`, then ReLU.

    `axes` are those to halve; the first axis after the batch carries the mask.
    """

    width: int
    axes: tuple[int, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch step ..."], mask: Bool[Array, "batch step"]
    ) -> tuple[Float[Array, "batch half ..."], Bool[Array, "batch half"]]:
        """Steps that are masked are 0, before and after."""
        for axis in self.axes:
            x = windows(x, axis)
        mask = halved(mask) if 1 in self.axes else mask
        x = nn.relu(Norm()(nn.Dense(self.width, use_bias=False)(x), mask))
        return blank(x, mask), mask


class Block(nn.Module):
    """A transformer block with the norms first (Xiong et al. 2020); masked tokens are not seen."""

    heads: int = 4

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch token q"], mask: Bool[Array, "batch token"]
    ) -> Float[Array, "batch token q"]:
        """Tokens after attention and a two-layer perceptron, each added to its input."""
        seen = mask[:, None, None, :]
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.heads)(y, mask=seen)
        y = nn.Dense(2 * x.shape[-1])(nn.LayerNorm()(x))
        return x + nn.Dense(x.shape[-1])(nn.gelu(y))


class Head(nn.Module):
    """The last linear layer, small at first so that no modality shouts before it has learnt."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch q"]) -> Float[Array, "batch feature"]:
        """Features without the constant."""
        small = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")
        return nn.Dense(self.features, kernel_init=small)(x)


def positions(length: int, width: int) -> Float[Array, "token q"]:
    """Sines and cosines of the place (Vaswani et al. 2017); they know no longest sequence."""
    rate = 10_000.0 ** (-jnp.arange(0, width, 2) / width)
    angle = jnp.arange(length)[:, None] * rate[None, :]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)[:, :width]
