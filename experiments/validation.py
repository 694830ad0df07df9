"""The validation records of a file of predictions, and which records those are."""

from typing import NamedTuple

import numpy as np

from fusionjax import predictions
from fusionjax.errors import RecordError
from fusionjax.predictions import Block, Layout

VALIDATION, TEST = 1, 2


class Validation(NamedTuple):
    """The validation records with a label, and how many records there are of each split."""

    log_prob: np.ndarray
    label: np.ndarray
    patient: np.ndarray
    strata: dict[str, np.ndarray]
    key: np.ndarray
    records: dict[str, int]


def survey(shape: Layout, fitted: bool = False) -> Validation:
    """Read the file once: refuse what cannot be used, and keep the validation records.

    Where the calibrator is `fitted` already there are none, and labels are not needed.
    """
    parts: list[tuple] = []
    keys: list[np.ndarray] = []
    counts = {"kept": 0, "unlabelled": 0, "train": 0, "validation": 0, "test": 0}
    for block in predictions.blocks(shape):
        side, known = sides(block, fitted), block.label >= 0
        keys.append(block.key)
        counts["kept"] += len(known)
        counts["unlabelled"] += int((~known).sum())
        for code, name in enumerate(predictions.SPLITS):
            counts[name] += int(((side == code) & known).sum())
        rows = np.flatnonzero((side == VALIDATION) & known)
        strata = {name: values[rows] for name, values in block.strata.items()}
        parts.append(
            (block.prob[rows], block.label[rows], block.hashed[rows], strata, block.key[rows])
        )
    fault = predictions.repeated(shape, np.concatenate(keys))
    if fault:
        raise fault
    prob, label, patient, strata, key = zip(*parts, strict=True)
    names = shape.strata
    with np.errstate(divide="ignore"):
        log_prob = np.log(np.concatenate(prob))
    found = {name: np.concatenate([s[name] for s in strata]) for name in names}
    valid = Validation(
        log_prob, np.concatenate(label), np.concatenate(patient), found, np.concatenate(key), counts
    )
    if not fitted:
        _check_sides(shape, valid)
    return valid


def sides(block: Block, fitted: bool = False) -> np.ndarray:
    """The split of each record; without such a column, a half by a hash of the patient.

    Where the calibrator is `fitted` already, all are for testing.
    """
    if fitted:
        return np.full(len(block.label), TEST)
    if (block.split >= 0).all():
        return block.split
    mixed = block.hashed.view(np.uint64) >> np.uint64(17)
    return np.where(mixed % np.uint64(2) == 0, VALIDATION, TEST)


def sample(valid: Validation, most: int, seed: int) -> np.ndarray:
    """Rows of at most so many records, whole patients, drawn at random."""
    if len(valid.label) <= most:
        return np.arange(len(valid.label))
    names, index = np.unique(valid.patient, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    size = np.cumsum(np.bincount(index)[order])
    kept = np.zeros(len(names), bool)
    kept[order[: int(np.searchsorted(size, most, side="right"))]] = True
    return np.flatnonzero(kept[index])


def _check_sides(shape: Layout, valid: Validation) -> None:
    for side in ("validation", "test"):
        if valid.records[side] == 0:
            raise RecordError(
                shape.path,
                None,
                "split" if shape.split else "label",
                f"no labelled record is left for {side}",
                "Mark some records as validation and others as test, or leave the column out."
                if shape.split
                else "Give the label of more records.",
            )
