"""Low-rank tensor fusion: the outer product met by a weight tensor of low rank, never built."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import Head
from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Projections, each
from fusionjax.types import Features, Fusion


def low_rank_tensor(bias: Float[Array, " class"], rank: int = 4, width: int = 32) -> Fusion:
    """h = mean_r Π_i w_i^{(r)}·[F_i; 1] for each of `width` columns (Liu et al. 2018, LMF, eq. 8).

    Scores are a linear layer on gelu(h). A missing modality leaves w_i^{(r)}·[0; 1], its factor's
    weight on the appended 1. Two departures: that weight starts at 1, so that training does not
    start at a product of many small numbers; and the mean over ranks stands for the paper's sum,
    so that it does not start far from the prior.
    """
    return from_linen(LowRankTensor(rank, width, len(bias)), bias)


class LowRankTensor(nn.Module):
    """Factors of each modality, their product, the mean over ranks, one layer."""

    rank: int
    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        entries = self.rank * self.width
        appended = [
            self.param(f"{each(i)}_appended", nn.initializers.ones, (entries,))
            for i in range(len(features))
        ]
        factors = Projections(entries, scale=0.1)(features) + jnp.stack(appended)[None]
        product = jnp.prod(factors, axis=1).reshape(-1, self.rank, self.width)
        return Head(self.classes)(nn.gelu(jnp.mean(product, axis=1)))
