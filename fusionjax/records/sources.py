"""Where records come from, a table with its files or a TFDS data set: how each modality is read."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fusionjax.card import Card, Modality, TabularOptions, expand
from fusionjax.errors import RecordError
from fusionjax.records import readers, tables
from fusionjax.records.readers import Raw, Tabular
from fusionjax.records.tables import Table

Read = Callable[[int], Raw]
VALUES = ("tabular", "vector")
"""Kinds that can do without some of their columns; of the others each holds part of one whole."""


class Origin(NamedTuple):
    """A card's records before they are read.

    `card` has its wildcards filled in, `reads[m](i)` reads modality m of record i of the table and
    raises readers.Unreadable, and `stamp` changes when the table or a file that it names does.
    `absent` are modalities' columns that a table to predict for lacks.
    `split` is the name of each record's split where the source itself has splits, else "".
    """

    card: Card
    table: Table
    split: list[str]
    reads: tuple[Read, ...]
    faults: list[RecordError]
    stamp: str
    absent: tuple[str, ...]


class Reader(NamedTuple):
    """How one modality is read; `faults` are those of its cells, `files` those that they name.

    `absent` are the columns that the table lacks.
    """

    modality: Modality
    read: Read
    faults: list[RecordError]
    files: list[str]
    absent: tuple[str, ...] = ()


def from_table(card: Card, path: Path | None, labelled: bool) -> Origin:
    """The records of the card's table, or of another whose own folder holds its files.

    Raises RecordError where the table cannot be read or lacks a column. Without `labelled` only
    the id must be there; modalities may be absent whole, and columns of values one by one.
    """
    path, folder = (path, path.parent) if path else (card.table, card.folder)
    assert path
    roles = role_columns(card)
    modality_columns = [column for m in card.modalities for column in m.columns]
    table = tables.read(path, [*roles, *modality_columns])
    tables.require(table, roles if labelled else filter(None, [card.columns.id]))
    made = [_reader(m, table, folder, card.missing, labelled) for m in card.modalities]
    stamp = _stamp(path, folder, [name for reader in made for name in reader.files])
    return _origin(card, table, [""] * len(table.rows), made, stamp)


def from_tfds(card: Card) -> Origin:
    """The records of the data set that the card's [tfds] section names; raises CardError."""
    from fusionjax.records import catalogue

    found = catalogue.read(card)

    def array_reader(modality: Modality) -> Reader:
        def read(i: int) -> Raw:
            return catalogue.raw(modality, found.example(i), found.features)

        return Reader(modality, read, [], [])

    def reader(modality: Modality) -> Reader:
        columns = expand(modality.columns, found.features)
        scalar = all(column in found.table.columns for column in columns)
        if scalar and modality.kind in ("text", "tabular", "vector"):
            return _reader(modality, found.table, None, card.missing, labelled=True)
        return array_reader(modality)

    made = [reader(modality) for modality in card.modalities]
    stamp = _stamp(found.table.path / "dataset_info.json", found.table.path, [])
    return _origin(card, found.table, found.split, made, stamp)


def role_columns(card: Card) -> list[str]:
    """The columns that say who a record is, the id first."""
    columns = card.columns
    roles = [columns.id, columns.label, columns.group, columns.site, columns.date, columns.split]
    return [role for role in (*roles, *columns.subgroups) if role]


def _origin(card: Card, table: Table, split: list[str], made: list[Reader], stamp: str) -> Origin:
    card = replace(card, modalities=tuple(reader.modality for reader in made))
    faults = [*table.faults, *(fault for reader in made for fault in reader.faults)]
    absent = tuple(column for reader in made for column in reader.absent)
    return Origin(card, table, split, tuple(reader.read for reader in made), faults, stamp, absent)


def _reader(
    modality: Modality, table: Table, folder: Path | None, missing: Collection[str], labelled: bool
) -> Reader:
    absent = () if labelled else _lacking(modality, table)
    if not labelled and not expand(modality.columns, table.header):
        return _absent(modality, absent)
    absent = absent if modality.kind in VALUES else ()
    tables.require(table, [column for column in modality.columns if column not in absent])
    columns = expand(modality.columns, (*table.header, *absent))
    modality = replace(modality, columns=columns)
    nothing = [""] * len(table.rows)
    cells = {
        column: nothing if column in absent else tables.cells(table, column, missing)
        for column in columns
    }
    match modality.kind:
        case "text":
            return _text(modality, cells, folder)
        case "tabular":
            return _tabular(modality, table, cells)._replace(absent=absent)
        case "vector" if folder is None or not _names_files(cells):
            return _vector(modality, table, cells)._replace(absent=absent)
        case _:
            assert folder
            return _files(modality, cells, folder)


def _lacking(modality: Modality, table: Table) -> tuple[str, ...]:
    there = set(table.header)
    return tuple(name for name in modality.columns if "*" not in name and name not in there)


def _absent(modality: Modality, absent: tuple[str, ...]) -> Reader:
    options: Any = modality.options

    def read(i: int) -> Raw:
        match modality.kind:
            case "image":
                return readers.image([], options)
            case "text":
                return ""
            case "tabular":
                levels = len(options.categorical)
                numbers = np.full(len(modality.columns) - levels, np.nan, np.float32)
                return Tabular(numbers, ("",) * levels)
            case "vector":
                return np.zeros(0, np.float32)
            case _:
                return ()

    return Reader(modality, read, [], [], absent)


def _files(modality: Modality, cells: dict[str, list[str]], folder: Path) -> Reader:
    decode: Any = {
        "image": readers.image,
        "audio": readers.audio,
        "signal": readers.signal,
        "vector": readers.vector,
    }[modality.kind]
    named = [readers.names(";".join(row)) for row in zip(*cells.values(), strict=True)]

    def read(i: int) -> Raw:
        readers.check_count(len(named[i]), modality.options)
        return decode([readers.locate(folder, name) for name in named[i]], modality.options)

    return Reader(modality, read, [], [name for names in named for name in names])


def _text(modality: Modality, cells: dict[str, list[str]], folder: Path | None) -> Reader:
    notes = list(zip(*cells.values(), strict=True))

    def read(i: int) -> Raw:
        return readers.text(notes[i], folder)

    files = [name for row in notes for cell in row for name in readers.note_files(cell, folder)]
    return Reader(modality, read, [], files)


def _tabular(modality: Modality, table: Table, cells: dict[str, list[str]]) -> Reader:
    assert isinstance(modality.options, TabularOptions)
    levels = expand(modality.options.categorical, modality.columns)
    modality = replace(modality, options=TabularOptions(levels))
    numeric = [column for column in modality.columns if column not in levels]
    mend = "Write a number, or leave the cell empty; if the column holds levels, add it to "
    mend += f"`categorical` of [modalities.{modality.name}]."
    values, faults = _numbers(table, cells, numeric, mend)
    categories = list(zip(*(cells[level] for level in levels), strict=True))

    def read(i: int) -> Raw:
        return Tabular(values[i], categories[i] if levels else ())

    return Reader(modality, read, faults, [])


def _vector(modality: Modality, table: Table, cells: dict[str, list[str]]) -> Reader:
    values, faults = _numbers(table, cells, modality.columns, "Leave what is missing empty.")

    def read(i: int) -> Raw:
        return values[i][:0] if np.isnan(values[i]).all() else values[i]

    return Reader(modality, read, faults, [])


def _numbers(
    table: Table, cells: dict[str, list[str]], columns: Iterable[str], mend: str
) -> tuple[np.ndarray, list[RecordError]]:
    found = [tables.numbers(table, column, cells[column], mend) for column in columns]
    faults = [fault for _, wrong in found for fault in wrong]
    shape = (len(found), len(table.rows))
    return np.reshape([values for values, _ in found], shape).T.astype(np.float32), faults


def _names_files(cells: dict[str, list[str]]) -> bool:
    (column, *others) = cells.values()
    first = next((cell for cell in column if cell), "")
    return not others and first.lower().endswith(".npy")


def _stamp(table: Path, folder: Path, names: Iterable[str]) -> str:
    content = hashlib.sha256(table.read_bytes())
    root = str(folder.resolve())
    content.update(root.encode())
    for name in dict.fromkeys(names):
        content.update(f"{name}\0{_state(os.path.join(root, name))}\0".encode())
    return content.hexdigest()


def _state(path: str) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"
