"""φ for sound: log-mel spectra, 25 ms every 10 ms, standardised in each band."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int16

from fusionjax.card import AudioOptions
from fusionjax.preprocess.instances import slots, stack
from fusionjax.preprocess.moments import moments
from fusionjax.types import Inputs

Raw = tuple[Int16[np.ndarray, " _sample"], ...]

FULL_SCALE = 32768
SILENCE = 1e-8
"""Added to the power: about that of 16-bit rounding noise, so that digital silence is finite."""


class Statistics(NamedTuple):
    """Of the log power in each mel band of training frames; `instances`: most of a record."""

    mean: Float[np.ndarray, " mel"]
    sd: Float[np.ndarray, " mel"]
    instances: int


def fit(raws: Sequence[Raw], options: AudioOptions) -> Statistics:
    """Statistics of training recordings at `options.rate` Hz."""
    frames = (log_mel(samples, options) for raw in raws for samples in raw)
    return Statistics(*moments(frames, options.mels), slots(raws))


def apply(statistics: Statistics, raws: Sequence[Raw], options: AudioOptions) -> Inputs:
    """Values [batch, instance, frame, mel] and mask [batch, instance, frame].

    There are as many frames as `options.seconds` hold; there is room for as many instances as
    training records have, or as these have, at most 8.
    """

    def prepare(samples: Int16[np.ndarray, " sample"]) -> Float[np.ndarray, "frame mel"]:
        return (log_mel(samples, options) - statistics.mean) / statistics.sd

    window, hop, _ = _lengths(options)
    frames = 1 + max(0, _samples(options) - window) // hop
    return stack(raws, slots(raws, statistics.instances), (frames, options.mels), prepare)


def log_mel(
    samples: Int16[np.ndarray, " sample"], options: AudioOptions
) -> Float[np.ndarray, "frame mel"]:
    """Log power in `options.mels` bands of each full 25 ms Hann window, one every 10 ms.

    A recording shorter than a window is one frame, with silence after it.
    """
    window, hop, bins = _lengths(options)
    sound = samples[: _samples(options)].astype(np.float32) / FULL_SCALE
    if not len(sound):
        return np.zeros((0, options.mels), np.float32)
    sound = np.pad(sound, (0, max(0, window - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames * hann, n=bins)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(power @ mel_filters(options.rate, options.mels, bins) + np.float32(SILENCE))


def is_cut(statistics: Statistics, raw: Raw, options: AudioOptions) -> bool:
    """Whether a recording of this record is longer than `options.seconds`."""
    return any(len(samples) > _samples(options) for samples in raw)


@lru_cache
def mel_filters(rate: int, mels: int, bins: int) -> Float[np.ndarray, "frequency mel"]:
    """Triangles of height 1, evenly spaced from 0 to rate/2 on the mel scale of HTK.

    Mel = 2595 log10(1 + Hz/700); `bins` is the length of the transform in samples.
    """
    edges = _edges(rate, mels)
    frequency = np.fft.rfftfreq(bins, 1 / rate)[:, None]
    low, peak, high = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
    rising, falling = (frequency - low) / (peak - low), (high - frequency) / (high - peak)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _samples(options: AudioOptions) -> int:
    return round(options.rate * options.seconds)


def _edges(rate: int, mels: int) -> Float[np.ndarray, " edge"]:
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), mels + 2)
    return 700 * (10 ** (mel / 2595) - 1)


@lru_cache
def _lengths(options: AudioOptions) -> tuple[int, int, int]:
    """Window, hop and transform in samples; the transform is padded until no band is empty."""
    window, hop = max(2, round(0.025 * options.rate)), max(1, round(0.010 * options.rate))
    narrowest = _edges(options.rate, options.mels)[1]
    finest = max(window, options.rate / narrowest)
    return window, hop, 2 ** int(np.ceil(np.log2(finest)))
