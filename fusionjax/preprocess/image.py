"""φ for images: pixels, standardised by the mean and deviation of each channel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from fusionjax.card import ImageOptions
from fusionjax.preprocess.instances import host, slots
from fusionjax.preprocess.moments import moments
from fusionjax.types import Inputs

Raw = UInt8[np.ndarray, "_instance ..."]


class Statistics(NamedTuple):
    """Of the training pixels, scaled to [0, 1]; `instances` is the most that a record has."""

    mean: Float[np.ndarray, " channel"]
    sd: Float[np.ndarray, " channel"]
    instances: int


def fit(raws: Sequence[Raw], options: ImageOptions) -> Statistics:
    """Statistics of training images [instance, size, size, channel]."""
    channels = _channels(options)
    pixels = (raw.reshape(-1, channels) for raw in raws if len(raw))
    mean, sd = moments(pixels, channels)
    return Statistics(mean / 255, sd / 255, slots(raws))


def apply(statistics: Statistics, raws: Sequence[Raw], options: ImageOptions) -> Inputs:
    """Values [batch, instance, size, size, channel] and mask [batch, instance].

    There is room for as many instances as training records have, or as these have, at most 8.
    """
    room = slots(raws, statistics.instances)
    shape = options.size, options.size, _channels(options)
    values, mask = (
        np.zeros((len(raws), room, *shape), np.float32),
        np.zeros((len(raws), room), bool),
    )
    for record, raw in enumerate(raws):
        kept = raw[:room].astype(np.float32) / 255
        if len(kept):
            values[record, : len(kept)] = (kept - statistics.mean) / statistics.sd
            mask[record, : len(kept)] = True
    return host(values, mask)


def _channels(options: ImageOptions) -> int:
    return 3 if options.colour else 1
