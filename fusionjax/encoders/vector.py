"""ψ for vectors computed elsewhere: a perceptron beside a linear layer."""

from fusionjax.encoders.adapters import from_linen
from fusionjax.encoders.tabular import Mlp
from fusionjax.types import Encoder


def mlp(features: int = 16, width: int = 64) -> Encoder:
    """Values and gaps through two hidden layers, and past them through a linear one."""
    return from_linen(Mlp(features, width))
