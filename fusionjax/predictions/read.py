"""Any model's predictions: a CSV with `id`, `label` and a `p_CLASS` for each class, block by block.

Optional columns are `split` (train, validation, test), `group` (the patient), `site`, `pattern`
and any subgroups. Blocks bound the memory, whatever the length of the file; what cannot be used is
refused by file, row and column, and no cell is quoted. Rows are counted as a spreadsheet does.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionjax.errors import RecordError

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "validation", "test")
STRATA = ("site", "pattern")
TAKEN = ("id", "group", "split", "prediction", "total", "prediction_set")
BLOCK_BYTES = 16 << 20
TOLERANCE = 1e-3


class Layout(NamedTuple):
    """Which columns a file has; `strata` are site, pattern and subgroups, in that order."""

    path: Path
    classes: tuple[str, ...]
    labelled: bool
    split: bool
    group: bool
    strata: tuple[str, ...]


class Block(NamedTuple):
    """Some records. `label` is −1 where unknown; `hashed` is of the patient, `key` of the id.

    `prob` is float64 and sums to 1; `text` holds the columns that are handed through, as they came.
    """

    first: int
    key: Int[np.ndarray, " n"]
    hashed: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    prob: Float[np.ndarray, "n class"]
    split: np.ndarray
    strata: dict[str, np.ndarray]
    text: "dict[str, pa.Array]"


def layout(path: Path, subgroups: tuple[str, ...] = ()) -> Layout:
    """Read the header. Raises RecordError where the file cannot be one of predictions."""
    if not path.is_file():
        raise RecordError(path, None, None, "there is no such file", "Check the name.")
    header = _header(path)
    classes = tuple(name[2:] for name in header if name.startswith("p_") and len(name) > 2)
    if len(classes) < 2:
        problem = f"has {len(classes)} columns named p_CLASS"
        raise RecordError(path, 1, None, problem, "Give a probability for two classes or more.")
    for name in classes:
        if ";" in name:
            mend = "Name the class without: it joins the classes of a prediction set."
            raise RecordError(path, 1, f"p_{name}", "the class holds ';'", mend)
    for name in subgroups:
        if name in TAKEN or name.startswith("p_"):
            mend = "Leave it out of --subgroups, or give it another name in the file."
            raise RecordError(path, 1, name, "is no subgroup: the name has a meaning", mend)
    for needed in ("id", *subgroups):
        if needed not in header:
            mend = (
                "Add it, with a different name for each record."
                if needed == "id"
                else ("Check --subgroups against the header.")
            )
            raise RecordError(path, 1, needed, "there is no such column", mend)
    strata = tuple(dict.fromkeys([*(s for s in STRATA if s in header), *subgroups]))
    return Layout(path, classes, "label" in header, "split" in header, "group" in header, strata)


def blocks(shape: Layout) -> Iterator[Block]:
    """The records in order, checked. Raises RecordError at the first that cannot be used."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    named = pa.dictionary(pa.int32(), pa.string())
    roles = [name for name in ("label", "split") if getattr(shape, _ROLE[name])]
    types = {f"p_{name}": pa.float64() for name in shape.classes}
    types |= dict.fromkeys((*roles, *shape.strata), named)
    types |= {name: pa.string() for name in ("id", *(["group"] if shape.group else []))}
    try:
        reader = arrow.open_csv(
            shape.path,
            read_options=arrow.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=arrow.ParseOptions(newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=[""],
                strings_can_be_null=False,
            ),
        )
        first = 0
        for batch in reader:
            yield _block(shape, batch, first)
            first += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _explained(shape, error) from None
    if first == 0:
        raise RecordError(shape.path, None, None, "has no records", "Add a row for each record.")


def repeated(shape: Layout, keys: Int[np.ndarray, " n"]) -> RecordError | None:
    """The fault of the first id that stands twice, from the `key` of every record in order."""
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    at = order[twice + 1].min()
    before = int(np.flatnonzero(keys == keys[at])[0])
    problem = f"row {row_of(shape.path, before)} has the same id"
    return RecordError(
        shape.path, row_of(shape.path, int(at)), "id", problem, "Give each record its own id."
    )


def row_of(path: Path, record: int) -> int:
    """The row in which record number `record` (from 0) stands; empty rows hold no record."""
    for row, cells in _rows(path):
        if row > 1 and cells:
            if record == 0:
                return row
            record -= 1
    return -1


_ROLE = {"label": "labelled", "split": "split"}


def _block(shape: Layout, batch: "pa.RecordBatch", first: int) -> Block:
    from pandas.core.util.hashing import hash_array

    ids = batch.column("id")
    names = ids.to_numpy(zero_copy_only=False)
    if (empty := np.flatnonzero(names == "")).size:
        raise _fault(shape, first + empty[0], "id", "is empty", "Give each record its own id.")
    key = hash_array(names, categorize=False).view(np.int64)
    group = batch.column("group") if shape.group else ids
    hashed = key
    if shape.group:
        # A record without a patient's name is a patient of its own.
        patients = group.to_numpy(zero_copy_only=False)
        hashed = hash_array(patients, categorize=False).view(np.int64)
        hashed = np.where(patients == "", key, hashed)
    return Block(
        first=first,
        key=key,
        hashed=hashed,
        label=_labels(shape, batch, first),
        prob=_probabilities(shape, batch, first),
        split=_splits(shape, batch, first),
        strata={name: _texts(batch.column(name)) for name in shape.strata},
        text={"id": ids, **({"group": group} if shape.group else {})},
    )


def _probabilities(shape: Layout, batch: "pa.RecordBatch", first: int) -> np.ndarray:
    columns = [f"p_{name}" for name in shape.classes]
    prob = np.stack([batch.column(c).to_numpy(zero_copy_only=False) for c in columns], axis=1)
    total = prob.sum(axis=1)
    # One comparison that NaN fails as well: the usual file pays for nothing else.
    good = (prob.min(axis=1) >= 0) & (np.abs(total - 1) <= TOLERANCE)
    if good.all():
        return prob / total[:, None]
    at = int(np.flatnonzero(~good)[0])
    row = prob[at]
    for name, value in zip(columns, row, strict=True):
        if not np.isfinite(value):
            raise _fault(shape, first + at, name, "holds no finite number", "Write it as 0.25.")
        if value < 0:
            raise _fault(shape, first + at, name, "is negative", "Give probabilities, not scores.")
    problem = f"the probabilities of this row sum to {row.sum():.4g}"
    raise _fault(shape, first + at, f"{columns[0]} … {columns[-1]}", problem, _mended(row))


def _mended(row: np.ndarray) -> str:
    """What to do about probabilities that do not sum to 1."""
    if abs(row.sum() - 1) <= 0.006 * len(row):
        return "Rounded numbers may miss 1 by 0.001 in all: write more decimals."
    if abs(row.sum() - 100) <= 0.5 * len(row):
        return "They look like percentages: divide them by 100."
    return "They must sum to 1: classes are exclusive, and scores or logits are no probabilities."


def _labels(shape: Layout, batch: "pa.RecordBatch", first: int) -> np.ndarray:
    if not shape.labelled:
        return np.full(batch.num_rows, -1)
    known = {name: k for k, name in enumerate(shape.classes)} | {"": -1}
    codes, names = _coded(batch.column("label"))
    numbers = np.array([known.get(name, -2) for name in names] or [-1])
    label = numbers[codes]
    if (wrong := np.flatnonzero(label == -2)).size:
        shown = ", ".join(shape.classes[:8]) + ", …" * (len(shape.classes) > 8)
        mend = f"A label is what a column has after its p_ ({shown}), or empty."
        raise _fault(shape, first + wrong[0], "label", "names no class of this file", mend)
    return label


def _splits(shape: Layout, batch: "pa.RecordBatch", first: int) -> np.ndarray:
    """0 train, 1 validation, 2 test; −1 throughout where the file has no splits."""
    if not shape.split:
        return np.full(batch.num_rows, -1, np.int8)
    codes, names = _coded(batch.column("split"))
    numbers = np.array([SPLITS.index(n) if n in SPLITS else -2 for n in names] or [-2], np.int8)
    split = numbers[codes]
    if (wrong := np.flatnonzero(split == -2)).size:
        mend = f"Write {', '.join(SPLITS)}."
        raise _fault(shape, first + wrong[0], "split", "is no split", mend)
    return split


def _texts(column: "pa.Array") -> np.ndarray:
    codes, names = _coded(column)
    return np.array(names or [""], object)[codes]


def _coded(column: "pa.Array") -> tuple[np.ndarray, list[str]]:
    return column.indices.to_numpy(), column.dictionary.to_pylist()  # pyright: ignore


def _fault(
    shape: Layout, record: int | np.integer, column: str, problem: str, mend: str
) -> RecordError:
    return RecordError(shape.path, row_of(shape.path, int(record)), column, problem, mend)


def _explained(shape: Layout, error: Exception) -> RecordError:
    """What stopped the fast reader, found by a slow one that knows rows and columns."""
    header: list[str] = []
    wanted = {f"p_{name}" for name in shape.classes}
    for row, cells in _rows(shape.path):
        if row == 1:
            header = cells
        elif cells and len(cells) != len(header):
            problem = f"has {len(cells)} cells where the header has {len(header)}"
            return RecordError(shape.path, row, None, problem, "Quote a cell that holds a comma.")
        for name, cell in zip(header, cells, strict=False):
            if row > 1 and name in wanted and not _is_number(cell):
                mend = "Write decimals with a point, and nothing else in the cell."
                return RecordError(shape.path, row, name, "holds no finite number", mend)
    kind = type(error).__name__
    return RecordError(
        shape.path, None, None, f"cannot be read as CSV ({kind})", "Save it as CSV in UTF-8."
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip() and "_" not in cell


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield from enumerate(csv.reader(file, strict=True), start=1)
        except UnicodeDecodeError:
            raise RecordError(
                path, None, None, "is not UTF-8 text", "Save it as CSV in UTF-8."
            ) from None
        except csv.Error:
            raise RecordError(
                path, None, None, "the quotes do not match", 'Write a quote in a cell as "".'
            ) from None


def _header(path: Path) -> list[str]:
    header = next(iter(_rows(path)), (1, []))[1]
    if not any(header):
        raise RecordError(path, 1, None, "has no header", "Name the columns in the first row.")
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            problem = f"the columns are separated by {name}"
            raise RecordError(path, 1, None, problem, "Save the table with commas.")
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        raise RecordError(path, 1, twice[0], "two columns have this name", "Rename one of them.")
    return header
