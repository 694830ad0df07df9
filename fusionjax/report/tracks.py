"""Dot plots inside tables: each row's estimate on a scale that the column shares."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from fusionjax.metrics import Estimate

WIDTH = 120
MARGIN = 6


class Track(NamedTuple):
    """Where one row's dot, its whiskers and the zero line stand, in pixels; None is not drawn."""

    value: float | None
    low: float | None
    high: float | None
    zero: float | None


def tracks(estimates: Sequence[Estimate], zero: bool = False) -> tuple[Track, ...]:
    """Place estimates on one common scale; with `zero` the scale takes in 0 and marks it."""
    ends = [end for entry in estimates for end in entry if math.isfinite(end)]
    ends += [0.0] if zero else []
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    span = (high - low) or 1.0

    def place(number: float) -> float | None:
        if not math.isfinite(number):
            return None
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (number - low) / span, 1)

    origin = place(0.0) if zero else None
    return tuple(Track(*[*map(place, entry), origin]) for entry in estimates)
