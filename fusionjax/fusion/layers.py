"""What the variants with layers are made of. Missing modalities come blanked, constant included."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Head
from fusionjax.types import Features


class Projections(nn.Module):
    """Each modality's vector through a linear layer of its own; 0 where it is missing.

    The constant 1 in the vector is the layer's intercept, so that it goes with the modality. What
    comes out has a variance of about `scale` at first, where features have a variance of 1.
    """

    width: int
    scale: float = 1.0

    @nn.compact
    def __call__(self, features: tuple[Features, ...]) -> Float[Array, "batch modality width"]:
        """[batch, modality, width]."""
        start = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        parts = [
            nn.Dense(self.width, use_bias=False, kernel_init=start, name=each(i))(f.vector)
            for i, f in enumerate(features)
        ]
        return jnp.stack(parts, axis=1)


class Perceptron(nn.Module):
    """One hidden layer, and scores that start near 0."""

    width: int
    classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch column"]) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        return Head(self.classes)(nn.gelu(nn.Dense(self.width)(x)))


def each(modality: int) -> str:
    """The name of what belongs to one modality alone."""
    return f"modality_{modality}"


def side_by_side(features: tuple[Features, ...]) -> Float[Array, "batch column"]:
    """The vectors in one row; their constants say which modality is there."""
    return jnp.concatenate([f.vector for f in features], axis=1)


def present_mean(
    values: Float[Array, "batch modality width"], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch width"]:
    """Mean over the modalities that are there, 0 where none is."""
    count = jnp.maximum(jnp.sum(presence, axis=1), 1)
    return jnp.sum(jnp.where(presence[:, :, None], values, 0), axis=1) / count[:, None]
