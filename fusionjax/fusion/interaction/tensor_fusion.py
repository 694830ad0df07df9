"""Tensor fusion: the outer product of all modalities, each with a 1 appended."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Head
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Projections
from fusionjax.types import Features, Fusion


def tensor_fusion(bias: Float[Array, " class"], entries: int = 4096, width: int = 32) -> Fusion:
    """Scores of a perceptron on [z_1; 1] ⊗ … ⊗ [z_M; 1].

    The tensor fusion layer of TFN (Zadeh et al. 2017) for any number of modalities (Liu et al.
    2018, eq. 1). z_i = gelu(W_i F_i) has as many columns as keep the tensor within `entries`. A
    missing modality is z_i = 0: what is left is the tensor of the others, beside zeros.
    """
    return from_linen(TensorFusion(entries, width, len(bias)), bias)


class TensorFusion(nn.Module):
    """Projections, outer product, two layers."""

    entries: int
    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        columns = max(1, round(self.entries ** (1 / len(features))) - 1)
        z = nn.gelu(Projections(columns)(features))
        with_one = jnp.concatenate([z, jnp.ones_like(z[:, :, :1])], axis=2)
        fused = with_one[:, 0]
        for i in range(1, len(features)):
            fused = (fused[:, :, None] * with_one[:, i, None, :]).reshape(len(z), -1)
        return Head(self.classes)(nn.gelu(nn.Dense(self.width)(fused)))
