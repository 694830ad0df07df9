"""The nouns of a dataset card, and the defaults of all that a card need not say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["image", "text", "audio", "signal", "tabular", "vector"]
By = Literal["group", "site", "date", "column"]
SPLITS = ("train", "validation", "test")
UNTRAINED = ("linear", "kernel")
ENCODERS: Mapping[str, tuple[str, ...]] = {
    "image": ("cnn", "vit"),
    "text": ("bag", "transformer"),
    "audio": ("cnn",),
    "signal": ("cnn",),
    "tabular": ("mlp", "tokens"),
    "vector": ("mlp",),
}
MISSING = ("", "NA", "NaN", "nan", "null", "None")


@dataclass(frozen=True)
class ImageOptions:
    """Images are resized to `size` × `size` pixels, grey unless `colour`."""

    size: int = 64
    colour: bool = False


@dataclass(frozen=True)
class TextOptions:
    """Notes lose every word that holds a stem of `redact`, then become at most `length` tokens."""

    redact: tuple[str, ...] = ()
    vocabulary: int = 2000
    length: int = 256


@dataclass(frozen=True)
class AudioOptions:
    """Recordings at `rate` Hz in `mels` bands; longer than `seconds` is cut, shorter is masked."""

    rate: int = 8000
    seconds: float = 4.0
    mels: int = 40


@dataclass(frozen=True)
class SignalOptions:
    """Signals of `length` samples at `rate` Hz (None: as they are), some or all `channels`."""

    rate: float | None = None
    length: int = 1024
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TabularOptions:
    """The columns that hold levels and not numbers."""

    categorical: tuple[str, ...] = ()


@dataclass(frozen=True)
class VectorOptions:
    """Embeddings computed elsewhere need no options."""


Options = ImageOptions | TextOptions | AudioOptions | SignalOptions | TabularOptions | VectorOptions


@dataclass(frozen=True)
class Modality:
    """One modality x_i: its kind, the columns that hold it (`*` is a wildcard), its encoder ψ_i."""

    name: str
    kind: Kind
    columns: tuple[str, ...]
    encoder: str = "auto"
    options: Options = VectorOptions()


@dataclass(frozen=True)
class Columns:
    """The columns that say who a record is; None where there is no such column.

    Only a TFDS source may lack an `id`: there the row number serves.
    """

    label: str
    id: str | None = None
    group: str | None = None
    site: str | None = None
    date: str | None = None
    split: str | None = None
    subgroups: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitPlan:
    """How records are divided: `test` and `validation` are fractions of the labelled records."""

    by: By = "group"
    test: float = 0.2
    validation: float = 0.15
    seed: int = 0
    holdout: tuple[str, ...] = ()


@dataclass(frozen=True)
class TfdsSource:
    """A TFDS data set instead of a table: a catalogue `name` or a prepared `folder`.

    `splits` maps our split to theirs; its one key is "" where theirs is not to be kept apart.
    """

    name: str | None
    folder: Path | None
    splits: Mapping[str, str]


@dataclass(frozen=True)
class Card:
    """A data set, as its card describes it; `modalities` are in the order of the file.

    `labels` maps a raw cell to its class, the cells in `ignore` are read as no label, and
    `classes` is empty where the card leaves it to the records.
    """

    path: Path
    name: str
    description: str
    licence: str
    citation: str
    table: Path | None
    tfds: TfdsSource | None
    columns: Columns
    classes: tuple[str, ...]
    labels: Mapping[str, str]
    ignore: tuple[str, ...]
    missing: tuple[str, ...]
    split: SplitPlan
    modalities: tuple[Modality, ...]

    @property
    def folder(self) -> Path:
        """The folder that every path of the card and of its table is relative to."""
        return self.path.parent


def expand(columns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that `columns` stand for, each once; one `*` in a column is a wildcard."""
    names = tuple(names)
    known = set(names)
    stand_for = (
        (name for name in names if covers(column, name)) if "*" in column else {column} & known
        for column in columns
    )
    return tuple(dict.fromkeys(name for some in stand_for for name in some))


def covers(column: str, name: str) -> bool:
    """Whether `column`, which may hold one `*` for any run of characters, stands for `name`."""
    head, star, tail = column.partition("*")
    if not star:
        return column == name
    return len(name) >= len(head + tail) and name.startswith(head) and name.endswith(tail)
