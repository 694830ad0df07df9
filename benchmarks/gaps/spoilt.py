"""The clinic's test records as they came, corrupted as records are, and read again."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gaps import cohort as cohorts
from benchmarks.gaps.cohort import Cohort, Part
from fusionjax import preprocess
from fusionjax.corrupt import image, laboratory, note, sound
from fusionjax.records.ingest import Records
from fusionjax.records.readers import Tabular
from fusionjax.study import Study
from fusionjax.types import Key

Spoil = Callable[[Key, Sequence[Any], float], list[Any]]
UNIT = 1 / laboratory.MG_DL_PER_MMOL_L["glucose"]
BLUR = 4.0
"""Pixels, at strength 1."""


def parts(
    cohort: Cohort, prepared: Study, records: Records, strength: float
) -> dict[str, tuple[str, Part]]:
    """By corruption: the modality that it is of, and the test records with it corrupted."""
    names = [m.name for m in prepared.card.modalities]
    raws = list(zip(*records.source.__getitems__(cohort.test.row.tolist()), strict=True))
    found = {}
    for name, (modality, spoil) in SPOILS.items():
        i = names.index(modality)
        spoilt = spoil(jax.random.key(5), raws[i], strength)
        inputs = preprocess.apply(prepared.card.modalities[i], prepared.statistics[i], spoilt)
        (vector,) = cohorts.features(
            cohort.encoders[i : i + 1], cohort.weights[i : i + 1], (inputs,)
        )
        features = tuple(vector if j == i else f for j, f in enumerate(cohort.test.features))
        found[name] = (modality, cohort.test._replace(features=features))
    return found


def _pictures(corrupt: Callable[[Key, jax.Array, float], jax.Array]) -> Spoil:
    def spoil(key: Key, raws: Sequence[Any], strength: float) -> list[Any]:
        whole = np.concatenate([raw for raw in raws if len(raw)]).astype(np.float32)
        spoilt = corrupt(key, jnp.asarray(whole[:, None]), strength)
        spoilt = np.clip(np.rint(np.asarray(spoilt[:, 0])), 0, 255).astype(np.uint8)
        ends = np.cumsum([len(raw) for raw in raws])
        return np.split(spoilt, ends[:-1])

    return spoil


def _blurred(key: Key, images: jax.Array, strength: float) -> jax.Array:
    return image.blurred(images, BLUR * strength)


def _notes(corrupt: Callable[[Key, str, float], str]) -> Spoil:
    def spoil(key: Key, raws: Sequence[Any], strength: float) -> list[Any]:
        keys = jax.random.split(key, len(raws))
        return [
            corrupt(k, raw, strength) if raw else raw for k, raw in zip(keys, raws, strict=True)
        ]

    return spoil


def _shuffled(key: Key, text: str, strength: float) -> str:
    first, rest = jax.random.split(key)
    return note.shuffled(rest, text) if jax.random.uniform(first) < strength else text


def _truncated(key: Key, raws: Sequence[Any], strength: float) -> list[Any]:
    """Up to `strength` of each recording is lost at its end."""
    lost = np.asarray(strength * jax.random.uniform(key, (len(raws),)))
    return [
        tuple(wave[: max(1, round(len(wave) * (1 - share)))] for wave in raw)
        for raw, share in zip(raws, lost, strict=True)
    ]


def _clipped(key: Key, raws: Sequence[Any], strength: float) -> list[Any]:
    def one(wave: np.ndarray) -> np.ndarray:
        peak = np.abs(wave.astype(np.float32)).max(initial=1.0)
        cut = sound.clipped(jnp.asarray(wave[None] / peak), 0.95 * strength)
        return np.rint(np.asarray(cut[0]) * peak).astype(np.int16)

    return [tuple(one(wave) for wave in raw) for raw in raws]


def _tables(corrupt: Callable[[Key, jax.Array, float], jax.Array]) -> Spoil:
    def spoil(key: Key, raws: Sequence[Any], strength: float) -> list[Any]:
        spoilt = corrupt(key, jnp.asarray(np.stack([raw.numeric for raw in raws])), strength)
        rows = np.asarray(spoilt, np.float32)
        return [Tabular(row, raw.categorical) for row, raw in zip(rows, raws, strict=True)]

    return spoil


def _wrong_unit(key: Key, results: jax.Array, strength: float) -> jax.Array:
    return laboratory.wrong_unit(key, results, jnp.full(results.shape[1], UNIT), strength)


SPOILS: dict[str, tuple[str, Spoil]] = {
    "image blurred": ("image", _pictures(_blurred)),
    "image occluded": ("image", _pictures(image.occluded)),
    "note shuffled": ("note", _notes(_shuffled)),
    "note negated": ("note", _notes(note.negated)),
    "sound truncated": ("sound", _truncated),
    "sound clipped": ("sound", _clipped),
    "unit mistaken": ("biomarkers", _tables(_wrong_unit)),
    "sensor stuck": ("biomarkers", _tables(laboratory.stuck)),
}
