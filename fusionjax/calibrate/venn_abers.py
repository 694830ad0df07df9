"""Inductive Venn–Abers: two probabilities, one of which is calibrated (Vovk, Petej, Fedorova 2015).

The record in question is added to the calibration records once as a negative and once as a
positive, and isotonic regression gives p₀ and p₁: as [p₀, p₁] an honest interval for the
probability. One number is theirs of least log loss in the worst case, p₁/(1 − p₀ + p₁). All the
regressions are done at once, by sliding along the convex minorant of the cumulative sums (their
algorithms 1 to 4).
"""

import numpy as np
from jaxtyping import Float

from fusionjax.calibrate.one_vs_rest import lifted, to_log_odds, within
from fusionjax.calibrate.types import Parameters

Point = tuple[float, float]


def interval(
    parameters: Parameters, odds: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """p₀ and p₁ of records whose class has these log-odds; `parameters` of one class."""
    levels = np.asarray(parameters["odds"])
    below = np.searchsorted(levels, odds, side="right")
    above = np.searchsorted(levels, odds, side="left")
    return np.array([0.0, *parameters["p0"]])[below], np.array([*parameters["p1"], 1.0])[above]


def _fit(odds: np.ndarray, positive: np.ndarray) -> Parameters:
    levels, index = np.unique(odds, return_inverse=True)
    count = np.bincount(index, minlength=len(levels)).astype(float)
    hits = np.bincount(index, positive, minlength=len(levels))
    p1 = _added(count, hits)
    # A negative from the one side is a positive from the other.
    p0 = 1 - _added(count[::-1], (count - hits)[::-1])[::-1]
    return {"odds": levels.tolist(), "p0": p0.tolist(), "p1": p1.tolist(), "records": len(odds)}


def _apply(parameters: Parameters, odds: np.ndarray) -> np.ndarray:
    p0, p1 = interval(parameters, odds)
    return to_log_odds(within(p1 / (1 - p0 + p1), parameters["records"]))


def _added(count: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The isotonic value at each level after one positive is added to it."""
    points = [(-1.0, -1.0), (0.0, 0.0)]
    points += zip(np.cumsum(count).tolist(), np.cumsum(hits).tolist(), strict=True)
    corners: list[Point] = []
    for point in points:
        while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0:
            corners.pop()
        corners.append(point)
    corners.reverse()
    found = np.empty(len(count))
    for i in range(len(count)):
        (x, y), (right, top) = corners[-1], corners[-2]
        found[i] = (top - y) / (right - x)
        before, here, after = points[i], points[i + 1], points[i + 2]
        moved = (before[0] + after[0] - here[0], before[1] + after[1] - here[1])
        points[i + 1] = moved
        if _turn(corners[-1], corners[-2], moved) >= 0:
            continue
        corners.pop()
        while len(corners) > 1 and _turn(moved, corners[-1], corners[-2]) <= 0:
            corners.pop()
        corners.append(moved)
    return found


def _turn(a: Point, b: Point, c: Point) -> float:
    """Positive where c lies to the left of the way from a to b."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


VENN_ABERS = lifted(_fit, _apply)
