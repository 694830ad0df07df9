"""Records on disk -> a TFDS source of raw records, and the table that says who they are.

Every record is read and checked once; what is refused is named by file, row and column. What was
read is kept in a folder whose name is a hash of all that it depends on: card, table and files.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from fusionjax.card import Card
from fusionjax.errors import RecordError
from fusionjax.records import pseudonyms, sources, store
from fusionjax.records.patients import describe, marked
from fusionjax.records.readers import Raw, Unreadable
from fusionjax.records.sources import Origin
from fusionjax.records.store import Example, Source

FORMAT = 2  # of what is kept; a new one makes what older versions kept unused


class Refusal(NamedTuple):
    """A record that was left out: where it stands, why, and how to mend it."""

    file: str
    row: int | None
    column: str | None
    problem: str
    mend: str


class Records(NamedTuple):
    """The records kept: record i of `source` is row i of `table`.

    | column of `table`      | holds                                                           |
    |------------------------|-----------------------------------------------------------------|
    | id, group, site, split | text; group is the id where no group is named                   |
    | label                  | index into `card.classes`, -1 where unknown                     |
    | date                   | UTC without zone, NaT where unknown                             |
    | row                    | row in the file, whose header is row 1; in TFDS, from 1         |
    | subgroups              | text, each under its own name                                   |
    | digest                 | a hash of each modality joined by ";", "" where it is missing   |

    `card` has its classes and its wildcards filled in; `absent` are columns of modalities that a
    table to predict for lacks, and `marked` counts the marks of `missing` in the label's column.
    """

    card: Card
    table: pd.DataFrame
    source: Source
    refused: tuple[Refusal, ...]
    absent: tuple[str, ...] = ()
    marked: Mapping[str, int] = MappingProxyType({})


Progress = Callable[[int, int], None]


def ingest(
    card: Card,
    cache: Path,
    *,
    on_bad_record: Literal["stop", "skip"] = "stop",
    labelled: bool = True,
    table: Path | None = None,
    key: bytes | None = None,
    progress: Progress | None = None,
) -> Records:
    """Read and check every record of a card, or of another `table` whose folder holds its files.

    With `labelled=False` the label, all columns of a modality, and any of a tabular or vector one
    may be lacking; they count as missing, and `absent` names them. "skip" leaves
    out a record that is wrong and counts it, "stop" raises RecordError for the first. A table that
    cannot be read, lacks a column or leaves fewer than two classes is a RecordError always, a data
    set that TFDS cannot open a CardError. With a `key` ids and groups become pseudonyms before
    anything is kept. `progress` is told (done, of how many) records.
    """
    stop = on_bad_record == "stop"
    from_tfds = card.tfds and not table
    origin = sources.from_tfds(card) if from_tfds else sources.from_table(card, table, labelled)
    patients, classes, faults = describe(origin, labelled)
    origin = origin._replace(card=replace(origin.card, classes=classes))
    faults = _first_of_each_row([*origin.faults, *faults])
    if faults and stop:
        raise faults[0]
    patients = pseudonyms.replaced(patients, key) if key else patients
    folder = cache / _fingerprint(origin, labelled, key)
    if not folder.exists():
        good = patients.loc[~patients["row"].isin([fault.row for fault in faults])]
        _write(folder, origin, good, faults, stop, progress)
    records = _read(folder, origin.card)._replace(absent=origin.absent, marked=marked(origin))
    if records.refused and stop:
        raise RecordError(*records.refused[0])
    if labelled:
        _check_classes(records, origin)
    return records


def _first_of_each_row(faults: list[RecordError]) -> list[RecordError]:
    ordered = sorted(faults, key=lambda fault: fault.row or 0)
    return list({fault.row: fault for fault in reversed(ordered)}.values())[::-1]


def _fingerprint(origin: Origin, labelled: bool, key: bytes | None) -> str:
    card = origin.card
    read = [(m.name, m.kind, m.columns, asdict(m.options)) for m in card.modalities]
    rules = (asdict(card.columns), card.classes, sorted(card.labels.items()), card.ignore)
    named_by = pseudonyms.pseudonym(key, "key", "") if key else ""
    content = json.dumps([FORMAT, labelled, read, rules, card.missing, origin.stamp, named_by])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _write(
    folder: Path,
    origin: Origin,
    patients: pd.DataFrame,
    faults: list[RecordError],
    stop: bool,
    progress: Progress | None,
) -> None:
    unreadable: list[RecordError] = []

    def refuse(error: RecordError) -> None:
        if stop:
            raise error
        unreadable.append(error)

    with _whole_or_not_at_all(folder) as part:
        examples = _examples(origin, patients, refuse, progress)
        digests = store.write(part, origin.card, examples)
        refused = _first_of_each_row([*faults, *unreadable])
        if not digests:
            raise refused[0]
        kept = patients.loc[~patients["row"].isin([error.row for error in unreadable])]
        kept.assign(digest=digests).to_parquet(part / "table.parquet", index=False)
        (part / "refused.json").write_text(json.dumps([_refusal(error) for error in refused]))


def _read(folder: Path, card: Card) -> Records:
    table = pd.read_parquet(folder / "table.parquet")
    refused = json.loads((folder / "refused.json").read_text())
    source = store.read(folder, card.modalities)
    return Records(card, table, source, tuple(Refusal(*fields) for fields in refused))


def _refusal(error: RecordError) -> Refusal:
    return Refusal(error.path, error.row, error.column, error.problem, error.mend)


@contextmanager
def _whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", suffix=".part", dir=folder.parent))
    try:
        yield part
        _rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rename(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was first with the same
            raise


def _examples(
    origin: Origin,
    patients: pd.DataFrame,
    refuse: Callable[[RecordError], None],
    progress: Progress | None,
) -> Iterator[Example]:
    widths: dict[str, int] = {}
    who = zip(patients.index.tolist(), patients["id"], patients["label"].tolist(), strict=True)
    for done, (i, name, label) in enumerate(who, start=1):
        try:
            yield Example(name, label, _raws(origin, i, widths))
        except RecordError as error:
            refuse(error)
        if progress:
            progress(done, len(patients))


def _raws(origin: Origin, i: int, widths: dict[str, int]) -> tuple[Raw, ...]:
    raws = []
    for modality, read in zip(origin.card.modalities, origin.reads, strict=True):
        try:
            raw = read(i)
            _check_width(modality.name, modality.kind, raw, widths)
        except Unreadable as error:
            column = modality.columns[0] if len(modality.columns) == 1 else None
            place = (origin.table.path, origin.table.rows[i], column)
            raise RecordError(*place, error.problem, error.mend) from None
        raws.append(raw)
    return tuple(raws)


def _check_width(name: str, kind: str, raw: Any, widths: dict[str, int]) -> None:
    """Vectors have as many columns, and signals as many channels, as the first of them has."""
    if kind not in ("vector", "signal"):
        return
    for part in [raw] if kind == "vector" and len(raw) else raw if kind == "signal" else ():
        width = part.shape[-1]
        if width != widths.setdefault(name, width):
            problem = f"{name} has {width} columns, where earlier records have {widths[name]}"
            raise Unreadable(problem, "All records must have the same, in the same order.")


def _check_classes(records: Records, origin: Origin) -> None:
    count = np.bincount(records.table["label"] + 1, minlength=len(records.card.classes) + 1)[1:]
    column, path = records.card.columns.label, origin.table.path
    if (count > 0).sum() < 2:
        problem = f"{(count > 0).sum()} classes among {len(records.table)} records"
        raise RecordError(path, None, column, problem, "Add labelled records of two or more.")
    if not count.all():
        name = records.card.classes[int(np.flatnonzero(count == 0)[0])]
        mend = "Add some, or take the class out of [label]."
        raise RecordError(path, None, column, f"no record has the label {name!r}", mend)
