"""What gives the label away, among training records."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from fusionjax.audit.types import MOST_WARNINGS, SUPPORT, Warning, digests, some
from fusionjax.card import Modality, TabularOptions, TextOptions
from fusionjax.preprocess.text import UNSPACED, redact
from fusionjax.records.ingest import Records
from fusionjax.splits import Split

GIVEAWAY = 0.98  # AUROC
CHANCE = 0.01  # that any of a modality's columns reaches such an AUROC without meaning

Onehot = Float[np.ndarray, "record class"]


class Clues(NamedTuple):
    """How well each of some clues tells each class from the rest, and from how many records."""

    names: Sequence[str]
    auroc: Float[np.ndarray, "clue class"]
    inside: Float[np.ndarray, "clue class"]
    outside: Float[np.ndarray, "clue class"]


def giveaways(records: Records, split: Split) -> Iterator[Warning]:
    """One column, one level, one word of a note, or the presence of a value or of a whole modality.

    Told where its AUROC for a class against the rest is above .98, from 5 records of either at
    least, and more than chance explains among so many columns.
    """
    rows = some(split.train)
    label = records.table["label"].to_numpy()[rows]
    seen = np.unique(label)
    onehot = (label[:, None] == seen[None]).astype(np.float64)
    there = digests(records)[rows] != ""
    raws = [records.source[i] for i in rows]
    for i, modality in enumerate(records.card.modalities):
        has = there[:, i]
        mine = [raw[i] for raw, present in zip(raws, has, strict=True) if present]
        clues = [_flags(["being there"], has[:, None], onehot)]
        clues += _SEEK.get(modality.kind, _nothing)(modality, mine, onehot[has]) if mine else []
        yield from _worst(modality, clues, [records.card.classes[k] for k in seen])


def _worst(modality: Modality, clues: list[Clues], classes: list[str]) -> Iterator[Warning]:
    tests = sum(clue.auroc.size for clue in clues)
    found = sorted((told for clue in clues for told in _telling(clue, tests)), reverse=True)
    mend = "or redact it" if modality.kind == "text" else "or leave it out"
    for auroc, name, k, inside, outside in found[:MOST_WARNINGS]:
        yield Warning(
            "giveaway",
            modality.name,
            f"{name} alone tells {classes[k]!r} from the rest, AUROC {auroc:.3f} ({inside:.0f} "
            f"against {outside:.0f} training records). Make sure that it was known before the "
            f"diagnosis, {mend}.",
        )
    if len(found) > MOST_WARNINGS:
        more = f"{len(found) - MOST_WARNINGS} more columns or words give the label away."
        yield Warning("giveaway", modality.name, more)


def _telling(clues: Clues, tests: int) -> Iterator[tuple[float, str, int, float, float]]:
    """(AUROC, name, class, records of it, of the rest) of each clue that gives a class away."""
    from scipy.special import ndtr

    auroc = np.maximum(clues.auroc, 1 - clues.auroc)
    inside, outside = clues.inside, clues.outside
    spread = np.sqrt((inside + outside + 1) / (12 * np.maximum(inside * outside, 1)))
    chance = 2 * tests * ndtr(-(auroc - 0.5) / spread)
    telling = (auroc > GIVEAWAY) & (np.minimum(inside, outside) >= SUPPORT) & (chance < CHANCE)
    for clue in np.flatnonzero(telling.any(axis=1)).tolist():
        k = int(np.argmax(np.where(telling[clue], auroc[clue], 0)))
        yield auroc[clue, k], clues.names[clue], k, inside[clue, k], outside[clue, k]


def _nothing(modality: Modality, raws: list[Any], onehot: Onehot) -> list[Clues]:
    return []


def _tabular(modality: Modality, raws: list[Any], onehot: Onehot) -> list[Clues]:
    assert isinstance(modality.options, TabularOptions)
    named = modality.options.categorical
    numeric = [name for name in modality.columns if name not in named]
    levels = np.array([raw[1] for raw in raws], object).reshape(len(raws), len(named))
    return [
        *_numbers(numeric, np.stack([raw[0] for raw in raws]), onehot),
        _flags([f"{name} being there" for name in named], levels != "", onehot),
        *(_levels(name, column, onehot) for name, column in zip(named, levels.T, strict=True)),
    ]


def _vector(modality: Modality, raws: list[Any], onehot: Onehot) -> list[Clues]:
    return _numbers(modality.columns, np.stack(raws), onehot)


def _text(modality: Modality, raws: list[Any], onehot: Onehot) -> list[Clues]:
    assert isinstance(modality.options, TextOptions)
    count = Counter(
        (word, k)
        for raw, k in zip(raws, onehot.argmax(axis=1).tolist(), strict=True)
        for word in _words(redact(raw, modality.options.redact))
    )
    words = sorted({word for word, _ in count})
    hits = np.array([[count[word, k] for k in range(onehot.shape[1])] for word in words])
    often = np.flatnonzero(hits.sum(axis=-1) >= SUPPORT) if words else []
    names = [f"the word {words[i]!r}" for i in often]
    return [_counts(names, hits[often].astype(float), onehot.sum(axis=0))] if names else []


def _words(note: str) -> set[str]:
    """The words of a note; where a script has no spaces, its characters and pairs of them."""
    words = set(re.findall(rf"[^\W{UNSPACED}]+", note))
    for run in re.findall(f"[{UNSPACED}]+", note):
        words |= {*run, *(first + second for first, second in pairwise(run))}
    return words


def _numbers(
    names: Sequence[str], values: Float[np.ndarray, "record clue"], onehot: Onehot
) -> list[Clues]:
    width = values.shape[1]
    names = names if len(names) == width else [f"number {i + 1}" for i in range(width)]
    there = ~np.isnan(values)
    being = _flags([f"{name} being there" for name in names], there, onehot)
    return [_ranks(names, values, there, onehot), being] if width else []


def _levels(column: str, values: Shaped[np.ndarray, " record"], onehot: Onehot) -> Clues:
    level, count = np.unique(values.astype(str), return_counts=True)
    often = [name for name in level[count >= SUPPORT].tolist() if name]
    names = [f"{column} = {name!r}" for name in often]
    return _flags(names, values[:, None] == np.array(often, object)[None], onehot)


def _ranks(
    names: Sequence[str],
    values: Float[np.ndarray, "record clue"],
    there: Bool[np.ndarray, "record clue"],
    onehot: Onehot,
) -> Clues:
    """AUROC of numbers, by the rank sum (Mann and Whitney 1947) of those that are there."""
    from scipy.stats import rankdata

    rank = rankdata(np.where(there, values, np.inf), axis=0) * there
    inside = there.T.astype(float) @ onehot
    outside = inside.sum(axis=1, keepdims=True) - inside
    wins = rank.T @ onehot - inside * (inside + 1) / 2
    return Clues(names, wins / np.maximum(inside * outside, 1), inside, outside)


def _flags(names: Sequence[str], flags: Bool[np.ndarray, "record clue"], onehot: Onehot) -> Clues:
    return _counts(names, flags.T.astype(float) @ onehot, onehot.sum(axis=0))


def _counts(
    names: Sequence[str],
    hits: Float[np.ndarray, "clue class"],
    inside: Float[np.ndarray, " class"],
) -> Clues:
    """AUROC of something that is there or not, from the records of each class that have it."""
    outside = inside.sum() - inside
    others = hits.sum(axis=1, keepdims=True) - hits
    rates = hits / np.maximum(inside, 1)[None] - others / np.maximum(outside, 1)[None]
    both = np.broadcast_to(inside[None], hits.shape), np.broadcast_to(outside[None], hits.shape)
    return Clues(names, (1 + rates) / 2, *both)


_SEEK: dict[str, Callable[[Modality, list[Any], Onehot], list[Clues]]] = {
    "tabular": _tabular,
    "vector": _vector,
    "text": _text,
}
