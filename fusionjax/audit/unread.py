"""What is not there to be read, or says nothing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from fusionjax.audit.types import SUPPORT, Warning, digests
from fusionjax.card import Card, Modality, TabularOptions
from fusionjax.records.ingest import Records

MOST_NAMED = 8


def unread(records: Records, rows: Int[np.ndarray, " row"]) -> tuple[Warning, ...]:
    """What these records lack, though the card names it.

    - absent: a column that a table to predict for lacks, or a modality that none of the records
      has, of 5 at least.
    - nothing: records that have no modality at all.
    """
    there = digests(records)[rows] != ""
    return (
        *(
            warning
            for modality, has in zip(records.card.modalities, there.T, strict=True)
            for warning in _absent(modality, records.absent, has)
        ),
        *_nothing(there),
    )


def mute(card: Card, statistics: tuple[Any, ...]) -> Iterator[Warning]:
    """Columns of tables from which nothing is learnt: one value or none, 1 % of others aside."""
    for modality, known in zip(card.modalities, statistics, strict=True):
        if isinstance(modality.options, TabularOptions):
            levels = modality.options.categorical
            numeric = [name for name in modality.columns if name not in levels]
            one = [
                name for name, flat in zip(numeric, known.low == known.high, strict=True) if flat
            ]
            one += [name for name, few in zip(levels, known.levels, strict=True) if len(few) < 2]
            if one:
                message = f"nearly all training records have one value, or none, of {_named(one)}."
                yield Warning("mute", modality.name, f"{message} Nothing is learnt from it.")


def _named(columns: list[str]) -> str:
    return ", ".join(map(repr, columns[:MOST_NAMED])) + ", …" * (len(columns) > MOST_NAMED)


def _absent(
    modality: Modality, absent: tuple[str, ...], has: Bool[np.ndarray, " record"]
) -> Iterator[Warning]:
    known = set(absent)
    lacking = [name for name in modality.columns if name in known]
    if lacking:
        yield Warning(
            "absent",
            modality.name,
            f"the table lacks {len(lacking)} of {len(modality.columns)} columns: "
            f"{_named(lacking)}. Their values count as missing in every record. Spell columns as "
            "in training.",
        )
    elif len(has) >= SUPPORT and not has.any():
        yield Warning("absent", modality.name, f"none of {len(has)} records has it.")


def _nothing(there: Bool[np.ndarray, "record modality"]) -> Iterator[Warning]:
    empty = int((~there.any(axis=1)).sum())
    if empty:
        yield Warning(
            "nothing",
            "records",
            f"{empty} of {len(there)} have no modality at all: of them the model says "
            "only how frequent each class is.",
        )
