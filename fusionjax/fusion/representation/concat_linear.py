"""Early fusion by one linear layer on the concatenated features."""

from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import from_linen
from fusionjax.fusion.layers import side_by_side
from fusionjax.types import Features, Fusion


def concat_linear(bias: Float[Array, " class"]) -> Fusion:
    """log P(y | X) = log softmax(b + W [o_1 F_1, …, o_M F_M]), logistic regression by steps.

    Early fusion in the words of Baltrušaitis, Ahuja and Morency (2019, section 6.1) with a linear
    classifier. It is the log-linear model with full θ, written as early fusion: W holds the θ_i
    side by side.
    """
    return from_linen(ConcatLinear(len(bias)), bias)


class ConcatLinear(nn.Module):
    """One layer, which starts near 0."""

    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]."""
        small = nn.initializers.normal(0.01)
        return nn.Dense(self.classes, use_bias=False, kernel_init=small)(side_by_side(features))
