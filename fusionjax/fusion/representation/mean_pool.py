"""Fusion by the mean of representations."""

from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import Perceptron, Projections, present_mean
from fusionjax.types import Features, Fusion


def mean_pool(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """log P(y | X) = log softmax(b + MLP(mean of gelu(W_i F_i) over the present modalities)).

    Its scale does not depend on how many modalities there are. The abstraction layer of HeMIS
    (Havaei et al. 2016) takes the mean of those that are there; its variance beside it is left out.
    """
    return from_linen(MeanPool(width, len(bias)), bias)


class MeanPool(nn.Module):
    """Projections, mean, perceptron."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        each = nn.gelu(Projections(self.width)(features))
        fused = present_mean(each, presence)
        return Perceptron(self.width, self.classes)(fused)
