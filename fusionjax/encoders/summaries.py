"""Summaries of fixed length, one a kind of modality: what the projection starts from.

Each is a function (params, inputs without payload in masked slots) -> [batch, column]; of several
instances it is the mean.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.card import Kind
from fusionjax.encoders.layers import blank, masked_mean
from fusionjax.types import Inputs, Params

GRID = 16
"""Images are averaged to at most 16 × 16 cells."""
AUDIO_SEGMENTS = 10
SIGNAL_SEGMENTS = 16
BANDS = 16
WINDOW = 64
"""Samples in a window of the spectrum of a signal: two frequencies a band."""
QUIET = 1e-6


def image(params: Params, inputs: Inputs) -> Float[Array, "batch column"]:
    """Mean of each channel in each cell of the grid."""
    height, width = inputs.values.shape[2:4]
    cells = jnp.einsum("bihwc,gh,kw->bigkc", inputs.values, _areas(height), _areas(width))
    return _pooled(cells, inputs.mask)


def audio(params: Params, inputs: Inputs) -> Float[Array, "batch column"]:
    """Mean log-mel spectrum in each tenth of the recording."""
    weight = _segments(inputs.mask, AUDIO_SEGMENTS)
    return _pooled(jnp.einsum("bisf,bifm->bism", weight, inputs.values), inputs.mask.any(axis=2))


def signal(params: Params, inputs: Inputs) -> Float[Array, "batch column"]:
    """Of each channel: mean, deviation, mean in each sixteenth, log power in sixteen bands."""
    x, mask = inputs
    mean = jnp.einsum("bisf,bifm->bism", _segments(mask, 1), x)
    deviation = blank(x - mean, mask)
    count = jnp.maximum(mask.sum(axis=2), 1)[:, :, None, None]
    variance = jnp.sum(deviation**2, axis=2, keepdims=True) / count
    shape = jnp.einsum("bisf,bifm->bism", _segments(mask, SIGNAL_SEGMENTS), x)
    power = _spectrum(deviation) / count
    parts = [mean, jnp.sqrt(variance + QUIET), shape, jnp.log(power + QUIET)]
    return _pooled(jnp.concatenate(parts, axis=2), mask.any(axis=2))


def text(params: Params, inputs: Inputs) -> Float[Array, "batch column"]:
    """Term frequency times rarity, at length 1; tokens unknown at `init` are left out."""
    known = len(params["rarity"])
    token = jnp.where(inputs.mask & (inputs.values < known), inputs.values, known)
    record = jnp.arange(len(token))[:, None]
    counts = jnp.zeros((len(token), known + 1), jnp.int32).at[record, token].add(1)
    weighted = counts[:, :known] * params["rarity"][None, :]
    square = jnp.sum(weighted**2, axis=1, keepdims=True)
    return weighted / jnp.sqrt(jnp.where(square > 0, square, 1))


def rarity(inputs: Inputs) -> Float[Array, " word"]:
    """log((1 + n) / (1 + notes that hold the token)) + 1, 0 for a token that no note holds."""
    values, mask = np.asarray(inputs.values), np.asarray(inputs.mask)
    holds = [np.unique(tokens[there]) for tokens, there in zip(values, mask, strict=True)]
    notes = np.bincount(np.concatenate([np.zeros(0, np.int64), *holds]), minlength=1)
    weight = np.log((1 + len(values)) / (1 + notes)) + 1
    return jnp.asarray(np.where(notes > 0, weight, 0), jnp.float32)


def tabular(params: Params, inputs: Inputs) -> Float[Array, "batch column"]:
    """The values, and for each column whether it is missing."""
    return jnp.concatenate([inputs.values, 1.0 - inputs.mask], axis=1)


def vector(params: Params, inputs: Inputs) -> Float[Array, "batch column"]:
    """The values."""
    return inputs.values


SUMMARIES: Mapping[Kind, Callable[[Params, Inputs], Float[Array, "batch column"]]] = {
    "image": image,
    "text": text,
    "audio": audio,
    "signal": signal,
    "tabular": tabular,
    "vector": vector,
}


def _pooled(
    parts: Float[Array, "batch instance *rest"], there: Bool[Array, "batch instance"]
) -> Float[Array, "batch column"]:
    return masked_mean(parts.reshape(*there.shape, -1), there)


def _areas(length: int) -> Float[np.ndarray, "cell place"]:
    """Weights of the mean over each of at most 16 equal cells, by the area of each place in it."""
    cells = min(GRID, length)
    edge, place = np.linspace(0, length, cells + 1), np.arange(length)
    start, stop = edge[:-1, None], edge[1:, None]
    shared = np.minimum(stop, place[None, :] + 1) - np.maximum(start, place[None, :])
    return (np.maximum(shared, 0) * cells / length).astype(np.float32)


def _segments(
    mask: Bool[Array, "batch instance step"], count: int
) -> Float[Array, "batch instance segment step"]:
    """Weights of the mean over each of `count` equal parts of the steps that are there.

    With fewer steps than parts neighbours share a step, so that no part is empty.
    """
    rank = jnp.cumsum(mask, axis=2)[:, :, None, :] - 1
    total = jnp.sum(mask, axis=2)[:, :, None, None]
    part = jnp.arange(count)[None, None, :, None]
    inside = (rank >= part * total // count) & (rank < -(-(part + 1) * total // count))
    inside &= mask[:, :, None, :]
    return inside / jnp.maximum(inside.sum(axis=3, keepdims=True), 1)


def _spectrum(
    deviation: Float[Array, "batch instance time channel"],
) -> Float[Array, "batch instance band channel"]:
    """Power in equal bands up to half the rate, summed over windows side by side."""
    batch, room, length, channels = deviation.shape
    padded = jnp.pad(deviation, ((0, 0), (0, 0), (0, -length % WINDOW), (0, 0)))
    cut = padded.reshape(batch, room, -1, WINDOW, channels)
    power = jnp.abs(jnp.fft.rfft(cut, axis=3)[:, :, :, 1:]) ** 2
    return power.reshape(batch, room, -1, BANDS, WINDOW // 2 // BANDS, channels).sum(axis=(2, 4))
