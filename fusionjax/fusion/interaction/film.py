"""FiLM: each modality's representation is scaled and shifted by what the others say."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Perceptron, Projections, each
from fusionjax.types import Features, Fusion


def film(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """A perceptron on Σ_i o_i ((1 + γ_i) ⊙ z_i + β_i), (γ_i, β_i) = A_i Σ_{j≠i} o_j gelu(W_j F_j).

    Feature-wise linear modulation (Perez et al. 2018, eq. 2), γ as the difference from 1 (eq. 3 of
    the appendix). The paper conditions one network on one input; here each modality is conditioned
    on the sum of the others, and with no other it is left as it is.
    """
    return from_linen(Film(width, len(bias)), bias)


class Film(nn.Module):
    """Projections, modulation, sum, perceptron."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        z = Projections(self.width, name="modulated")(features)
        said = nn.gelu(Projections(self.width, name="modulating")(features))
        others = jnp.sum(said, axis=1, keepdims=True) - said
        small = nn.initializers.normal(0.1 / self.width**0.5)
        parts = []
        for i in range(len(features)):
            layer = nn.Dense(2 * self.width, use_bias=False, kernel_init=small, name=each(i))
            gamma, beta = jnp.split(layer(others[:, i]), 2, axis=1)
            parts.append(jnp.where(presence[:, i, None], (1 + gamma) * z[:, i] + beta, 0))
        fused = jnp.sum(jnp.stack(parts), axis=0)
        return Perceptron(self.width, self.classes)(nn.gelu(fused))
