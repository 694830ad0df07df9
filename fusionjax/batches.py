"""A source of records -> batches with presence: whole on the device when it fits, else streamed.

The order of training records is one pure function of seed and step, whichever way they are read:
that is what makes a resumed run exact.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from fusionjax import preprocess
from fusionjax.records.ingest import Records
from fusionjax.types import Batch

RECORDS_A_READ = 512


class Loader(NamedTuple):
    """The batches of some records.

    `at(step)` is the shuffled training batch of that step, a pure function of seed and step, and
    always full: it may reach into the next epoch, and is the whole set where that is smaller than
    `batch_size`. `ordered()` gives every record once, in order; where the last batch is not full
    it is padded by records of row -1, label -1 and nothing present.
    """

    size: int
    batch_size: int
    steps: int
    at: Callable[[int], Batch]
    ordered: Callable[[], Iterator[Batch]]


Reader = Callable[[Int[np.ndarray, " row"], int, int], Loader]


def reader(records: Records, statistics: tuple[Any, ...], budget_bytes: int = 2 << 30) -> Reader:
    """`(rows, batch_size, seed) -> Loader`, `whole` where all records fit, else `streamed`.

    They fit if, preprocessed, they take at most `budget_bytes`; they are then read once, when the
    first loader is made, for all loaders together.
    """
    everyone = np.arange(len(records.table))
    sample = _read(records, everyone[:8], statistics)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(sample)) / len(sample.row) * len(everyone)
    if size > budget_bytes:
        return lambda rows, batch_size, seed: streamed(records, rows, statistics, batch_size, seed)
    data = lru_cache(partial(gather, records, everyone, statistics))
    return lambda rows, batch_size, seed: whole(data(), rows, batch_size, seed)


def whole(data: Batch, rows: Int[np.ndarray, " row"], batch_size: int, seed: int) -> Loader:
    """Batches of some rows of `data`, records that all lie on the device."""
    order, positions = _order(len(rows), batch_size, seed), _positions(len(rows), batch_size)

    def at(step: int) -> Batch:
        return _take(data, rows[order(step)])

    def ordered() -> Iterator[Batch]:
        return (_take(data, _select(rows, index)) for index in positions)

    return _loader(len(rows), batch_size, at, ordered)


def streamed(
    records: Records,
    rows: Int[np.ndarray, " row"],
    statistics: tuple[Any, ...],
    batch_size: int,
    seed: int,
    workers: int = 2,
) -> Loader:
    """Batches read and preprocessed by `workers` threads, ahead of when they are asked for.

    Instances beyond the eighth of a modality are left out, as in `gather`.
    """
    order, positions = _order(len(rows), batch_size, seed), _positions(len(rows), batch_size)
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)

    def read(index: np.ndarray) -> Batch:
        batch = _read(records, rows[np.maximum(index, 0)], statistics)
        return batch._replace(row=_select(rows, index).astype(np.int32))

    steps = grain.MapDataset.range(sys.maxsize)
    training = iter(steps.map(lambda step: read(order(step))).to_iter_dataset(options))

    def at(step: int) -> Batch:
        if training.get_state()["next_index"] != step:
            training.set_state({"next_index": step})
        return _blank(next(training))

    def ordered() -> Iterator[Batch]:
        batches = grain.MapDataset.source(positions).map(read).to_iter_dataset(options)
        return map(_blank, batches)

    return _loader(len(rows), batch_size, at, ordered)


def gather(records: Records, rows: Int[np.ndarray, " row"], statistics: tuple[Any, ...]) -> Batch:
    """Those rows of the records as one batch on the device.

    Where records have several instances, as many are kept as one of them has, at most eight.
    """
    chunks = [rows[i : i + RECORDS_A_READ] for i in range(0, len(rows), RECORDS_A_READ)]
    parts = [_read(records, chunk, statistics) for chunk in chunks]
    widest = jax.tree.map(lambda *leaves: max(leaf.shape[1:2] for leaf in leaves), *parts)
    padded = [jax.tree.map(_pad, part, widest) for part in parts]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *padded)


def _bytes(records: Records, rows: np.ndarray, statistics: tuple[Any, ...]) -> float:
    """What all of these rows take once preprocessed, judged by the first few."""
    sample = _read(records, rows[:8], statistics)
    return sum(leaf.nbytes for leaf in jax.tree.leaves(sample)) / len(sample.row) * len(rows)


def _loader(
    size: int,
    batch_size: int,
    at: Callable[[int], Batch],
    ordered: Callable[[], Iterator[Batch]],
) -> Loader:
    return Loader(size, _width(size, batch_size), max(1, size // batch_size), at, ordered)


def _width(size: int, batch_size: int) -> int:
    return max(1, min(size, batch_size))


def _order(size: int, batch_size: int, seed: int) -> Callable[[int], np.ndarray]:
    """The positions of the records in training batch s: one shuffle an epoch, end to end."""
    width = _width(size, batch_size)

    @lru_cache(maxsize=4)
    def shuffled(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(size)

    def positions(step: int) -> np.ndarray:
        epochs, places = np.divmod(np.arange(step * width, (step + 1) * width), size)
        drawn = np.stack([shuffled(int(epoch)) for epoch in np.unique(epochs)])
        return drawn[epochs - epochs[0], places]

    return positions


def _positions(size: int, batch_size: int) -> Sequence[np.ndarray]:
    """The positions 0 to size - 1 in batches, the last padded by -1."""
    width = _width(size, batch_size)
    padded = np.full((-(-size // width), width), -1)
    padded.flat[:size] = np.arange(size)
    return list(padded)


def _select(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.where(index >= 0, rows[np.maximum(index, 0)], -1)


def _read(records: Records, rows: np.ndarray, statistics: tuple[Any, ...]) -> Batch:
    raws = records.source.__getitems__(rows.tolist())
    columns = zip(*raws, strict=True)
    inputs = tuple(
        preprocess.apply(modality, fitted, column)
        for modality, fitted, column in zip(
            records.card.modalities, statistics, columns, strict=True
        )
    )
    observed = [x.mask.reshape(len(rows), -1).any(axis=1) for x in inputs]
    presence: Any = np.stack(observed, axis=1)
    label: Any = records.table["label"].to_numpy()[rows].astype(np.int32)
    row: Any = rows.astype(np.int32)
    return Batch(inputs, presence, label, row)


@jax.jit
def _take(data: Batch, index: Int[Any, " batch"]) -> Batch:
    batch = jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0, mode="clip"), data)
    return _blank(batch._replace(row=jnp.where(index >= 0, batch.row, -1)))


@jax.jit
def _blank(batch: Batch) -> Batch:
    """The batch on the device, with nothing in its padding."""
    real = batch.row >= 0

    def blank(leaf: jax.Array) -> jax.Array:
        return jnp.where(real.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.zeros_like(leaf))

    presence, label = batch.presence & real[:, None], jnp.where(real, batch.label, -1)
    return Batch(jax.tree.map(blank, batch.inputs), presence, label, batch.row)


def _pad(leaf: np.ndarray, width: tuple[int, ...]) -> np.ndarray:
    if leaf.shape[1:2] == width:
        return leaf
    room = [(0, 0)] * leaf.ndim
    room[1] = (0, width[0] - leaf.shape[1])
    return np.pad(leaf, room)
