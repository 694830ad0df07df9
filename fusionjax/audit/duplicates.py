"""Records that stand on two sides of the split, and files of two patients."""

from collections.abc import Iterator

import numpy as np

from fusionjax.audit.types import Warning, digests
from fusionjax.card import SPLITS
from fusionjax.records.ingest import Records
from fusionjax.splits import Split, shared

FILES = ("image", "audio", "signal")


def duplicates(records: Records, split: Split) -> Iterator[Warning]:
    """Records with the same content on two sides of the split, and files that two groups have."""
    rows = np.concatenate(split)
    side = np.repeat(SPLITS, [len(part) for part in split])
    table = records.table.iloc[rows]
    line, group, parts = table["row"].tolist(), table["group"].tolist(), digests(records)[rows]
    whole = list(shared([";".join(part).strip(";") for part in parts], side))
    if whole:
        message = f"Records with a double on another side of the split: {_first(whole, line)}."
        yield Warning("duplicate", "records", f"{message} Give both one group, or remove one.")
    for i, modality in enumerate(records.card.modalities):
        files = list(shared(parts[:, i], group)) if modality.kind in FILES else []
        if files:
            message = f"Records that share files with another group: {_first(files, line)}."
            yield Warning("duplicate", modality.name, f"{message} Are they one patient?")


def _first(pairs: list[tuple[int, int]], line: list[int]) -> str:
    j, i = pairs[0]
    return f"{len(pairs)}, the first in rows {line[j]} and {line[i]}"
