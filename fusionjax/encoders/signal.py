"""ψ for signals of several channels: a convolutional net along time."""

from flax import linen as nn

from fusionjax.encoders.adapters import Encoding, from_linen
from fusionjax.encoders.layers import Head, Stage, masked_mean
from fusionjax.types import Encoder, Inputs


def cnn(features: int = 16, width: int = 8) -> Encoder:
    """Five convolutions strided in time; the mean over time. Tokens are 32 samples apart."""
    return from_linen(Cnn(features, width))


class Cnn(nn.Module):
    """Samples are strided and masked together, so that nothing is read beyond the end."""

    features: int
    width: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of signals [batch, instance, time, channel]."""
        batch, room = inputs.mask.shape[:2]
        x = inputs.values.reshape(batch * room, *inputs.values.shape[2:])
        mask = inputs.mask.reshape(batch * room, -1)
        for widen in (1, 2, 4, 8, 8):
            x, mask = Stage(self.width * widen, axes=(1,))(x, mask)
        tokens, mask = x.reshape(batch, -1, x.shape[-1]), mask.reshape(batch, -1)
        return Encoding(Head(self.features)(masked_mean(tokens, mask)), tokens, mask)
