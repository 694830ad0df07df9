"""Multiplicative interactions: a bilinear form of each pair of modalities, and linear terms."""

from itertools import combinations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Head
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Projections, each
from fusionjax.types import Features, Fusion


def multiplicative(bias: Float[Array, " class"], rank: int = 8, width: int = 32) -> Fusion:
    """h = Σ_i o_i U_i z_i + Σ_{i<j} o_i o_j z_iᵀ W_ij z_j, z_i = V_i F_i of `rank` columns.

    The form of Jayakumar et al. (2020, "Multiplicative interactions and where to find them"),
    f(x, z) = zᵀWx + zᵀU + Vx + b, has two inputs. Departures: every pair has its W, which meets
    projections z_i. Scores are a linear layer on gelu(h).
    """
    return from_linen(Multiplicative(rank, width, len(bias)), bias)


class Multiplicative(nn.Module):
    """Projections, bilinear and linear terms, one layer."""

    rank: int
    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]; z_i is 0 where modality i is missing, and so are its terms."""
        z = Projections(self.rank)(features)
        linear = [
            nn.Dense(self.width, use_bias=False, name=f"{each(i)}_linear")(z[:, i])
            for i in range(len(features))
        ]
        bilinear = [
            jnp.einsum("nr,nq,rqw->nw", z[:, i], z[:, j], self._form(i, j))
            for i, j in combinations(range(len(features)), 2)
        ]
        return Head(self.classes)(nn.gelu(sum(bilinear, sum(linear[1:], linear[0]))))

    def _form(self, i: int, j: int) -> Float[Array, "rank rank width"]:
        start = nn.initializers.normal(1 / self.rank)
        return self.param(f"pair_{i}_{j}", start, (self.rank, self.rank, self.width))
