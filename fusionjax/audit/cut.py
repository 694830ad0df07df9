"""What is longer than a card lets its model read."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from fusionjax import preprocess
from fusionjax.audit.types import Warning, some
from fusionjax.card import AudioOptions, Modality, SignalOptions
from fusionjax.preprocess.instances import MOST
from fusionjax.records.ingest import Records


def cut(
    records: Records, rows: Int[np.ndarray, " row"], statistics: tuple[Any, ...]
) -> Iterator[Warning]:
    """Notes, recordings and signals whose end is not read, and files of a record after the eighth.

    They are sought in a few thousand records at most.
    """
    sought, modalities = some(rows), records.card.modalities
    ends, files = np.zeros((2, len(modalities)), int)
    for row in sought:
        for i, (modality, raw) in enumerate(zip(modalities, records.source[row], strict=True)):
            ends[i] += preprocess.is_cut(modality, statistics[i], raw)
            files[i] += modality.kind in ("image", "audio", "signal") and len(raw) > MOST
    for modality, known, longer, more in zip(modalities, statistics, ends, files, strict=True):
        if longer:
            what, mend = _limit(modality, known)
            message = f"{longer} of {len(sought)} records have {what}; the rest is not read. {mend}"
            yield Warning("cut", modality.name, message)
        if more:
            message = f"{more} of {len(sought)} records name over {MOST} files; the first are read."
            yield Warning("cut", modality.name, message)


def _limit(modality: Modality, known: Any) -> tuple[str, str]:
    """What is too long, and how to have it read whole."""
    mend = "Raise `{}` of [modalities.{}] in the card, and fit again, to have it read."
    match modality.options:
        case AudioOptions(seconds=seconds):
            return f"over {seconds:g} s of sound in a file", mend.format("seconds", modality.name)
        case SignalOptions(length=length):
            return f"over {length} samples in a file", mend.format("length", modality.name)
        case options:
            longest = known.length < getattr(options, "length", 0)
            mend = "No training note was longer." if longest else mend
            return f"a note of over {known.length} tokens", mend.format("length", modality.name)
