"""The dataset card: what `dataset.toml` says about a folder of records, checked word by word.

`load` reads the file, `from_dict` the same content as a dict, and `dumps` writes that dict again,
so that a saved model carries its card.
"""

from fusionjax.card.file import dumps, from_dict, load
from fusionjax.card.nouns import (
    ENCODERS,
    MISSING,
    SPLITS,
    UNTRAINED,
    AudioOptions,
    By,
    Card,
    Columns,
    ImageOptions,
    Kind,
    Modality,
    Options,
    SignalOptions,
    SplitPlan,
    TabularOptions,
    TextOptions,
    TfdsSource,
    VectorOptions,
    expand,
)
from fusionjax.card.values import escapes, nearest

__all__ = [
    "ENCODERS",
    "MISSING",
    "SPLITS",
    "UNTRAINED",
    "AudioOptions",
    "By",
    "Card",
    "Columns",
    "ImageOptions",
    "Kind",
    "Modality",
    "Options",
    "SignalOptions",
    "SplitPlan",
    "TabularOptions",
    "TextOptions",
    "TfdsSource",
    "VectorOptions",
    "dumps",
    "escapes",
    "expand",
    "from_dict",
    "load",
    "nearest",
]
