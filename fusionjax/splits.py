"""Records into training, validation and test, so that no patient is on two sides.

A group is all records of one patient. Rows without a label are in no split, and every random
split is the same for the same seed and table.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from fusionjax.card import SPLITS, SplitPlan, nearest
from fusionjax.errors import RecordError

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = Int64[np.ndarray, " _"]
Mask = Bool[np.ndarray, " _"]
_FILE = "records"


class Split(NamedTuple):
    """Rows of the records' table, in ascending order."""

    train: Rows
    validation: Rows
    test: Rows


def make(plan: SplitPlan, table: "DataFrame", classes: Sequence[str] = ()) -> Split:
    """Divide the labelled rows of `table` as the card plans.

    - group: grouped, stratified by label, at random.
    - site: the sites held out are the test; the rest is grouped and stratified.
    - date: the latest groups are the test, so that nothing in training is later than any of them.
    - column: what the column says; validation is taken from training where it says none.

    Raises RecordError where a group would be on two sides, or a side lacks what it needs; it names
    a class where `classes` do.
    """
    rows = np.flatnonzero(table["label"].to_numpy() >= 0)
    if not len(rows):
        raise RecordError(_FILE, None, "label", "no record has a label", "Label some.")
    if plan.by == "group":
        shares = (1 - plan.test - plan.validation, plan.validation, plan.test)
        split = Split(*_divide(rows, table, shares, plan.seed))
    elif plan.by == "column":
        split = _by_column(plan, table, rows)
    else:
        held = (_at_sites if plan.by == "site" else _latest)(plan, table, rows)
        _check_apart(table, rows, np.where(held, "test", "train"), plan.by)
        split = Split(*_carve(plan, table, rows[~held]), rows[held])
    _check_sides(split, table, classes)
    return split


def halve(rows: Rows, table: "DataFrame", fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Divide `rows` into `fraction` and the rest, grouped and stratified by label."""
    first, second = _divide(rows, table, (fraction, 1 - fraction), seed)
    return first, second


def shared(keys: Iterable[str], owners: Sequence[str] | np.ndarray) -> Iterator[tuple[int, int]]:
    """Places (j, i) of equal keys that have different owners; j is the first place of that key.

    An empty key is equal to none.
    """
    first: dict[str, int] = {}
    for i, (key, owner) in enumerate(zip(keys, owners, strict=True)):
        j = first.setdefault(key, i)
        if key and owner != owners[j]:
            yield j, i


def _divide(rows: Rows, table: "DataFrame", shares: Sequence[float], seed: int) -> tuple[Rows, ...]:
    """Rows into sides of about these `shares`, grouped and stratified.

    Groups are dealt out in random order, the largest first. Each goes to the side where it makes
    Σ (share got − share asked)² / share asked, summed over sides and classes, smallest.
    """
    counts, group = _count(rows, table)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    side = _deal(counts / counts.sum(axis=0), order, np.asarray(shares))[group]
    return tuple(rows[side == i] for i in range(len(shares)))


def _count(rows: Rows, table: "DataFrame") -> tuple[Float[np.ndarray, "group class"], Rows]:
    """Records of each class in each group, and the group of each row."""
    names, group = np.unique(table["group"].to_numpy(str)[rows], return_inverse=True)
    classes, label = np.unique(table["label"].to_numpy()[rows], return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group, label), 1)
    return counts, group


def _deal(
    parts: Float[np.ndarray, "group class"], order: Rows, shares: Float[np.ndarray, " side"]
) -> Rows:
    """The side of each group; `parts` are its fractions of the records of each class."""
    got = np.zeros((len(shares), parts.shape[1]))
    side = np.zeros(len(parts), np.int64)
    for group in order:
        cost = (parts[group][None] + 2 * (got - shares[:, None])) @ parts[group] / shares
        side[group] = np.argmin(cost)
        got[side[group]] += parts[group]
    return side


def _carve(plan: SplitPlan, table: "DataFrame", rows: Rows) -> tuple[Rows, Rows]:
    """Training and validation rows, in the proportion that the plan gives them."""
    fraction = plan.validation / (1 - plan.test)
    validation, train = halve(rows, table, fraction, plan.seed)
    return train, validation


def _by_column(plan: SplitPlan, table: "DataFrame", rows: Rows) -> Split:
    said = table["split"].to_numpy(str)[rows]
    for row, name in zip(rows, said.tolist(), strict=True):
        if name not in SPLITS:
            problem = f"{name!r} is no split" if name else "a labelled record is in no split"
            raise RecordError(_FILE, _line(table, row), "split", problem, nearest(name, SPLITS))
    _check_apart(table, rows, said, "split")
    train, validation, test = (rows[said == name] for name in SPLITS)
    if not len(validation) and len(train):
        train, validation = _carve(plan, table, train)
    return Split(train, validation, test)


def _at_sites(plan: SplitPlan, table: "DataFrame", rows: Rows) -> Mask:
    """Which rows are at a site that is held out."""
    site = table["site"].to_numpy(str)[rows]
    for name in plan.holdout:
        if name not in site:
            problem = f"no labelled record is at {name!r}, which the card holds out"
            raise RecordError(_FILE, None, "site", problem, nearest(name, np.unique(site).tolist()))
    return np.isin(site, plan.holdout)


def _latest(plan: SplitPlan, table: "DataFrame", rows: Rows) -> Mask:
    """Which rows belong to a group whose latest record is at or after the day of the cut.

    Of all days, the one is taken that brings the test closest to the share that the plan asks for.
    """
    dates = _dates(table, rows)
    _, group = np.unique(table["group"].to_numpy(str)[rows], return_inverse=True)
    last = np.full(len(rows), np.iinfo(np.int64).min)
    np.maximum.at(last, group, dates)
    last = last[group]
    days, counts = np.unique(last, return_counts=True)
    share = counts[::-1].cumsum()[::-1] / len(rows)
    closest = np.abs(share[1:] - plan.test).argmin() + 1 if len(days) > 1 else 0
    return last >= days[closest]


def _dates(table: "DataFrame", rows: Rows) -> Rows:
    """The date of each row in microseconds."""
    dates = table["date"].to_numpy("datetime64[us]")[rows]
    absent = rows[np.isnat(dates)]
    if len(absent):
        problem = f"{len(absent)} labelled records have no date, this the first"
        mend = "Write dates as 2024-12-31, or split by group."
        raise RecordError(_FILE, _line(table, absent[0]), "date", problem, mend)
    return dates.astype(np.int64)


def _check_apart(table: "DataFrame", rows: Rows, side: np.ndarray, column: str) -> None:
    """Raise RecordError where two records of a group are on different sides."""
    for j, i in shared(table["group"].to_numpy(str)[rows], side):
        there = f"{side[j]}, by row {_line(table, rows[j])}"
        problem = f"its group is in {there}, and in {side[i]}, by this row"
        mend = "All records of a group belong on one side; correct one, or split by group."
        raise RecordError(_FILE, _line(table, rows[i]), column, problem, mend)


def _check_sides(split: Split, table: "DataFrame", classes: Sequence[str]) -> None:
    """Raise RecordError where a side is empty, or a class has nothing to be learnt from."""
    for name, rows in zip(SPLITS, split, strict=True):
        if not len(rows):
            problem = f"no labelled record is left for {name}"
            raise RecordError(_FILE, None, None, problem, "Change [split], or add records.")
    label = table["label"].to_numpy()
    unseen = np.setdiff1d(label[np.concatenate(split)], label[split.train])
    if len(unseen):
        k = int(unseen[0])
        name = repr(classes[k]) if classes else f"number {k + 1} of the card"
        problem = f"the class {name} has no training record"
        mend = "Hold out others, or merge or ignore classes under [label]."
        raise RecordError(_FILE, None, "label", problem, mend)


def _line(table: "DataFrame", row: np.integer) -> int:
    """The line of a record in the file that it came from."""
    return int(table["row"].iloc[row])
