"""What a model would misread in records that are not those of its training."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from fusionjax.audit.types import MOST_WARNINGS, SUPPORT, Warning, some
from fusionjax.card import Modality, TabularOptions
from fusionjax.preprocess import tabular
from fusionjax.records.ingest import Records

BEYOND = 0.2
"""Of a column's numbers; one in a hundred lies beyond the limits by which training clips."""


def misread(
    records: Records, rows: Int[np.ndarray, " row"], statistics: tuple[Any, ...]
) -> tuple[Warning, ...]:
    """What a model with these statistics cannot read in some records, a few thousand at most.

    - level: a level that it does not know, in 5 records at least.
    - range: a fifth of a column's numbers, and 5 at least, lie beyond those of training.
    """
    raws = [records.source[i] for i in some(rows)]
    found = []
    for i, (modality, known) in enumerate(zip(records.card.modalities, statistics, strict=True)):
        if isinstance(modality.options, TabularOptions) and raws:
            mine = [raw[i] for raw in raws]
            found += [
                *_levels(modality, mine, known),
                *_numbers(modality, mine, known),
            ]
    return tuple(found)


def _levels(modality: Modality, raws: list[Any], known: tabular.Statistics) -> Iterator[Warning]:
    assert isinstance(modality.options, TabularOptions)
    for name, cells, levels in zip(
        modality.options.categorical,
        zip(*(raw[1] for raw in raws), strict=True),
        known.levels,
        strict=True,
    ):
        strange = Counter(cell for cell in cells if cell and cell not in levels)
        named = ", ".join(map(repr, levels[:8])) + ", …" * (len(levels) > 8)
        for level, count in strange.most_common(MOST_WARNINGS):
            if count >= SUPPORT:
                yield Warning(
                    "level",
                    modality.name,
                    f"{name} = {level!r} is new to the model, in {count} of {len(raws)} records: "
                    f"to it they have none of {named}. Spell levels alike.",
                )


def _numbers(modality: Modality, raws: list[Any], known: tabular.Statistics) -> Iterator[Warning]:
    assert isinstance(modality.options, TabularOptions)
    names = [name for name in modality.columns if name not in modality.options.categorical]
    values = np.stack([raw[0] for raw in raws])
    there = np.isfinite(values).sum(axis=0)
    beyond = ((values < known.low) | (values > known.high)).sum(axis=0)
    for j in np.flatnonzero((beyond >= SUPPORT) & (beyond > BEYOND * there)):
        yield Warning(
            "range",
            modality.name,
            f"{names[j]}: {beyond[j]} of {there[j]} numbers lie beyond {known.low[j]:.4g} to "
            f"{known.high[j]:.4g}, where nearly all training records lie, and count as the nearer "
            "end. Is it in the same unit?",
        )
