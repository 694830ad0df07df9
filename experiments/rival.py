"""Another model's predictions of the same records, matched by id."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionjax import evaluation, predictions
from fusionjax.errors import FusionError, RecordError
from fusionjax.predictions import Block, Layout

MEND = "Give predictions of the same records, with the same ids and labels."


class Rival(NamedTuple):
    """The predictions of a whole file by key; the classes are in the order of the other file.

    `row` counts records as the file has them.
    """

    path: Path
    row: Int[np.ndarray, " n"]
    key: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    prob: Float[np.ndarray, "n class"]


def read(path: Path, shape: Layout, tests: int) -> Rival:
    """Read the file. Raises FusionError where it cannot be held against so many test records."""
    if not 0 < tests <= evaluation.MOST:
        raise FusionError(
            f"--against: there are {tests} labelled test records. It compares 1 to "
            f"{evaluation.MOST}, which are kept in memory: mark so many as test."
        )
    other = predictions.layout(path)
    if set(other.classes) != set(shape.classes):
        needed = ", ".join(f"p_{name}" for name in shape.classes)
        problem = f"has other classes than {shape.path.name}"
        raise RecordError(path, 1, None, problem, f"It needs the columns {needed}, and no other.")
    blocks = list(predictions.blocks(other._replace(classes=shape.classes)))
    key, label, prob = (
        np.concatenate([getattr(block, name) for block in blocks])
        for name in ("key", "label", "prob")
    )
    if fault := predictions.repeated(other, key):
        raise fault
    row = np.argsort(key)
    return Rival(path, row, key[row], label[row], prob[row])


def matched(
    rival: Rival, shape: Layout, block: Block, rows: Int[np.ndarray, " m"]
) -> Float[np.ndarray, "m class"]:
    """Its probabilities of some rows of a block. Raises RecordError where id or label differ."""
    place = np.searchsorted(rival.key, block.key[rows])
    at = np.minimum(place, len(rival.key) - 1)
    for name in ("key", "label"):
        differs = getattr(rival, name)[at] != getattr(block, name)[rows]
        if differs.any():
            first = int(np.flatnonzero(differs)[0])
            row = predictions.row_of(shape.path, block.first + int(rows[first]))
            if name == "key":
                problem = f"has no record with the id of row {row} of {shape.path.name}"
                raise RecordError(rival.path, None, "id", problem, MEND)
            problem = f"is another than in row {row} of {shape.path.name}"
            own = predictions.row_of(rival.path, int(rival.row[at[first]]))
            raise RecordError(rival.path, own, "label", problem, MEND)
    return rival.prob[at]
