"""From a card to features: encoded once for each seed, in one shape, kept by content hash."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fusionjax import encoders, files, train
from fusionjax.card import Modality, TextOptions, load
from fusionjax.fusion.log_linear import log_linear
from fusionjax.records.ingest import Records, ingest
from fusionjax.study import Study, log_prior, ordered, prepare, sample
from fusionjax.types import Encoder, Features

FORMAT = 1  # of what is kept
Kind = Literal["linear", "kernel", "trained"]
Progress = Callable[[str, int, int, float], None]


class Rows(NamedTuple):
    """Rows of the table, [seed, place]; `there` is False where a place is padding."""

    index: Int[np.ndarray, "seed place"]
    there: Bool[np.ndarray, "seed place"]


class Data(NamedTuple):
    """The records of a card as every contender sees them, one split and encoding a seed."""

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    features: tuple[Features, ...]
    """Each leaf [seed, record, ...]."""
    presence: Bool[np.ndarray, "record modality"]
    label: Int[np.ndarray, " record"]
    group: Int[np.ndarray, " record"]
    bias: Float[np.ndarray, "seed class"]
    train: Rows
    validation: Rows
    test: Rows
    digest: str
    """Changes with the records, the encoders and the splits."""


def read(
    card: Path, cache: Path, seeds: int, kind: Kind, width: int, progress: Progress | None = None
) -> Data:
    """The features of a card for seeds 0, 1, …; each is read from `cache` where it lies there.

    "linear" and "kernel" encoders are untrained, of at most `width` columns. "trained" ones learn
    jointly with a log-linear fusion on the training records of each seed; every contender then gets
    the same features, but those were made for the log-linear one.
    """
    records = ingest(load(card), cache / "records")
    base = _digest(records, kind, width)
    parts = []
    for seed in range(seeds):
        path = cache / f"features-{base}-{seed}.npz"
        if not path.exists():
            study = prepare(records, seed)
            files.write(path, _packed(_encoded(study, kind, width, seed, progress)))
        if progress:
            progress("features", seed + 1, seeds, float("nan"))
        parts.append(dict(np.load(path)))
    return _together(records, parts, f"{base}-{seeds}")


def _digest(records: Records, kind: Kind, width: int) -> str:
    card = records.card
    plan = json.dumps([FORMAT, kind, width, asdict(card.split), card.classes], default=str)
    each = [repr((m.name, m.kind, m.columns, m.options)) for m in card.modalities]
    table = records.table[["digest", "label", "group", "site", "split"]].to_csv()
    return hashlib.sha256("".join([plan, *each, table]).encode()).hexdigest()[:24]


def _encoded(
    study: Study, kind: Kind, width: int, seed: int, progress: Progress | None
) -> dict[str, np.ndarray]:
    stack = tuple(_encoder(m, kind, width) for m in study.card.modalities)
    weights = _weights(study, stack, kind, seed, progress)
    found, presence = [], []
    everyone = np.arange(len(study.table))
    for batch in ordered(study, everyone):
        found.append(jax.tree.map(np.asarray, train.encode(stack, weights, batch.inputs)))
        presence.append(np.asarray(batch.presence))
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(everyone)], *found)
    named = {
        f"{i}/{field}": getattr(f, field) for i, f in enumerate(whole) for field in Features._fields
    }
    split = dict(zip(("train", "validation", "test"), study.split, strict=True))
    here = np.concatenate(presence)[: len(everyone)]
    return named | split | {"presence": here, "bias": log_prior(study)}


def _encoder(modality: Modality, kind: Kind, width: int) -> Encoder:
    options = modality.options
    name = encoders.DEFAULT[modality.kind] if kind == "trained" else kind
    vocabulary = options.vocabulary if isinstance(options, TextOptions) else 2000
    return encoders.build(modality.kind, name, width, vocabulary)


def _weights(
    study: Study, stack: tuple[Encoder, ...], kind: Kind, seed: int, progress: Progress | None
) -> tuple[Any, ...]:
    if kind != "trained":
        inputs = sample(study).inputs
        keys = jax.random.split(jax.random.key(seed), len(stack))
        return tuple(train.init_encoder(*one) for one in zip(stack, keys, inputs, strict=True))
    config = train.TrainConfig(seed=seed)
    bias = jnp.asarray(log_prior(study))
    trained = train.fit(
        train.Network(stack, log_linear(bias)),
        study.loader(study.split.train, config.batch_size, seed),
        study.loader(study.split.validation, 512, 0),
        sample(study),
        len(bias),
        config,
        progress=progress and (lambda *at: progress(f"encoders, seed {seed}", *at)),
    )
    return trained.weights.encoders


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def _together(records: Records, parts: list[dict[str, np.ndarray]], digest: str) -> Data:
    """One array for all seeds; where they differ in columns the narrower ones get zeros."""
    modalities = range(len(records.card.modalities))
    return Data(
        name=records.card.name,
        modalities=tuple(m.name for m in records.card.modalities),
        classes=records.card.classes,
        features=tuple(
            Features(*(_stacked([p[f"{i}/{field}"] for p in parts]) for field in Features._fields))
            for i in modalities
        ),
        presence=parts[0]["presence"],
        label=records.table["label"].to_numpy(),
        group=np.unique(records.table["group"].to_numpy(str), return_inverse=True)[1],
        bias=np.stack([p["bias"] for p in parts]),
        train=_rows([p["train"] for p in parts]),
        validation=_rows([p["validation"] for p in parts]),
        test=_rows([p["test"] for p in parts]),
        digest=digest,
    )


def _stacked(leaves: list[np.ndarray]) -> Any:
    """At least one column, so that a layer has something to weigh."""
    shape = np.max([(*leaf.shape[:-1], max(1, leaf.shape[-1])) for leaf in leaves], axis=0)
    room = [[(0, w - h) for h, w in zip(leaf.shape, shape, strict=True)] for leaf in leaves]
    return np.stack([np.pad(leaf, pad) for leaf, pad in zip(leaves, room, strict=True)])


def _rows(parts: list[np.ndarray]) -> Rows:
    width = max(map(len, parts))
    index = np.stack([np.pad(part, (0, width - len(part))) for part in parts])
    there = np.stack([np.arange(width) < len(part) for part in parts])
    return Rows(index, there)
