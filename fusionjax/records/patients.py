"""Who the records are: ids, labels, groups, sites, dates and subgroups, from a table's cells."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from fusionjax.card import Card, nearest
from fusionjax.errors import RecordError
from fusionjax.records import tables
from fusionjax.records.sources import Origin
from fusionjax.records.tables import Table

MOST_CLASSES = 100
"""That a card need not name: more are rather numbers, or notes."""


def describe(
    origin: Origin, labelled: bool
) -> tuple[pd.DataFrame, tuple[str, ...], list[RecordError]]:
    """The table of `Records`, one row a record of the origin, its classes, and what is wrong.

    Raises RecordError where the label column has too many values to be classes.
    """
    card, table = origin.card, origin.table
    label, classes, faults = _label(card, table)
    columns = card.columns
    identity = _cells(card, table, columns.id) if columns.id else _numbered(table)
    group = _cells(card, table, columns.group)
    date, bad_dates = _date(card, table)
    faults += [*bad_dates, *_bad_ids(table, columns.id, identity)]
    faults += _no_group(table, columns.group, group) if labelled else []
    patients = pd.DataFrame(
        {
            "id": identity,
            "label": np.array(label, np.int64),
            "group": [name or own for name, own in zip(group, identity, strict=True)],
            "site": _cells(card, table, columns.site),
            "date": date,
            "split": _cells(card, table, columns.split) if columns.split else origin.split,
            "row": np.array(table.rows, np.int64),
            **{name: _cells(card, table, name) for name in columns.subgroups},
        }
    )
    return patients, classes, faults


def marked(origin: Origin) -> dict[str, int]:
    """How often each mark of `missing`, but for an empty cell, stands where the label should."""
    card, table = origin.card, origin.table
    classes = {*card.classes, *card.labels, *card.ignore}
    marks = {mark.strip() for mark in card.missing} - classes - {""}
    return dict(
        Counter(cell for cell in table.columns.get(card.columns.label, ()) if cell in marks)
    )


def _cells(card: Card, table: Table, column: str | None) -> list[str]:
    if column is None or column not in table.columns:
        return [""] * len(table.rows)
    return tables.cells(table, column, card.missing)


def _numbered(table: Table) -> list[str]:
    return [str(row) for row in table.rows]


def _label(card: Card, table: Table) -> tuple[list[int], tuple[str, ...], list[RecordError]]:
    column = card.columns.label
    if column not in table.columns:
        return [-1] * len(table.rows), card.classes, []
    known = {*card.classes, *card.labels}
    absent = (set(card.missing) | set(card.ignore)) - known
    raw = tables.cells(table, column, absent)
    names = [card.labels.get(cell, cell) for cell in raw]
    classes = card.classes or _classes(table, column, names)
    index = {name: i for i, name in enumerate(classes)} | {"": -1}
    faults = [
        _fault(table, i, column, *_unknown(cell, sorted(known)))
        for i, (cell, name) in enumerate(zip(raw, names, strict=True))
        if name not in index
    ]
    return [index.get(name, -1) for name in names], classes, faults


def _classes(table: Table, column: str, names: Sequence[str]) -> tuple[str, ...]:
    classes = tuple(sorted({name for name in names if name and ";" not in name}))
    if len(classes) > MOST_CLASSES:
        problem = f"{len(classes)} different labels; labels are classes, and not numbers or notes"
        raise RecordError(table.path, 1, column, problem, "Name the classes under [label].")
    return classes


def _unknown(cell: str, known: Sequence[str]) -> tuple[str, str]:
    if ";" in cell:
        return "several labels", "Classes are exclusive: name one."
    shown = repr(cell) if len(cell) <= 40 and len(cell.split()) <= 3 else "a text"
    mend = "Mend it, name it under [label] as a class or in map, or ignore it there."
    return f"unknown label {shown}", f"{nearest(cell, known)} {mend}"


def _bad_ids(table: Table, column: str | None, identity: list[str]) -> Iterator[RecordError]:
    first: dict[str, int] = {}
    for i, name in enumerate(identity):
        if not name:
            yield _fault(table, i, column, "no id", "Give every record one.")
        elif name in first:
            problem = f"duplicate id, also in row {table.rows[first[name]]}"
            yield _fault(table, i, column, problem, "Remove one, or name them apart.")
        else:
            first[name] = i


def _no_group(table: Table, column: str | None, group: list[str]) -> Iterator[RecordError]:
    for i, name in enumerate(group):
        if column and not name:
            mend = "Name it: the records of one patient must not be parted."
            yield _fault(table, i, column, "no group", mend)


def _date(card: Card, table: Table) -> tuple[pd.Series, list[RecordError]]:
    cells = pd.Series(_cells(card, table, card.columns.date), dtype=object)
    parsed = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
    bad = np.flatnonzero((cells != "") & parsed.isna())
    mend = "Write it as 2024-12-31."
    faults = [_fault(table, i, card.columns.date, "no date", mend) for i in bad.tolist()]
    return parsed.dt.tz_localize(None), faults


def _fault(table: Table, i: int, column: str | None, problem: str, mend: str) -> RecordError:
    return RecordError(table.path, table.rows[i], column, problem, mend)
