"""ψ for sound: a convolutional net on log-mel spectra."""

from flax import linen as nn

from fusionjax.encoders.adapters import Encoding, from_linen
from fusionjax.encoders.layers import Head, Stage, masked_mean
from fusionjax.types import Encoder, Inputs


def cnn(features: int = 16, width: int = 8) -> Encoder:
    """Three convolutions strided in time and mel; the mean over time.

    A token is what is heard in about 0.2 s; they are 80 ms apart.
    """
    return from_linen(Cnn(features, width))


class Cnn(nn.Module):
    """Frames are strided and masked together, so that silence after the end is never heard."""

    features: int
    width: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Encoding:
        """Of spectra [batch, instance, frame, mel]."""
        batch, room = inputs.mask.shape[:2]
        x = inputs.values.reshape(batch * room, *inputs.values.shape[2:], 1)
        mask = inputs.mask.reshape(batch * room, -1)
        for widen in (1, 2, 4):
            x, mask = Stage(self.width * widen, axes=(1, 2))(x, mask)
        tokens = x.reshape(batch, room * x.shape[1], -1)
        mask = mask.reshape(batch, -1)
        return Encoding(Head(self.features)(masked_mean(tokens, mask)), tokens, mask)
