"""A table of records, CSV or Parquet, as columns of text cells that remember their row.

Rows are counted as a spreadsheet counts them: the header is row 1, a cell with line breaks is one
row, and an empty row has its number too.
"""

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fusionjax.card import expand, nearest
from fusionjax.errors import RecordError

LARGEST_TABLE = 2 << 30  # bytes
MOST_ROWS = 20_000_000
MOST_COLUMNS = 200_000


class Table(NamedTuple):
    """The columns that were asked for, cell by cell without surrounding blanks.

    `rows[i]` is the row of record i in the file. Rows that cannot be read are not among the
    records; `faults` says why.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[int, ...]
    columns: Mapping[str, list[str]]
    faults: tuple[RecordError, ...] = ()


def read(path: Path, columns: Iterable[str]) -> Table:
    """Read those `columns` (`*` is a wildcard) that a CSV or Parquet file has.

    Raises RecordError where the file is missing, too large, empty or not what its name says.
    """
    if not path.is_file():
        raise RecordError(path, None, None, "there is no such table", "Check the name.")
    if path.stat().st_size > LARGEST_TABLE:
        raise RecordError(path, None, None, "is larger than 2 GiB", "Split the table.")
    table = (_parquet if path.suffix.lower() == ".parquet" else _csv)(path, columns)
    if not table.rows and not table.faults:
        raise RecordError(path, None, None, "has no records", "Add a row for each record.")
    return table


def require(table: Table, columns: Iterable[str]) -> None:
    """Raise RecordError where the table lacks one of `columns`, or all that a wildcard means."""
    for column in columns:
        if not expand((column,), table.header):
            mend = nearest(column, table.header[:50])
            raise RecordError(table.path, 1, column, "the table has no such column", mend)


def cells(table: Table, column: str, missing: Collection[str]) -> list[str]:
    """The cells of a column, "" where they mean "not there"."""
    absent = {mark.strip() for mark in missing}
    return ["" if cell in absent else cell for cell in table.columns[column]]


def numbers(
    table: Table, column: str, present: list[str], mend: str
) -> tuple[Float[np.ndarray, " record"], list[RecordError]]:
    """A column's cells as float32, NaN where "", and a fault for each that is no finite number.

    `mend` tells what to do about a fault, where there is nothing better to say.
    """
    texts = [cell or "nan" for cell in present]
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        values = np.array([_number(text) for text in texts])
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    bad = np.flatnonzero(np.isinf(values))
    return values, [_not_a_number(table, i, column, texts[i], mend) for i in bad.tolist()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.inf


def _not_a_number(table: Table, i: int, column: str, cell: str, mend: str) -> RecordError:
    shown = repr(cell) if len(cell) <= 20 and len(cell.split()) == 1 else "text"
    comma = "," in cell and np.isfinite(_number(cell.replace(",", "")))
    mend = "Write decimals with a point, and thousands without a comma." if comma else mend
    return RecordError(
        table.path, table.rows[i], column, f"{shown} in a column of finite numbers", mend
    )


def _csv(path: Path, columns: Iterable[str]) -> Table:
    text = _decode(path)
    numbered = _numbered(path, text)
    header = _header(path, [name.strip() for name in next(numbered, (1, []))[1]])
    names = expand(columns, header)
    places = [header.index(name) for name in names]
    has_nul = "\0" in text
    rows, kept, faults = [], [], []
    for row, found in numbered:
        if not any(cell.strip() for cell in found):
            continue
        if fault := _row_fault(path, row, found, len(header), has_nul):
            faults.append(fault)
        else:
            rows.append(row)
            kept.append([found[place].strip() for place in places])
    by_column = zip(*kept, strict=True) if kept else ([] for _ in names)
    filled = {name: list(column) for name, column in zip(names, by_column, strict=True)}
    return Table(path, header, tuple(rows), filled, tuple(faults))


def _decode(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecordError(path, None, None, "is UTF-16 text", "Save it as CSV in UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"line {line} of the file is not UTF-8 text"
        raise RecordError(path, None, None, problem, "Save it as CSV in UTF-8.") from None


def _numbered(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    # strict: else a quote that is never closed swallows the rest of the table without a word.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    row = 0
    try:
        for row, found in enumerate(reader, start=1):
            yield row, found
    except csv.Error as error:
        large = "field limit" in str(error)
        problem = "a cell is larger than 128 KiB" if large else "the quotes do not match"
        mend = "Put a long note in a .txt file." if large else 'Write a quote in a cell as "".'
        raise RecordError(path, row + 1, None, problem, mend) from None


def _header(path: Path, header: list[str]) -> tuple[str, ...]:
    if not any(header):
        raise RecordError(path, 1, None, "has no header", "Name the columns in the first row.")
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and mark in header[0]:
            problem = f"the columns are separated by {name}"
            raise RecordError(path, 1, None, problem, "Save the table with commas.")
    if len(header) > MOST_COLUMNS:
        problem = f"has {len(header)} columns"
        raise RecordError(path, 1, None, problem, f"Expected {MOST_COLUMNS} at most.")
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise RecordError(path, 1, twice[0], "two columns have this name", "Rename one of them.")
    return tuple(header)


def _row_fault(
    path: Path, row: int, found: list[str], width: int, has_nul: bool
) -> RecordError | None:
    if has_nul and any("\0" in cell for cell in found):
        return RecordError(path, row, None, "a cell holds a NUL byte", "Remove it.")
    if len(found) >= width and not any(found[width:]):
        return None
    problem = f"has {len(found)} cells where the header has {width}"
    return RecordError(path, row, None, problem, "Quote a cell that holds a comma.")


def _parquet(path: Path, columns: Iterable[str]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    too_large = RecordError(path, None, None, "unpacks to over 2 GiB", "Split the table.")
    try:
        with pq.ParquetFile(path) as file:
            header = _header(path, file.schema_arrow.names)
            names = expand(columns, header)
            if file.metadata.num_rows > MOST_ROWS:
                raise RecordError(path, None, None, "has over 20 million rows", "Split the table.")
            groups = range(file.metadata.num_row_groups)
            if sum(file.metadata.row_group(g).total_byte_size for g in groups) > LARGEST_TABLE:
                raise too_large
            types = {name: file.schema_arrow.field(name).type for name in names}
            for name, kind in types.items():
                if pa.types.is_nested(kind):
                    raise _no_cell(path, name, kind)
        # A few bytes can stand for many long cells: they stay packed until their size is known.
        packed = [name for name, kind in types.items() if not pa.types.is_primitive(kind)]
        with pq.ParquetFile(path, read_dictionary=packed) as file:
            filled = _unpacked(path, names, file.iter_batches(columns=list(names)))
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        problem = "is damaged, or not a Parquet file"
        raise RecordError(path, None, None, problem, "Write it again.") from None
    return Table(path, header, tuple(range(2, rows + 2)), filled)


def _unpacked(path: Path, names: tuple[str, ...], batches: Iterable) -> dict[str, list[str]]:
    filled: dict[str, list[str]] = {name: [] for name in names}
    size = 0
    for batch in batches:
        for name in names:
            column = batch.column(name)
            size += _unpacked_bytes(column)
            if size > LARGEST_TABLE:
                raise RecordError(path, None, None, "unpacks to over 2 GiB", "Split the table.")
            filled[name] += _texts(path, name, column)
    return filled


def _unpacked_bytes(column) -> int:
    import pyarrow as pa
    from pyarrow import compute as pc

    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary)  # pyright: ignore
    return pc.sum(lengths.take(column.indices)).as_py() or 0  # pyright: ignore


def _texts(path: Path, name: str, column) -> list[str]:
    import pyarrow as pa

    try:
        texts = column.cast(pa.string())
    except pa.ArrowException:
        raise _no_cell(path, name, column.type) from None
    nan = "nan" if pa.types.is_floating(column.type) else ""
    texts = texts.fill_null("").to_pylist()
    return ["" if text == nan else text.strip().replace("\0", "") for text in texts]


def _no_cell(path: Path, name: str, kind: object) -> RecordError:
    problem = f"holds {kind}, which is neither text nor number"
    return RecordError(path, 1, name, problem, "Store one value a cell.")
