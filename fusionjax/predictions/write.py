"""Calibrated predictions as CSV: written block by block, whole or not at all, safe to open."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from fusionjax.predictions.read import SPLITS, Block, Layout

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FORMULA_PATTERN = r"^[=+\-@\t\r]"


@contextmanager
def writing(path: Path) -> "Iterator[Callable[[pa.Table], None]]":
    """A function that appends a table to a draft beside `path`; at the end it takes its place."""
    from pyarrow import csv as arrow

    draft = path.with_name(path.name + ".draft")
    open_files: list[Any] = []

    def write(table: "pa.Table") -> None:
        if not open_files:
            open_files.append(arrow.CSVWriter(draft, table.schema))
        open_files[0].write_table(table)

    try:
        yield write
        for file in open_files:
            file.close()
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def calibrated(
    shape: Layout,
    block: Block,
    split: np.ndarray,
    prob: Float[np.ndarray, "n class"],
    chosen: Bool[np.ndarray, "n class"],
) -> "pa.Table":
    """The columns of `predictions.csv`: as given, then prediction, probabilities, entropy, set."""
    import pyarrow as pa

    names = np.array([*shape.classes, ""], object)
    cells = pa.array([spreadsheet_safe(str(name)) for name in names], pa.string())
    columns = {name: spreadsheet_safe_column(text) for name, text in block.text.items()}
    columns["label"] = cells.take(pa.array(block.label % len(names)))
    columns["split"] = pa.array(SPLITS, pa.string()).take(pa.array(split.astype(np.int64)))
    for name, values in block.strata.items():
        columns[spreadsheet_safe(name)] = spreadsheet_safe_column(pa.array(values, pa.string()))
    columns["prediction"] = cells.take(pa.array(prob.argmax(axis=1)))
    for k, name in enumerate(shape.classes):
        columns[f"p_{name}"] = pa.array(prob[:, k].astype(np.float32))
    columns["total"] = pa.array(_entropy(prob).astype(np.float32))
    columns["prediction_set"] = _joined(chosen, names[:-1])
    return pa.table(columns)


def spreadsheet_safe(cell: str) -> str:
    """The cell, behind an apostrophe where a spreadsheet would take it for a formula."""
    return "'" + cell if cell.startswith(_FORMULA) else cell


def spreadsheet_safe_column(column: "pa.Array") -> "pa.Array":
    """`spreadsheet_safe` of a column of text."""
    import pyarrow as pa
    from pyarrow import compute as pc

    risky = pc.match_substring_regex(column, _FORMULA_PATTERN)  # pyright: ignore
    if not pc.any(risky).as_py():  # pyright: ignore
        return column
    marked = pc.binary_join_element_wise(pa.scalar("'"), column, pa.scalar(""))  # pyright: ignore
    return pc.if_else(risky, marked, column)  # pyright: ignore


def _entropy(prob: np.ndarray) -> np.ndarray:
    """In nats."""
    return -np.sum(prob * np.log(np.where(prob > 0, prob, 1.0)), axis=1)


def _joined(chosen: np.ndarray, classes: np.ndarray) -> "pa.Array":
    """Each set's classes, joined by ";": few different sets occur, so each is joined once."""
    import pyarrow as pa

    packed = np.packbits(chosen, axis=1)
    codes = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, index = np.unique(codes, return_index=True, return_inverse=True)
    names = [spreadsheet_safe(";".join(classes[chosen[row]])) for row in first]
    return pa.array(names, pa.string()).take(pa.array(index.ravel()))
