"""Fusion by deep sets: one network reads every modality, and the readings are summed."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Perceptron, Projections
from fusionjax.types import Features, Fusion


def deep_sets(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """log P(y | X) = log softmax(b + ρ(Σ_i o_i φ(W_i F_i))), ρ and φ perceptrons.

    Zaheer et al. (2017, theorem 2): every function of the sets of a countable universe has this
    form.
    Modalities differ in kind, so each has its own way into the shared space, W_i, whose intercept
    tells φ which one it reads.
    """
    return from_linen(DeepSets(width, len(bias)), bias)


class DeepSets(nn.Module):
    """One network for all modalities, sum, perceptron."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        each = Projections(self.width)(features)
        hidden = nn.gelu(nn.Dense(self.width, name="phi_in")(each))
        read = nn.Dense(self.width, name="phi_out")(hidden)
        fused = nn.gelu(jnp.sum(jnp.where(presence[:, :, None], read, 0), axis=1))
        return Perceptron(self.width, self.classes)(fused)
