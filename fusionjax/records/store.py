"""Raw records as a TFDS data set of array_record files, written once and read at random.

No TensorFlow: every modality is stored as `Tensor` features of raw bytes, which also read faster
than encoded images would.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from fusionjax.card import Card, ImageOptions, Modality
from fusionjax.records.readers import Raw, Tabular

SPLIT = "records"
RECORDS_A_SHARD = 8192


class Example(NamedTuple):
    """One record: label as an index into the classes, -1 where unknown."""

    id: str
    label: int
    raws: tuple[Raw, ...]


@dataclass(frozen=True)
class Source:
    """Random access to records: `source[i]` is a tuple over modalities of Raw (see readers)."""

    data: Any
    modalities: tuple[Modality, ...]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[Raw, ...]:
        return self._raws(self.data[i])

    def __getitems__(self, rows: Sequence[int]) -> list[tuple[Raw, ...]]:
        """Several records at once, which is faster; grain calls it too."""
        return [self._raws(example) for example in self.data.__getitems__(rows)]

    def _raws(self, example: Mapping[str, Any]) -> tuple[Raw, ...]:
        return tuple(decode(m, example["modalities"][m.name]) for m in self.modalities)


def write(folder: Path, card: Card, examples: Iterable[Example]) -> list[str]:
    """Write records in the order they come, and return the digest of each.

    A digest holds a hash of each modality's content, joined by ";", empty where it is missing.
    """
    info = tfds.core.DatasetInfo(
        builder=_identity(folder), features=features(card), description=card.description
    )
    writer = tfds.core.SequentialWriter(
        ds_info=info, max_examples_per_shard=RECORDS_A_SHARD, file_format="array_record"
    )
    writer.initialize_splits([SPLIT])
    digests: list[str] = []
    encoded = _encoded(card.modalities, examples, digests)
    while chunk := list(islice(encoded, 512)):
        writer.add_examples({SPLIT: chunk})
    writer.close_all()
    return digests


def read(folder: Path, modalities: tuple[Modality, ...]) -> Source:
    """The records that `write` put into a folder."""
    builder: Any = tfds.builder_from_directory(folder)
    return Source(builder.as_data_source(SPLIT), modalities)


def features(card: Card) -> tfds.features.FeaturesDict:
    """What a record is to TFDS: id, label, and each modality under its own name."""
    modalities = {modality.name: _feature(modality) for modality in card.modalities}
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=list(card.classes)),
            "modalities": tfds.features.FeaturesDict(modalities),
        }
    )


def encode(modality: Modality, raw: Any) -> Any:
    """Raw as the arrays that `features` declares for this modality."""
    match modality.kind:
        case "audio":
            lengths = np.array([len(samples) for samples in raw], np.int32)
            return {"samples": _join(raw, np.int16), "lengths": lengths}
        case "signal":
            shapes = np.array([values.shape for values in raw], np.int32).reshape(-1, 2)
            return {"values": _join(raw, np.float32), "shapes": shapes}
        case "tabular":
            return {"numeric": raw[0], "categorical": list(raw[1])}
        case _:
            return raw


def decode(modality: Modality, stored: Any) -> Raw:
    """The Raw that `encode` was given."""
    match modality.kind:
        case "audio":
            ends = np.cumsum(stored["lengths"])[:-1]
            return tuple(np.split(stored["samples"], ends)) if len(stored["lengths"]) else ()
        case "signal":
            return _split(stored["values"], stored["shapes"])
        case "tabular":
            return Tabular(stored["numeric"], tuple(c.decode() for c in stored["categorical"]))
        case "text":
            return stored.decode()
        case _:
            return stored


def is_missing(modality: Modality, raw: Any) -> bool:
    """Whether a record has nothing of this modality."""
    if modality.kind == "tabular":
        return not any(raw[1]) and bool(np.isnan(raw[0]).all())
    return len(raw) == 0


def _identity(folder: Path) -> DatasetIdentity:
    return DatasetIdentity(
        name="records", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name=""
    )


def _feature(modality: Modality) -> Any:
    match modality.kind:
        case "image":
            assert isinstance(modality.options, ImageOptions)
            size, channels = modality.options.size, 3 if modality.options.colour else 1
            return _bytes((None, size, size, channels), np.uint8)
        case "text":
            return tfds.features.Text()
        case "audio":
            return {"samples": _bytes((None,), np.int16), "lengths": _bytes((None,), np.int32)}
        case "signal":
            return {"values": _bytes((None,), np.float32), "shapes": _bytes((None, 2), np.int32)}
        case "tabular":
            levels = tfds.features.Tensor(shape=(None,), dtype=np.object_)
            return {"numeric": _bytes((None,), np.float32), "categorical": levels}
        case "vector":
            return _bytes((None,), np.float32)


def _bytes(shape: tuple[int | None, ...], dtype: Any) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")


def _encoded(
    modalities: tuple[Modality, ...], examples: Iterable[Example], digests: list[str]
) -> Iterator[dict[str, Any]]:
    for example in examples:
        pairs = list(zip(modalities, example.raws, strict=True))
        stored = {modality.name: encode(modality, raw) for modality, raw in pairs}
        hashes = ["" if is_missing(m, raw) else _hash(stored[m.name]) for m, raw in pairs]
        digests.append(";".join(hashes))
        yield {"id": example.id, "label": example.label, "modalities": stored}


def _hash(stored: Any) -> str:
    parts = stored.values() if isinstance(stored, dict) else [stored]
    content = hashlib.sha256()
    for part in parts:
        content.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return content.hexdigest()[:32]


def _join(parts: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([part.reshape(-1) for part in parts]) if parts else np.zeros(0, dtype)


def _split(values: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, ...]:
    ends = np.cumsum(shapes.prod(axis=1))
    starts = ends - shapes.prod(axis=1)
    return tuple(
        values[start:end].reshape(shape)
        for start, end, shape in zip(starts, ends, shapes, strict=True)
    )
