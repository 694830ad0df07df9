"""φ for tables: numbers winsorised and standardised, levels one-hot, gaps masked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fusionjax.card import TabularOptions
from fusionjax.preprocess.instances import host
from fusionjax.preprocess.moments import moments
from fusionjax.types import Inputs

Raw = tuple[Float[np.ndarray, " _numeric"], tuple[str, ...]]
LIMITS = (0.005, 0.995)
"""Quantiles beyond which numbers are moved to the nearer one."""


class Statistics(NamedTuple):
    """Of the training records: limits, use of the logarithm and moments of numbers, and levels.

    `low` and `high` are in the units of the table, `mean` and `sd` after the logarithm.
    """

    low: Float[np.ndarray, " numeric"]
    high: Float[np.ndarray, " numeric"]
    logged: Bool[np.ndarray, " numeric"]
    mean: Float[np.ndarray, " numeric"]
    sd: Float[np.ndarray, " numeric"]
    levels: tuple[tuple[str, ...], ...]


def fit(raws: Sequence[Raw], options: TabularOptions) -> Statistics:
    """Statistics of training rows: numbers with NaN, levels with "", where there is nothing.

    Limits are the 0.5 and 99.5 % quantiles. A column of positive numbers, as concentrations are,
    is logged where that leaves it less skewed. A level counts if two records have it.
    """
    numbers = _numbers(raws, len(raws[0][0]))
    low, high = _limits(numbers)
    clipped = np.clip(numbers, low, high)
    logged = _logged(clipped)
    mean, sd = moments([_log(clipped, logged)], len(low))
    columns = zip(*(levels for _, levels in raws), strict=True)
    return Statistics(low, high, logged, mean, sd, tuple(_levels(column) for column in columns))


def apply(statistics: Statistics, raws: Sequence[Raw], options: TabularOptions) -> Inputs:
    """Values [batch, column] and mask: numbers in order, then 0 or 1 for each level in order.

    A level that training did not know is 0 throughout, yet observed.
    """
    numbers = _numbers(raws, len(statistics.low))
    seen = np.isfinite(numbers)
    clipped = np.clip(np.where(seen, numbers, statistics.low), statistics.low, statistics.high)
    standard = (_log(clipped, statistics.logged) - statistics.mean) / statistics.sd
    values, mask = [np.where(seen, standard, 0)], [seen]
    for column, known in enumerate(statistics.levels):
        cells = np.array([levels[column] for _, levels in raws], dtype=object)[:, None]
        values.append(cells == np.array(known, dtype=object)[None, :])
        mask.append(np.repeat(cells != "", len(known), axis=1))
    return host(np.concatenate(values, axis=1, dtype=np.float32), np.concatenate(mask, axis=1))


def names(
    statistics: Statistics, columns: tuple[str, ...], options: TabularOptions
) -> tuple[str, ...]:
    """What each column of the values is called: the table's name, or "name = level"."""
    numeric = tuple(name for name in columns if name not in options.categorical)
    pairs = zip(options.categorical, statistics.levels, strict=True)
    return numeric + tuple(f"{name} = {level}" for name, known in pairs for level in known)


def worth_logging(
    positive: Bool[np.ndarray, " numeric"],
    raw: Float[np.ndarray, " numeric"],
    log: Float[np.ndarray, " numeric"],
) -> Bool[np.ndarray, " numeric"]:
    """Positive columns that are skewed to the right, and less so after the logarithm."""
    return positive & (raw > 1) & (np.abs(log) < raw)


def kept_levels(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The levels that two records have, in order."""
    return tuple(sorted(level for level, n in counts.items() if n >= 2))


def _numbers(raws: Sequence[Raw], columns: int) -> Float[np.ndarray, "record numeric"]:
    return np.reshape([numbers for numbers, _ in raws], (len(raws), columns)).astype(np.float64)


def _limits(
    numbers: Float[np.ndarray, "record numeric"],
) -> tuple[Float[np.ndarray, " numeric"], Float[np.ndarray, " numeric"]]:
    """Quantiles of what was observed; 0 and 0 for a column that never was."""
    observed = [column[np.isfinite(column)] for column in numbers.T]
    pairs = [np.quantile(c, LIMITS) if len(c) else np.zeros(2) for c in observed]
    low, high = np.reshape(pairs, (-1, 2)).T
    return low, high


def _logged(clipped: Float[np.ndarray, "record numeric"]) -> Bool[np.ndarray, " numeric"]:
    positive = np.all((clipped > 0) | np.isnan(clipped), axis=0)
    return worth_logging(positive, _skewness(clipped), _skewness(_log(clipped, positive)))


def _skewness(numbers: Float[np.ndarray, "record numeric"]) -> Float[np.ndarray, " numeric"]:
    mean, sd = moments([numbers], numbers.shape[1])
    standard = np.where(np.isfinite(numbers), (numbers - mean) / sd, 0)
    return (standard**3).sum(0) / np.maximum(np.isfinite(numbers).sum(0), 1)


def _log(
    numbers: Float[np.ndarray, "record numeric"], where: Bool[np.ndarray, " numeric"]
) -> Float[np.ndarray, "record numeric"]:
    return np.where(where, np.log(np.where(where, numbers, 1)), numbers)


def _levels(column: tuple[str, ...]) -> tuple[str, ...]:
    return kept_levels(Counter(level for level in column if level))
