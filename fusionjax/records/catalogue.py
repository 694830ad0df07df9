"""A TFDS data set as if it were a folder of records: a table of its scalars, and its arrays.

Features are named by their path, as "patient/age". Scalars become the cells of a table, a
`ClassLabel` by the name of its class; images, sounds and tensors are read record by record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fusionjax.card import AudioOptions, Card, ImageOptions, Modality, expand, nearest
from fusionjax.errors import CardError
from fusionjax.records import prepared, readers
from fusionjax.records.readers import Raw, Unreadable
from fusionjax.records.tables import Table


class Catalogue(NamedTuple):
    """`table` holds the scalar features that the card names, `split` our name of each record's.

    `example(i)` gives the features of record i by their paths.
    """

    table: Table
    split: list[str]
    features: Mapping[str, Any]
    example: Callable[[int], Mapping[str, Any]]


def read(card: Card) -> Catalogue:
    """Open the data set that a card's [tfds] section names, preparing it if need be.

    Raises CardError where it, a split or a feature is not there, or needs TensorFlow to be read.
    """
    assert card.tfds
    builder = _builder(card)
    features = dict(_flatten(builder.info.features))
    wanted = [column for modality in card.modalities for column in modality.columns]
    roles = [card.columns.id, card.columns.label, card.columns.group, card.columns.site]
    roles += [card.columns.date, card.columns.split, *card.columns.subgroups]
    named = [*(role for role in roles if role), *wanted]
    _require(card, named, features)
    scalars = [name for name in expand(named, features) if features[name].shape == ()]
    parts = {ours: _source(card, builder, theirs) for ours, theirs in card.tfds.splits.items()}
    split = [ours for ours, part in parts.items() for _ in range(len(part))]
    columns = _cells(builder, card.tfds.splits.values(), scalars, features)
    rows = tuple(range(1, len(split) + 1))
    path = Path(builder.data_dir)
    table = Table(path, tuple(features), rows, columns)
    return Catalogue(table, split, features, _example(list(parts.values())))


def raw(modality: Modality, example: Mapping[str, Any], features: Mapping[str, Any]) -> Raw:
    """The Raw of an image, audio, signal or vector modality; raises readers.Unreadable."""
    columns = expand(modality.columns, features)
    values = [value for column in columns if np.size(value := example[column])]
    options = modality.options
    match modality.kind:
        case "image":
            assert isinstance(options, ImageOptions)
            pictures = [picture for value in values for picture in _pictures(value)]
            return readers.stack_images([readers.square(p, options) for p in pictures], options)
        case "audio":
            assert isinstance(options, AudioOptions)
            rate = getattr(features[columns[0]], "sample_rate", None) or options.rate
            return tuple(readers.mono(_waveform(v), rate, options) for v in values)
        case "signal":
            return tuple(readers.float32(_matrix(v), "the signal") for v in values)
        case _:
            flat = [np.reshape(v, -1) for v in values]
            return readers.float32(np.concatenate(flat) if flat else np.zeros(0), "the vector")


def _builder(card: Card) -> Any:
    assert card.tfds
    try:
        if card.tfds.folder:
            prepared.check(card.tfds.folder)
            return tfds.builder_from_directory(card.tfds.folder)
        builder = tfds.builder(card.tfds.name or "", file_format="array_record")
        builder.download_and_prepare()
        return builder
    except prepared.Untrusted as error:
        mend = "Do not use a data set whose source you do not know."
        raise CardError(card.path, "tfds.folder", str(error), mend) from None
    except Exception as error:  # any part of a catalogue builder may fail, each in its own way
        problem = f"TFDS cannot open it ({type(error).__name__})"
        mend = "Prepare it with file_format='array_record' and give that folder."
        raise CardError(card.path, "tfds", problem, mend) from error


def _source(card: Card, builder: Any, split: str, decoders: Any = None) -> Sequence[Any]:
    try:
        return builder.as_data_source(split, decoders=decoders)
    except (NotImplementedError, ValueError, KeyError) as error:
        known = ", ".join(builder.info.splits)
        problem = f"the split {split!r} cannot be read at random"
        mend = f"Splits there: {known}. They must be prepared as array_record."
        raise CardError(card.path, "tfds", problem, mend) from error


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, leaf in tree.items():
        if isinstance(leaf, dict | tfds.features.FeaturesDict):
            yield from _flatten(leaf, f"{prefix}{name}/")
        else:
            yield prefix + name, leaf


def _require(card: Card, named: Sequence[str], features: Mapping[str, Any]) -> None:
    for name in named:
        if not expand((name,), features):
            mend = nearest(name, features)
            raise CardError(card.path, "columns", f"TFDS has no feature {name!r}", mend)
    for modality in card.modalities:
        for name in expand(modality.columns, features):
            if modality.kind in ("text", "tabular") and features[name].shape != ():
                key, mend = f"modalities.{modality.name}", "Read an array as a vector."
                raise CardError(card.path, key, f"{name!r} is an array", mend)


def _cells(
    builder: Any, splits: Any, scalars: Sequence[str], features: Mapping[str, Any]
) -> dict[str, list[str]]:
    arrays = [name for name in features if name not in scalars]
    decoders = _nest({name: tfds.decode.SkipDecoding() for name in arrays})
    parts = (builder.as_data_source(split, decoders=decoders) for split in splits)
    examples = [dict(_flatten(example)) for example in chain.from_iterable(parts)]
    return {name: [_cell(e[name], features[name]) for e in examples] for name in scalars}


def _nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *folders, name = path.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = leaf
    return nested


def _cell(value: Any, feature: Any) -> str:
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.int2str(int(value)) if value >= 0 else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    return "" if value != value else str(value).strip()


def _example(parts: list[Sequence[Any]]) -> Callable[[int], Mapping[str, Any]]:
    lengths = [len(part) for part in parts]
    ends = np.cumsum(lengths)
    starts = ends - lengths

    @lru_cache(maxsize=1)
    def example(i: int) -> Mapping[str, Any]:
        part = int(np.searchsorted(ends, i, side="right"))
        return dict(_flatten(parts[part][i - int(starts[part])]))

    return example


def _pictures(value: Any) -> list[Image.Image]:
    several = list(value) if isinstance(value, list) or np.ndim(value) == 4 else [value]
    return [_picture(np.asarray(array)) for array in several]


def _picture(array: np.ndarray) -> Image.Image:
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3):
        problem = f"an image is {array.dtype} {list(array.shape)}"
        raise Unreadable(problem, "Expected uint8 [height, width, channel].")
    return Image.fromarray(array[..., 0] if array.shape[-1:] == (1,) else array)


def _waveform(value: Any) -> np.ndarray:
    scale = 32768 if np.issubdtype(np.asarray(value).dtype, np.integer) else 1
    return readers.float32(_matrix(value), "the sound") / np.float32(scale)


def _matrix(value: Any) -> np.ndarray:
    array = np.asarray(value)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise Unreadable(f"shape {list(array.shape)}", "Expected [time] or [time, channel].")
    return array
