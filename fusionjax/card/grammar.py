"""Every key of a dataset card, section by section, and what it may hold."""

from collections.abc import Callable, Mapping
from typing import get_args

from fusionjax.card.nouns import (
    ENCODERS,
    SPLITS,
    UNTRAINED,
    AudioOptions,
    By,
    ImageOptions,
    Kind,
    Options,
    SignalOptions,
    TabularOptions,
    TextOptions,
    VectorOptions,
)
from fusionjax.card.values import (
    Grammar,
    catalogue,
    cell,
    choice,
    class_name,
    column,
    flag,
    identifier,
    inner_path,
    line,
    pairs,
    prose,
    real,
    several,
    table,
    whole,
)

CARD: Grammar = {
    "name": line,
    "description": prose,
    "licence": prose,
    "citation": prose,
    "table": inner_path(".csv", ".parquet"),
    "missing": several(cell),
    "tfds": table,
    "columns": table,
    "label": table,
    "split": table,
    "modalities": pairs(identifier, table),
}
TFDS: Grammar = {
    "name": catalogue,
    "folder": inner_path(),
    "split": line,
    "splits": pairs(choice(*SPLITS), line),
}
COLUMNS: Grammar = {
    "id": column,
    "label": column,
    "group": column,
    "site": column,
    "date": column,
    "split": column,
    "subgroups": several(column),
}
LABEL: Grammar = {
    "classes": several(class_name),
    "map": pairs(cell, class_name),
    "ignore": several(cell),
}
SPLIT: Grammar = {
    "by": choice(*get_args(By)),
    "test": real(0.01, 0.9),
    "validation": real(0.01, 0.9),
    "seed": whole(0, 2**32 - 1),
    "holdout": several(line),
}
KIND: Grammar = {"kind": choice(*get_args(Kind))}
IMAGE: Grammar = {"size": whole(8, 1024), "colour": flag}
TEXT: Grammar = {
    "redact": several(line),
    "vocabulary": whole(300, 100_000),
    "length": whole(1, 8192),
}
AUDIO: Grammar = {"rate": whole(500, 192_000), "seconds": real(0.05, 600.0), "mels": whole(4, 256)}
SIGNAL: Grammar = {
    "rate": real(1e-6, 1e6),
    "length": whole(4, 1_000_000),
    "channels": several(line),
}
OPTIONS: Mapping[str, tuple[Callable[..., Options], Grammar]] = {
    "image": (ImageOptions, IMAGE),
    "text": (TextOptions, TEXT),
    "audio": (AudioOptions, AUDIO),
    "signal": (SignalOptions, SIGNAL),
    "tabular": (TabularOptions, {"categorical": several(column)}),
    "vector": (VectorOptions, {}),
}


def common(kind: Kind) -> Grammar:
    """The keys that a modality of any kind has, beside its kind."""
    encoder = choice("auto", *UNTRAINED, *ENCODERS[kind])
    return {"column": column, "columns": several(column), "encoder": encoder}


def _homes() -> dict[str, str]:
    """Where each key belongs, for those who wrote it in the wrong place."""
    sections = {"tfds": TFDS, "columns": COLUMNS, "label": LABEL, "split": SPLIT}
    options = {key: kind for kind, (_, keys) in OPTIONS.items() for key in keys}
    homes = {key: f"to kind = {kind!r}" for key, kind in options.items()}
    homes |= {key: f"under [{name}]" for name, keys in sections.items() for key in keys}
    return homes | dict.fromkeys(CARD, "at the top of the file, above the first [section]")


HOMES = _homes()
