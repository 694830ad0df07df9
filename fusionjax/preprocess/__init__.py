"""φ: from raw records to `Inputs`, one file a kind of modality.

Each file has `Statistics`, `fit(raws, options)` on training records and `apply(statistics, raws,
options)` on any; nothing is fitted in `apply`, and statistics are values that a model carries.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from fusionjax.card import Kind, Modality
from fusionjax.preprocess import audio, image, signal, tabular, text, vector
from fusionjax.types import Inputs

KINDS: Mapping[Kind, ModuleType] = {
    "image": image,
    "text": text,
    "audio": audio,
    "signal": signal,
    "tabular": tabular,
    "vector": vector,
}


def fit(modality: Modality, raws: Sequence[Any]) -> Any:
    """The `Statistics` of a modality's kind on training records; missing ones are skipped."""
    return KINDS[modality.kind].fit(raws, modality.options)


def apply(modality: Modality, statistics: Any, raws: Sequence[Any]) -> Inputs:
    """NumPy `Inputs` of some records; a missing one is masked throughout."""
    return KINDS[modality.kind].apply(statistics, raws, modality.options)


def is_cut(modality: Modality, statistics: Any, raw: Any) -> bool:
    """Whether a record's note, recording or signal is longer than what `apply` reads of it."""
    sequential = modality.kind in ("text", "audio", "signal")
    return sequential and KINDS[modality.kind].is_cut(statistics, raw, modality.options)


def to_arrays(statistics: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Statistics as arrays and JSON values by field name, from which `from_arrays` makes them."""
    fields = statistics._asdict()
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    return arrays, {name: value for name, value in fields.items() if name not in arrays}


def from_arrays(kind: Kind, arrays: Mapping[str, np.ndarray], plain: Mapping[str, Any]) -> Any:
    """Statistics from what `to_arrays` gave, after a round trip through JSON or not.

    Raises TypeError where a field is lacking or unknown.
    """
    return KINDS[kind].Statistics(**arrays, **{name: _frozen(v) for name, v in plain.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
