"""φ for signals of several channels: cut or masked to one length, standardised by channel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fusionjax.card import SignalOptions
from fusionjax.preprocess.instances import slots, stack
from fusionjax.preprocess.moments import moments, standardise
from fusionjax.types import Inputs

Raw = tuple[Float[np.ndarray, "_time _channel"], ...]


class Statistics(NamedTuple):
    """Of the training samples in each channel; `instances` is the most that a record has."""

    mean: Float[np.ndarray, " channel"]
    sd: Float[np.ndarray, " channel"]
    instances: int


def fit(raws: Sequence[Raw], options: SignalOptions) -> Statistics:
    """Statistics of training signals [time, channel]; with none to be seen, one channel."""
    signals = [item[: options.length] for raw in raws for item in raw]
    channels = signals[0].shape[1] if signals else max(1, len(options.channels))
    return Statistics(*moments(signals, channels), slots(raws))


def apply(statistics: Statistics, raws: Sequence[Raw], options: SignalOptions) -> Inputs:
    """Values [batch, instance, time, channel] and mask [batch, instance, time].

    A value that is not finite becomes its channel's mean; where all channels lack one the time is
    masked. There is room for as many instances as training records have, or as these have, at
    most 8.
    """

    def prepare(item: Float[np.ndarray, "time channel"]) -> Float[np.ndarray, "kept channel"]:
        return standardise(item[: options.length], statistics.mean, statistics.sd)

    room = slots(raws, statistics.instances)
    return stack(raws, room, (options.length, len(statistics.mean)), prepare)


def is_cut(statistics: Statistics, raw: Raw, options: SignalOptions) -> bool:
    """Whether a signal of this record is longer than `options.length`."""
    return any(len(item) > options.length for item in raw)
