"""The log-linear model with an expert for each pair of modalities beside one for each modality."""

from itertools import combinations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Perceptron, Projections
from fusionjax.types import Features, Fusion


def pairwise_experts(bias: Float[Array, " class"], width: int = 16) -> Fusion:
    """log P(y | X) = b_y + Σ_i o_i θ_{i,y}·F_i + Σ_{i<j} o_i o_j MLP_ij(F_i, F_j)_y − log Z.

    The product of intra- and inter-modality experts of I2M2 (Madaan et al. 2024), trained on the
    likelihood of the product. Departures: no expert is trained on its own first; and for three
    modalities and more the paper has one inter-modality expert of them all, where here there is one
    for each pair, for records that lack the others.
    """
    return from_linen(PairwiseExperts(width, len(bias)), bias)


class PairwiseExperts(nn.Module):
    """Linear scores of each modality, and a perceptron's of each pair."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        scores = jnp.sum(Projections(self.classes, scale=0.01)(features), axis=1)
        for i, j in combinations(range(len(features)), 2):
            pair = jnp.concatenate([features[i].vector, features[j].vector], axis=1)
            both = (presence[:, i] & presence[:, j])[:, None]
            found = Perceptron(self.width, self.classes, name=f"pair_{i}_{j}")(pair)
            scores = scores + jnp.where(both, found, 0)
        return scores
