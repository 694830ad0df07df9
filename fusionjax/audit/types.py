"""What is told, and of how many records at most it is sought."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from fusionjax.records.ingest import Records

SUPPORT = 5
"""Records that something is told of, at least."""
MOST_RECORDS = 4000
MOST_WARNINGS = 5
"""Of a modality, or of a column."""


class Warning(NamedTuple):
    """Something to look into, and where; `kind` is one word, as level or duplicate."""

    kind: str
    where: str
    message: str


def some(rows: Int[np.ndarray, " row"]) -> list[int]:
    """Evenly spaced ones of the rows, a few thousand at most."""
    return rows[:: -(-len(rows) // MOST_RECORDS) or 1].tolist()


def digests(records: Records) -> Shaped[np.ndarray, "record modality"]:
    """The hash of what each record has of each modality, "" where it has nothing."""
    split = [digest.split(";") for digest in records.table["digest"]]
    return np.array(split, str).reshape(len(split), len(records.card.modalities))
