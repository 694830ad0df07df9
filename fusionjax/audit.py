"""What in the records looks too good to be true or would be misread, told before it is believed.

Give-aways are sought among training records only. Nothing here changes what a model sees.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from fusionjax.card import SPLITS, Modality, TabularOptions, TextOptions
from fusionjax.preprocess import tabular
from fusionjax.preprocess.text import UNSPACED, redact
from fusionjax.splits import Split, shared

if TYPE_CHECKING:
    from fusionjax.records.ingest import Records

GIVEAWAY = 0.98  # AUROC
SUPPORT = 5  # records of the class, and of the rest
CHANCE = 0.01  # that any of a modality's columns reaches such an AUROC without meaning
ASSOCIATION = 0.3  # Cramér's V
BEYOND = 0.2
"""Of a column's numbers; one in a hundred lies beyond the limits by which training clips."""
MOST_RECORDS = 4000
MOST_WARNINGS = 5  # a modality

Onehot = Float[np.ndarray, "record class"]


class Warning(NamedTuple):
    """Something to look into and where: giveaway, duplicate, site, level or range."""

    kind: str
    where: str
    message: str


class Clues(NamedTuple):
    """How well each of some clues tells each class from the rest, and from how many records."""

    names: Sequence[str]
    auroc: Float[np.ndarray, "clue class"]
    inside: Float[np.ndarray, "clue class"]
    outside: Float[np.ndarray, "clue class"]


def warnings(records: "Records", split: Split) -> tuple[Warning, ...]:
    """All warnings about these records.

    - giveaway: one column, one level, one word of a note, or the presence of a value or of a
      whole modality has AUROC > .98 for a class against the rest, from 5 records of either at
      least, and more than chance explains among so many columns.
    - duplicate: records with the same content are on two sides of the split, or one file belongs
      to two groups.
    - site: the site foretells the label, Cramér's V > .3.
    """
    return (*_giveaways(records, split), *_duplicates(records, split), *_sites(records, split))


def misread(
    records: "Records", rows: Int[np.ndarray, " row"], statistics: tuple[Any, ...]
) -> tuple[Warning, ...]:
    """What a model with these statistics cannot read in some records, a few thousand at most.

    - level: a level that it does not know, in 5 records at least.
    - range: a fifth of a column's numbers, and 5 at least, lie beyond those of training.
    """
    raws = [records.source[i] for i in rows[:: -(-len(rows) // MOST_RECORDS) or 1].tolist()]
    found = []
    for i, (modality, known) in enumerate(zip(records.card.modalities, statistics, strict=True)):
        if isinstance(modality.options, TabularOptions) and raws:
            mine = [raw[i] for raw in raws]
            found += [
                *_strange_levels(modality, mine, known),
                *_strange_numbers(modality, mine, known),
            ]
    return tuple(found)


def _strange_levels(
    modality: Modality, raws: list[Any], known: tabular.Statistics
) -> Iterator[Warning]:
    assert isinstance(modality.options, TabularOptions)
    for name, cells, levels in zip(
        modality.options.categorical,
        zip(*(raw[1] for raw in raws), strict=True),
        known.levels,
        strict=True,
    ):
        strange = Counter(cell for cell in cells if cell and cell not in levels)
        named = ", ".join(map(repr, levels[:8])) + ", …" * (len(levels) > 8)
        for level, count in strange.most_common(MOST_WARNINGS):
            if count >= SUPPORT:
                yield Warning(
                    "level",
                    modality.name,
                    f"{name} = {level!r} is new to the model, in {count} of {len(raws)} records: "
                    f"to it they have none of {named}. Spell levels alike.",
                )


def _strange_numbers(
    modality: Modality, raws: list[Any], known: tabular.Statistics
) -> Iterator[Warning]:
    assert isinstance(modality.options, TabularOptions)
    names = [name for name in modality.columns if name not in modality.options.categorical]
    values = np.stack([raw[0] for raw in raws])
    there = np.isfinite(values).sum(axis=0)
    beyond = ((values < known.low) | (values > known.high)).sum(axis=0)
    for j in np.flatnonzero((beyond >= SUPPORT) & (beyond > BEYOND * there)):
        yield Warning(
            "range",
            modality.name,
            f"{names[j]}: {beyond[j]} of {there[j]} numbers lie beyond {known.low[j]:.4g} to "
            f"{known.high[j]:.4g}, where nearly all training records lie, and count as the nearer "
            "end. Is it in the same unit?",
        )


def _giveaways(records: "Records", split: Split) -> Iterator[Warning]:
    rows = split.train[:: -(-len(split.train) // MOST_RECORDS)]
    label = records.table["label"].to_numpy()[rows]
    seen = np.unique(label)
    onehot = (label[:, None] == seen[None]).astype(np.float64)
    there = _digests(records)[rows] != ""
    raws = [records.source[i] for i in rows.tolist()]
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


def _duplicates(records: "Records", split: Split) -> Iterator[Warning]:
    rows = np.concatenate(split)
    side = np.repeat(SPLITS, [len(part) for part in split])
    table = records.table.iloc[rows]
    line, group, parts = table["row"].tolist(), table["group"].tolist(), _digests(records)[rows]
    whole = list(shared([";".join(part).strip(";") for part in parts], side))
    if whole:
        message = f"Records with a double on another side of the split: {_first(whole, line)}."
        yield Warning("duplicate", "records", f"{message} Give both one group, or remove one.")
    for i, modality in enumerate(records.card.modalities):
        files = list(shared(parts[:, i], group)) if modality.kind in _FILES else []
        if files:
            message = f"Records that share files with another group: {_first(files, line)}."
            yield Warning("duplicate", modality.name, f"{message} Are they one patient?")


def _first(pairs: list[tuple[int, int]], line: list[int]) -> str:
    j, i = pairs[0]
    return f"{len(pairs)}, the first in rows {line[j]} and {line[i]}"


def _sites(records: "Records", split: Split) -> Iterator[Warning]:
    table = records.table.iloc[np.concatenate(split)]
    association = cramers_v(table["site"].to_numpy(str), table["label"].to_numpy())
    if association > ASSOCIATION:
        yield Warning(
            "site",
            str(records.card.columns.site),
            f"the site foretells the label, Cramér's V {association:.2f}: what is learnt may be "
            'the site. Hold sites out with by = "site" to see.',
        )


def cramers_v(a: Shaped[np.ndarray, " record"], b: Shaped[np.ndarray, " record"]) -> float:
    """Association of two categories, 0 to 1, without its bias (Bergsma 2013, J. Korean Stat. Soc.).

    0 where either has one value, or where chance explains it (χ², p > .01).
    """
    from scipy.special import chdtrc

    count = _crosstab(a, b)
    n, (rows, columns) = count.sum(), count.shape
    freedom = (rows - 1) * (columns - 1)
    expected = count.sum(axis=1)[:, None] * count.sum(axis=0)[None] / n
    chi2 = np.sum((count - expected) ** 2 / expected)
    excess = chi2 / n - freedom / (n - 1)
    if freedom == 0 or excess <= 0 or chdtrc(freedom, chi2) > CHANCE:
        return 0.0
    levels = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns))
    return float(np.sqrt(excess / (levels - 1)))


def _crosstab(
    a: Shaped[np.ndarray, " record"], b: Shaped[np.ndarray, " record"]
) -> Float[np.ndarray, "a b"]:
    left, right = (np.unique(x, return_inverse=True)[1] for x in (a, b))
    count = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(count, (left, right), 1)
    return count


def _digests(records: "Records") -> Shaped[np.ndarray, "record modality"]:
    """The hash of what each record has of each modality, "" where it has nothing."""
    split = [digest.split(";") for digest in records.table["digest"]]
    return np.array(split, str).reshape(len(split), len(records.card.modalities))


_FILES = ("image", "audio", "signal")
_SEEK: dict[str, Callable[[Modality, list[Any], Onehot], list[Clues]]] = {
    "tabular": _tabular,
    "vector": _vector,
    "text": _text,
}
