"""avmnist as arrays on disk: read by our worker and by the peers', which have nothing of ours."""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int16

from experiments.cards import avmnist, published
from fusionjax.card import load
from fusionjax.records.ingest import Records, ingest
from fusionjax.study import log_prior, prepare
from fusionjax.types import Batch, Inputs

RATE, WINDOW, SIDE = 8000, 222, 112
SILENCE = 1e-8


class Arrays(NamedTuple):
    """Records, their classes' log frequencies, and the rows that train and that validate."""

    records: Batch
    bias: Float[np.ndarray, " class"]
    train: np.ndarray
    validation: np.ndarray


def write(folder: Path, most: int | None = None) -> None:
    """Write `recorded.npz`, `whole.npz` and `spectra.npz`; with `most`, of that many of each part.

    `whole` has the same sound, but every frame counts as recorded, the silence after its end too:
    what a network without masks is trained on. `spectra` are those of the LeNet late fusion.
    """
    found = ingest(load(avmnist.convert(published("avmnist"), folder / "card")), folder / "cache")
    study = prepare(found, 0)
    split = {"train": study.split.train[:most], "validation": study.split.validation[:most]}
    rows = np.concatenate(list(split.values()))
    batch = next(study.loader(rows, len(rows), 0).ordered())
    places = np.split(np.arange(len(rows)), [len(split["train"])])
    image, sound = (np.asarray(x.values)[:, 0] for x in batch.inputs)
    mask = np.asarray(batch.inputs[1].mask)[:, 0]
    shared: dict[str, Any] = {
        "image": image[..., 0],
        "label": np.asarray(batch.label),
        "bias": log_prior(study),
        **dict(zip(split, places, strict=True)),
    }
    np.savez(folder / "recorded.npz", sound=sound, mask=mask, **shared)
    np.savez(folder / "whole.npz", sound=sound, mask=np.ones_like(mask), **shared)
    spectra = _spectra(found, rows, len(places[0]))
    np.savez(folder / "spectra.npz", sound=spectra, mask=mask, **shared)


def read(path: Path) -> Arrays:
    """What `write` wrote, as a batch of all records."""
    with np.load(path) as given:
        at = {name: given[name] for name in given.files}
    there = jnp.ones((len(at["label"]), 1), bool)
    image = Inputs(jnp.asarray(at["image"])[:, None, :, :, None], there)
    sound = Inputs(jnp.asarray(at["sound"])[:, None], jnp.asarray(at["mask"])[:, None])
    label, row = jnp.asarray(at["label"]), jnp.arange(len(at["label"]))
    records = Batch((image, sound), jnp.tile(there, (1, 2)), label, row)
    return Arrays(records, at["bias"], at["train"], at["validation"])


def _spectra(found: Records, rows: np.ndarray, seen: int) -> Float[np.ndarray, "row 112 112"]:
    """Log power by frequency and time, 112 × 112, between 0 and 1 in the first `seen` records."""
    raws = found.source.__getitems__(rows.tolist())
    sounds: list[Any] = [raw[1][0] for raw in raws]
    each = np.stack([_spectrum(samples) for samples in sounds])
    low, high = each[:seen].min(), each[:seen].max()
    return ((each - low) / (high - low)).astype(np.float32)


def _spectrum(samples: Int16[np.ndarray, " sample"]) -> Float[np.ndarray, "112 112"]:
    """112 windows over a second, silence after the recording's end, in 112 frequencies."""
    sound = np.zeros(RATE, np.float32)
    sound[: min(RATE, len(samples))] = samples[:RATE] / 32768
    starts = np.linspace(0, RATE - WINDOW, SIDE).astype(int)
    frames = np.stack([sound[s : s + WINDOW] for s in starts]) * np.hanning(WINDOW)
    return np.log(np.abs(np.fft.rfft(frames, axis=1)).T ** 2 + SILENCE)
