"""A site: its records, and the sums over them that make φ, ψ and θ.

φ's columns are the numbers that a kind standardises: of a table its numeric columns, of a vector
its columns, of images their channels, of sound its mel bands, of signals their channels. ψ's are
the summaries of `encoders.summaries`. A level is the text of a categorical cell.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int64

from fusionjax import crossfit, preprocess
from fusionjax.card import Kind
from fusionjax.crossfit import Fold
from fusionjax.encoders import adapters
from fusionjax.encoders.projection import CHUNK
from fusionjax.encoders.summaries import SUMMARIES
from fusionjax.federated import levels, places, site
from fusionjax.federated.messages import Arrays, Request
from fusionjax.federated.setup import Setup, loads, stack, width
from fusionjax.preprocess.audio import log_mel
from fusionjax.preprocess.instances import MOST
from fusionjax.records.ingest import Records
from fusionjax.study import of_model
from fusionjax.types import Inputs

KEPT = 16
"""What was computed of a site's records for its last requests: many sites may share a process."""


class Hospital(NamedTuple):
    """A site's name, its records, and which of them the fit may read; equal to itself alone."""

    name: str
    records: Records
    rows: Int64[np.ndarray, " row"]

    def __hash__(self) -> int:
        return id(self.records)

    def __eq__(self, other: object) -> bool:
        return self is other


def answer(hospital: Hospital, request: Request) -> Arrays:
    """The sums that a request asks for, in the shapes that it expects."""
    if request.task in ("expand", "slope", "gains"):
        return site.answer(likelihood(hospital, request.setup), request)
    return _SUMS[request.task](hospital, request)


@lru_cache(maxsize=KEPT)
def likelihood(hospital: Hospital, setup: str) -> site.Rows:
    """The rows of θ's likelihood, each record as it is and under a draw of modality dropout."""
    given = loads(setup)
    study = of_model(hospital.records, given.statistics)
    fold = Fold(given.member, hospital.rows[:0], hospital.rows, None)
    seed = zlib.crc32(f"{given.seed} {hospital.name}".encode())
    observations, _ = crossfit.observe(study, stack(given), (fold,), seed)
    return site.rows(observations, jnp.asarray(given.bias))


def _census(hospital: Hospital, request: Request) -> Arrays:
    """Records of each class, and of each modality those with 0, 1, …, 8 or more instances."""
    label = hospital.records.table["label"].to_numpy()[hospital.rows]
    classes, modalities = len(hospital.records.card.classes), len(hospital.records.card.modalities)
    instances = np.zeros((modalities, MOST + 1), np.int64)
    for i, raws in enumerate(_raws(hospital)):
        several = hospital.records.card.modalities[i].kind in ("image", "audio", "signal")
        lengths = [min(len(raw), MOST) for raw in raws] if several else []
        instances[i] = np.bincount(np.asarray(lengths, np.int64), minlength=MOST + 1)
    return {"labels": np.bincount(label, minlength=classes), "instances": instances}


def _places(hospital: Hospital, request: Request) -> Arrays:
    """How the values of some columns fall into parts of the places asked for."""
    given, at = request.arrays, _places_of(hospital, request.setup)
    pairs = zip(given["column"], given["prefix"], strict=True)
    counted = [places.count(at[c], int(p), int(given["depth"])) for c, p in pairs]
    return {"places": np.stack(counted)}


def _moments(hospital: Hospital, request: Request) -> Arrays:
    """Counts and sums of powers 1 to 3 of each column, clipped and in units of `width` from
    `centre`; those of the logarithm too, where the clipped values are positive."""
    given, found = request.arrays, []
    for j, column in enumerate(_columns(hospital)):
        clipped = np.clip(column[np.isfinite(column)].astype(np.float64), *given["limits"][j])
        logs = np.log(clipped) if given["positive"][j] else np.zeros_like(clipped)
        parts = (
            (x - centre) / width
            for x, centre, width in zip(
                (clipped, logs), given["centre"][j], given["width"][j], strict=True
            )
        )
        powers = [[np.sum(x**k) for k in (1, 2, 3)] for x in parts]
        found.append((len(clipped), powers))
    counts, powers = zip(*found, strict=True)
    return {"count": np.array(counts), "powers": np.array(powers)}


def _levels(hospital: Hospital, request: Request) -> Arrays:
    """The tables of levels of all categorical columns, one after another."""
    tables = []
    for modality, raws in zip(hospital.records.card.modalities, _raws(hospital), strict=True):
        if modality.kind == "tabular":
            for cells in zip(*(words for _, words in raws), strict=True):
                counted = Counter(cell for cell in cells if cell)
                tables.append(levels.table(counted, int(request.arrays["buckets"])))
    return {name: np.stack([table[name] for table in tables]) for name in request.expected}


def _summary(hospital: Hospital, request: Request) -> Arrays:
    """Of each modality's summaries: records, sums and products about `centre`; how many values of
    each column are one of its extremes, and how many rows differ between each two columns."""
    found: dict[str, np.ndarray] = {}
    for i, rows in enumerate(_summaries(hospital, request.setup)):
        low, high, centre = (request.arrays[f"{name}{i}"] for name in ("low", "high", "centre"))
        apart = rows - centre
        found[f"count{i}"] = np.array(len(rows))
        found[f"sum{i}"], found[f"product{i}"] = apart.sum(axis=0), apart.T @ apart
        found[f"extreme{i}"] = ((rows == low) | (rows == high)).sum(axis=0)
        found[f"differ{i}"] = np.stack([(rows != column[:, None]).sum(axis=0) for column in rows.T])
    return found


@lru_cache(maxsize=KEPT)
def _places_of(hospital: Hospital, setup: str) -> list[Int64[np.ndarray, " value"]]:
    """The places of the finite values in each of ψ's columns, or, without a setup, of φ's."""
    summaries = [c for rows in _summaries(hospital, setup) for c in rows.T] if setup else []
    columns = summaries or _columns(hospital)
    return [places.place(column[np.isfinite(column)]) for column in columns]


@lru_cache(maxsize=KEPT)
def _columns(hospital: Hospital) -> list[Float[np.ndarray, " value"]]:
    """The values of φ's columns."""
    found = []
    for modality, raws in zip(hospital.records.card.modalities, _raws(hospital), strict=True):
        # A site may have nothing of a modality, but columns it has.
        parts = [np.zeros((0, width(modality)), np.float32), *_numbers(modality, raws)]
        found += list(np.concatenate(parts, dtype=np.float32).T)
    return found


def _numbers(modality, raws) -> Iterator[Float[np.ndarray, "value column"]]:
    """What a kind standardises, column by column, of all records."""
    if modality.kind == "tabular":
        yield np.reshape([numbers for numbers, _ in raws], (len(raws), width(modality)))
    elif modality.kind == "vector":
        yield from (raw[None, :] for raw in raws if len(raw))
    elif modality.kind == "image":
        yield from (raw.reshape(-1, width(modality)) for raw in raws)
    elif modality.kind == "audio":
        yield from (log_mel(item, modality.options) for raw in raws for item in raw)
    else:
        yield from (item[: modality.options.length] for raw in raws for item in raw)


@lru_cache(maxsize=KEPT)
def _summaries(hospital: Hospital, setup: str) -> list[Float[np.ndarray, "record column"]]:
    given: Setup = loads(setup)
    found = []
    modalities, raws = given.card.modalities, _raws(hospital)
    for modality, fitted, column in zip(modalities, given.statistics, raws, strict=True):
        parts = []
        for start in range(0, len(column), CHUNK):
            inputs = preprocess.apply(modality, fitted, column[start : start + CHUNK])
            there = np.asarray(inputs.mask).reshape(len(inputs.mask), -1).any(axis=1)
            with jax.default_matmul_precision("highest"):
                rows = _summarise(modality.kind, inputs)
            parts.append(np.asarray(rows, np.float64)[there])
        found.append(np.concatenate(parts))
    return found


@partial(jax.jit, static_argnums=0)
def _summarise(kind: Kind, inputs: Inputs) -> Float[Array, "record column"]:
    return SUMMARIES[kind]({}, adapters.blanked(inputs))


@lru_cache(maxsize=KEPT)
def _raws(hospital: Hospital) -> list[tuple]:
    raws = hospital.records.source.__getitems__(hospital.rows.tolist())
    return list(zip(*raws, strict=True))


_SUMS = {
    "census": _census,
    "places": _places,
    "moments": _moments,
    "levels": _levels,
    "summary": _summary,
}
