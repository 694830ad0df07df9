"""A site: its records, and the sums over them that make φ, ψ and θ.

φ's columns are the numbers that a kind standardises: of a table its numeric columns, of a vector
its columns, of images their channels, of sound its mel bands, of signals their channels. ψ's are
the summaries of `encoders.summaries`. A level is the text of a categorical cell.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int64

from fusionjax import crossfit, preprocess
from fusionjax.crossfit import Fold
from fusionjax.encoders import adapters
from fusionjax.encoders.summaries import SUMMARIES
from fusionjax.federated import levels, places, site
from fusionjax.federated.messages import Arrays, Request
from fusionjax.federated.setup import Setup, loads, stack
from fusionjax.preprocess.audio import log_mel
from fusionjax.preprocess.instances import MOST
from fusionjax.records.ingest import Records
from fusionjax.study import of_model
from fusionjax.types import Inputs


class Hospital(NamedTuple):
    """A site's name, its records, and which of them the fit may read."""

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


@lru_cache(maxsize=2)
def likelihood(hospital: Hospital, setup: str) -> site.Rows:
    """The rows of θ's likelihood, each record as it is and under a draw of modality dropout."""
    given = loads(setup)
    study = of_model(hospital.records, given.statistics)
    fold = Fold(given.member, hospital.rows[:0], hospital.rows, None)
    seed = zlib.crc32(f"{given.seed} {hospital.name}".encode())
    observations = crossfit.observe(study, stack(given), (fold,), seed)
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
    columns = _columns(hospital, request)
    given = request.arrays
    pairs = zip(given["column"], given["prefix"], strict=True)
    counted = [places.count(columns[c], int(p), int(given["depth"])) for c, p in pairs]
    return {"places": np.stack(counted)}


def _moments(hospital: Hospital, request: Request) -> Arrays:
    """Counts and sums of powers 1 to 3 of each column, clipped and in units of `width` from
    `centre`; those of the logarithm too, where the clipped values are positive."""
    given, found = request.arrays, []
    for j, column in enumerate(_columns(hospital, request)):
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


def _columns(hospital: Hospital, request: Request) -> list[np.ndarray]:
    """The values of ψ's columns where there is a setup, else of φ's."""
    if request.setup:
        return [c.astype(np.float32) for s in _summaries(hospital, request.setup) for c in s.T]
    return _phi_columns(hospital)


@lru_cache(maxsize=2)
def _phi_columns(hospital: Hospital) -> list[Float[np.ndarray, " value"]]:
    found = []
    for modality, raws in zip(hospital.records.card.modalities, _raws(hospital), strict=True):
        parts = [np.asarray(part, np.float32) for part in _numbers(modality, raws)]
        parts = [part for part in parts if len(part)]
        found += list(np.concatenate(parts).T) if parts else []
    return found


def _numbers(modality, raws) -> Iterator[Float[np.ndarray, "value column"]]:
    """What a kind standardises, column by column, of all records."""
    if modality.kind == "tabular":
        width = len(modality.columns) - len(modality.options.categorical)
        yield np.reshape([numbers for numbers, _ in raws], (len(raws), width))
    elif modality.kind == "vector":
        width = len(modality.columns)
        yield np.reshape([raw if len(raw) else np.full(width, np.nan) for raw in raws], (-1, width))
    elif modality.kind == "image":
        channels = 3 if modality.options.colour else 1
        yield from (raw.reshape(-1, channels) for raw in raws)
    elif modality.kind == "audio":
        yield from (log_mel(item, modality.options) for raw in raws for item in raw)
    else:
        yield from (item[: modality.options.length] for raw in raws for item in raw)


@lru_cache(maxsize=2)
def _summaries(hospital: Hospital, setup: str) -> list[Float[np.ndarray, "record column"]]:
    given: Setup = loads(setup)
    found = []
    modalities, raws = given.card.modalities, _raws(hospital)
    for modality, fitted, column in zip(modalities, given.statistics, raws, strict=True):
        inputs = preprocess.apply(modality, fitted, column)
        there = np.asarray(inputs.mask).reshape(len(column), -1).any(axis=1)
        clean = adapters.blanked(Inputs(inputs.values[there], inputs.mask[there]))
        found.append(np.asarray(SUMMARIES[modality.kind]({}, clean), np.float64))
    return found


@lru_cache(maxsize=2)
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
