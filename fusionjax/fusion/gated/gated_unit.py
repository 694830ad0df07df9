"""Gated multimodal unit: every column of every modality has a gate that sees all modalities."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Head
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Projections, each, side_by_side
from fusionjax.types import Features, Fusion


def gated_unit(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """h = Σ_i o_i σ(V_i [F_1, …, F_M]) ⊙ tanh(W_i F_i) (Arevalo et al. 2017, GMU, figure 2a).

    The form for more than two modalities, where gates need not sum to 1; the equations of the paper
    are those of its figure 2b, where they do. Scores are linear in h.
    """
    return from_linen(GatedUnit(width, len(bias)), bias)


class GatedUnit(nn.Module):
    """Projections, gates, one layer."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]; tanh(0) = 0 is what a missing modality brings."""
        hidden = jnp.tanh(Projections(self.width)(features))
        everything = side_by_side(features)
        gates = [
            nn.sigmoid(nn.Dense(self.width, use_bias=False, name=f"{each(i)}_gate")(everything))
            for i in range(len(features))
        ]
        return Head(self.classes)(jnp.sum(jnp.stack(gates, axis=1) * hidden, axis=1))
