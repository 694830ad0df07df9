"""Validation records under presence patterns: as they came, and made by hiding modalities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from fusionjax.presence import patterns as every_pattern

MOST_MODALITIES = 5
MOST_PATTERNS = 32
MOST_ROWS = 40_000

Patterns = Bool[np.ndarray, "pattern modality"]


class Shown(NamedTuple):
    """Validation records under presence patterns, some of which were made by hiding modalities.

    `evidence` is Σ_{i∈S} e_i under each draw of θ, before calibration; a record's rows weigh 1.
    """

    evidence: Float[np.ndarray, "row draw class"]
    pattern: Int[np.ndarray, " row"]
    record: Int[np.ndarray, " row"]
    natural: Bool[np.ndarray, " row"]
    weight: Float[np.ndarray, " row"]


def known(presence: Bool[np.ndarray, "record modality"]) -> Patterns:
    """The patterns to calibrate: all up to five modalities, else single ones and the commonest."""
    modalities = presence.shape[1]
    if modalities <= MOST_MODALITIES:
        return np.asarray(every_pattern(modalities))
    found, count = np.unique(presence[presence.any(axis=1)], axis=0, return_counts=True)
    common = found[np.argsort(-count, kind="stable")[:MOST_PATTERNS]]
    whole = np.unique(np.concatenate([common, np.eye(modalities, dtype=bool)]), axis=0)
    return whole[np.argsort(-whole.sum(axis=1), kind="stable")]


def index(patterns: Patterns, presence: Bool[np.ndarray, "batch modality"]) -> np.ndarray:
    """Which of the patterns each record has; the number of patterns where it is none of them."""
    if not len(patterns):
        return np.zeros(len(presence), int)
    same = (presence[:, None, :] == patterns[None, :, :]).all(axis=2)
    return np.where(same.any(axis=1), same.argmax(axis=1), len(patterns))


def spelled(presence: Bool[np.ndarray, "batch modality"]) -> Shaped[np.ndarray, " batch"]:
    """The names of patterns as strata: a 1 for each modality that is there, else a 0."""
    return np.array(["".join("01"[int(here)] for here in row) for row in presence], object)


def show(
    terms: Float[np.ndarray, "record draw modality class"],
    presence: Bool[np.ndarray, "record modality"],
    patterns: Patterns,
    seed: int,
) -> Shown:
    """The rows of every record; `terms` is each modality's evidence, 0 where it is missing.

    Where there would be more than 40,000 rows, those made by hiding are drawn from.
    """
    able = (presence[:, None, :] | ~patterns[None, :, :]).all(axis=2)
    own = (presence[:, None, :] == patterns[None, :, :]).all(axis=2)
    natural, made = np.argwhere(own), np.argwhere(able & ~own)
    room = max(MOST_ROWS - len(natural), 0)
    if len(made) > room:
        made = made[np.random.default_rng(seed).permutation(len(made))[:room]]
    rows = np.concatenate([natural, made])
    record, pattern = rows[:, 0], rows[:, 1]
    first = np.arange(len(rows)) < len(natural)
    each = [np.bincount(record[side], minlength=len(presence)) for side in (first, ~first)]
    half = np.where(np.minimum(*each) > 0, 0.5, 1.0)[record]
    weight = half / np.where(first, each[0][record], each[1][record])
    evidence = np.empty((len(rows), terms.shape[1], terms.shape[3]), np.float32)
    for j, one in enumerate(patterns):
        here = pattern == j
        evidence[here] = terms[record[here]][:, :, one].sum(axis=2)
    return Shown(evidence, pattern, record, first, weight.astype(np.float32))
