"""Prepared records: split, φ fitted on the training records, ready to be read in batches."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from fusionjax import batches, preprocess, splits
from fusionjax.batches import Loader
from fusionjax.card import Card
from fusionjax.records.ingest import Records
from fusionjax.splits import Split
from fusionjax.types import Batch


class Study(NamedTuple):
    """Prepared records and their split; `loader(rows, batch_size, seed)` reads any of them."""

    card: Card
    table: pd.DataFrame
    split: Split
    statistics: tuple[Any, ...]
    loader: Callable[[Int[np.ndarray, " row"], int, int], Loader]

    @property
    def label(self) -> Int[np.ndarray, " record"]:
        """The class of every record, -1 where it is unknown."""
        return self.table["label"].to_numpy()

    @property
    def group(self) -> np.ndarray:
        """The patient of every record."""
        return self.table["group"].to_numpy()


def prepare(records: Records, seed: int = 0) -> Study:
    """Split the records and fit φ's statistics on those for training; raises RecordError."""
    plan = replace(records.card.split, seed=records.card.split.seed + seed)
    split = splits.make(plan, records.table, records.card.classes)
    columns = zip(*records.source.__getitems__(split.train.tolist()), strict=True)
    statistics = tuple(
        preprocess.fit(modality, raws)
        for modality, raws in zip(records.card.modalities, columns, strict=True)
    )
    return of_model(records, statistics)._replace(split=split)


def of_model(records: Records, statistics: tuple[Any, ...]) -> Study:
    """Records to predict for, read with the statistics of a model that was fitted elsewhere."""
    nobody = np.arange(0)
    loader = batches.reader(records, statistics)
    return Study(records.card, records.table, Split(nobody, nobody, nobody), statistics, loader)


def restrict(study: Study, which: tuple[int, ...]) -> Study:
    """The same study with some of its modalities only."""
    columns = np.asarray(which)

    def narrow(batch: Batch) -> Batch:
        inputs = tuple(batch.inputs[i] for i in which)
        return batch._replace(inputs=inputs, presence=batch.presence[:, columns])

    def loader(rows: Int[np.ndarray, " row"], batch_size: int, seed: int) -> Loader:
        whole = study.loader(rows, batch_size, seed)
        return whole._replace(
            at=lambda step: narrow(whole.at(step)), ordered=lambda: map(narrow, whole.ordered())
        )

    modalities = tuple(study.card.modalities[i] for i in which)
    statistics = tuple(study.statistics[i] for i in which)
    card = replace(study.card, modalities=modalities)
    return study._replace(card=card, statistics=statistics, loader=loader)


def log_prior(study: Study) -> Float[np.ndarray, " class"]:
    """b_y: log class frequencies of the training records, each class counted once more."""
    labels = study.label[study.split.train]
    counts = np.bincount(labels, minlength=len(study.card.classes)) + 1.0
    return np.log(counts / counts.sum()).astype(np.float32)


def sample(study: Study, most: int = 4096) -> Batch:
    """Training records for encoders to take shapes from, or to fit themselves on without labels."""
    rows = study.split.train[:most]
    return next(iter(study.loader(rows, len(rows), 0).ordered()))


def ordered(study: Study, rows: Int[np.ndarray, " row"]) -> Iterator[Batch]:
    """The rows, once, in their order, in batches padded at the end.

    A batch holds a power of two of records, so that few shapes are ever compiled.
    """
    size = 1 << (max(len(rows), 1) - 1).bit_length()
    return iter(study.loader(rows, min(512, size), 0).ordered())
