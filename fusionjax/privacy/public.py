"""φ and ψ that saw no record: ranges, levels and gaps as a user states them, and fixed maps.

A statistic of the records is a release, and a column of fewer than a thousand records seldom has a
range that is worth its price. So a private fit takes them from a file:

    [ranges]               # of numbers: what is outside is moved to the nearer end
    age = [20, 100]
    [levels]               # of categorical columns; another level counts as none of them
    sex = ["0.0", "1.0"]
    [gaps]                 # columns whose absence may tell something
    columns = ["chol"]

They must come from elsewhere than the records: a textbook, a device's manual, another study.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from fusionjax import splits
from fusionjax.card import Card, Modality, TabularOptions
from fusionjax.model import Map, Member
from fusionjax.preprocess import tabular
from fusionjax.privacy.guarantee import PrivacyError
from fusionjax.records.ingest import Records
from fusionjax.study import Study, of_model

WIDTH = 4.0
"""A stated range is taken to be this many deviations wide."""
DECADE = 10.0
"""A range of positive numbers at least this far from end to end is logged."""


@dataclass(frozen=True)
class Public:
    """What is known of the columns without a look at the records."""

    ranges: Mapping[str, tuple[float, float]]
    levels: Mapping[str, tuple[str, ...]]
    gaps: tuple[str, ...] = ()


class Plan(NamedTuple):
    """A modality's φ and ψ: statistics, and which columns of the summary θ sees, how shifted."""

    statistics: tabular.Statistics
    centre: Float[np.ndarray, " column"]
    weight: Float[np.ndarray, "column p"]


def load(path: Path) -> Public:
    """Read a file of ranges, levels and gaps; raises PrivacyError where it cannot be followed."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        ranges = {name: (float(low), float(high)) for name, (low, high) in raw["ranges"].items()}
        levels = {name: tuple(map(str, known)) for name, known in raw.get("levels", {}).items()}
        gaps = tuple(raw.get("gaps", {}).get("columns", ()))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PrivacyError(
            str(path), f"states no ranges ({error!r})", "See privacy/public.py."
        ) from error
    for name, (low, high) in ranges.items():
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise PrivacyError(f"{path}, {name}", f"has the range {low} to {high}", "low < high.")
    return Public(ranges, levels, gaps)


def prepare(records: Records, public: Public, seed: int = 0) -> Study:
    """A study whose φ is public; its training records are those for validation as well.

    Nothing is stopped early or tuned in a private fit, so that nothing need be set aside for it.
    """
    plan = replace(records.card.split, seed=records.card.split.seed + seed)
    split = splits.make(plan, records.table)
    rows = np.sort(np.concatenate([split.train, split.validation]))
    statistics = tuple(p.statistics for p in plans(records.card, public))
    kept = split._replace(train=rows, validation=rows[:0])
    return of_model(records, statistics)._replace(split=kept)


def plans(card: Card, public: Public) -> tuple[Plan, ...]:
    """Every modality's φ and ψ; raises PrivacyError for what is not a table, or not stated."""
    return tuple(_plan(modality, public) for modality in card.modalities)


def same(statistics: tuple[Any, ...], found: tuple[Plan, ...]) -> bool:
    """Whether a study's statistics are these, and not its records' own."""
    fields = [
        pair
        for a, plan in zip(statistics, found, strict=True)
        for pair in zip(a, plan.statistics, strict=False)
    ]
    return all(isinstance(s, tabular.Statistics) for s in statistics) and all(
        np.array_equal(x, y) if isinstance(y, np.ndarray) else x == y for x, y in fields
    )


def member(found: tuple[Plan, ...], maps: tuple[Map, ...] | None = None) -> Member:
    """ψ as a model holds it; without `maps` the features are the columns as they are."""
    weights = tuple(
        {"centre": jnp.asarray(p.centre, jnp.float32), "weight": jnp.asarray(p.weight, jnp.float32)}
        for p in found
    )
    widths = (p.weight.shape[1] for p in found)
    return Member(weights, maps or tuple(Map(jnp.zeros(w), jnp.eye(w)) for w in widths))


def _plan(modality: Modality, public: Public) -> Plan:
    options = modality.options
    if not isinstance(options, TabularOptions):
        raise PrivacyError(
            f"modalities.{modality.name}",
            f"is of kind {modality.kind!r}: its projection is fitted to the records",
            "Private fits read tables: embed it by a network trained elsewhere, and give columns.",
        )
    numeric = [name for name in modality.columns if name not in options.categorical]
    for name, known in [(n, public.ranges) for n in numeric] + [
        (n, public.levels) for n in options.categorical
    ]:
        if name not in known:
            raise PrivacyError(
                f"modalities.{modality.name}, column {name!r}",
                "is not among the public ranges and levels",
                "State it: what the records themselves say would have to be paid for.",
            )
    ends = np.reshape([public.ranges[name] for name in numeric], (-1, 2))
    logged = (ends[:, 0] > 0) & (ends[:, 1] >= DECADE * ends[:, 0])
    low, high = np.where(logged[:, None], np.log(np.where(logged[:, None], ends, 1)), ends).T
    levels = tuple(public.levels[name] for name in options.categorical)
    statistics = tabular.Statistics(
        ends[:, 0],
        ends[:, 1],
        logged,
        ((low + high) / 2).astype(np.float32),
        ((high - low) / WIDTH).astype(np.float32),
        levels,
    )
    return Plan(statistics, *_columns(numeric, options.categorical, levels, public.gaps))


def _columns(
    numeric: list[str],
    categorical: tuple[str, ...],
    levels: tuple[tuple[str, ...], ...],
    gaps: tuple[str, ...],
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, "column p"]]:
    """Numbers as they are; of levels all but the first, as ±1; of columns with gaps a flag each."""
    first = [(j == 0) for known in levels for j in range(len(known))]
    names = [
        *numeric,
        *(name for name, known in zip(categorical, levels, strict=True) for _ in known),
    ]
    kept = [*(True for _ in numeric), *(not one for one in first)]
    flags = _flags(names, gaps)
    centre = np.array([*(0.0 for _ in numeric), *(0.5 for _ in first), *(0.0 for _ in names)])
    scale = np.array([*(1.0 for _ in numeric), *(2.0 for _ in first), *(1.0 for _ in names)])
    chosen = np.flatnonzero(np.concatenate([kept, flags]))
    weight = np.zeros((len(centre), len(chosen)))
    weight[chosen, np.arange(len(chosen))] = scale[chosen]
    return centre, weight


def _flags(names: list[str], gaps: tuple[str, ...]) -> Bool[np.ndarray, " column"]:
    """Which columns' masks are read: one of each column with gaps."""
    return np.array([n in gaps and names.index(n) == j for j, n in enumerate(names)], bool)
