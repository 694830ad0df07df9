"""Labels that are read as none, and classes of which too little is known."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from fusionjax.audit.types import SUPPORT, Warning
from fusionjax.records.ingest import Records
from fusionjax.splits import Split


def unlabelled(records: Records) -> Iterator[Warning]:
    """Labels that read like a gap: a class may be called None, or null in another language."""
    for mark, count in records.marked.items():
        yield Warning(
            "label",
            str(records.card.columns.label),
            f"{mark!r} stands in {count} records and means no label, as `missing` says: they are "
            "not learnt from. If it is a class, name all classes under [label].",
        )


def rare(records: Records, split: Split) -> Iterator[Warning]:
    """Classes of fewer than 5 training patients, or of no test patient."""
    train, test = (_patients(records, rows) for rows in (split.train, split.test))
    few = [
        f"{name!r} ({learnt} in training, {tested} in test)"
        for name, learnt, tested in zip(records.card.classes, train, test, strict=True)
        if learnt < SUPPORT or not tested
    ]
    if few:
        yield Warning(
            "class",
            str(records.card.columns.label),
            f"few patients of {', '.join(few)}: what is said of such a class is hardly learnt, or "
            "not measured. Merge it by map, or ignore it, under [label].",
        )


def _patients(records: Records, rows: Int[np.ndarray, " row"]) -> list[int]:
    """How many patients of each class there are in these rows."""
    table = records.table.iloc[rows]
    found = table.groupby("label")["group"].nunique()
    return found.reindex(range(len(records.card.classes)), fill_value=0).tolist()
