"""Sums over units with Gaussian noise that is exact: integers, and coins instead of floats.

Floating-point noise has holes in its low digits that give a sum away (Mironov 2012). So every
unit's contribution is rounded to a grid, its sensitivity is counted in whole steps of that grid,
and the noise is a discrete Gaussian, sampled without floating point (Canonne, Kamath and Steinke
2020, "The discrete Gaussian for differential privacy", algorithms 1 to 3).
"""

import math
from random import Random
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

STEPS = 1 << 20
"""Steps of the grid to the bound on a unit's norm."""


class Released(NamedTuple):
    """A noisy sum, and the deviation of the noise on each of its entries."""

    value: Float[np.ndarray, " m"]
    deviation: float


def noisy_sum(
    contributions: Float[np.ndarray, "unit m"], bound: float, multiplier: float, source: Random
) -> Released:
    """Σ over units, each shortened to norm `bound`, with noise of `multiplier` × the sensitivity.

    `source` is `random.SystemRandom()`, the operating system's generator, where a promise is to
    hold. What is not finite counts as 0: the guarantee holds for any contribution whatever.
    """
    whole = on_grid(contributions, bound)
    deviation = math.ceil(multiplier * sensitivity(contributions.shape[1]))
    noise = [discrete_gaussian(deviation, source) for _ in range(contributions.shape[1])]
    step = bound / STEPS
    return Released((whole.sum(axis=0) + np.array(noise)) * step, deviation * step)


def sensitivity(size: int) -> int:
    """The most that blanking one unit changes a sum of `size` entries, in steps of the grid.

    Rounding moves each entry by half a step at most, and so a norm by √size/2.
    """
    return math.ceil(STEPS + math.sqrt(size) / 2)


def on_grid(contributions: Float[np.ndarray, "unit m"], bound: float) -> Int[np.ndarray, "unit m"]:
    """Whole steps of the grid; every row's norm is at most `sensitivity`."""
    finite = np.where(np.isfinite(contributions), contributions, 0.0)
    # By the largest entry first: the square of a huge number is infinite.
    largest = np.maximum(np.abs(finite).max(axis=1, initial=0.0, keepdims=True), bound)
    scaled = finite / largest
    norm = np.sqrt((scaled**2).sum(axis=1, keepdims=True))
    shrunk = np.minimum(largest / bound, 1 / np.maximum(norm, 1e-300))
    whole = np.rint(scaled * shrunk * STEPS).astype(np.int64)
    # Never true but by a rounding error nobody foresaw; the promise must not hang on that.
    long = (whole**2).sum(axis=1) > sensitivity(contributions.shape[1]) ** 2
    whole[long] = 0
    return whole


def discrete_gaussian(deviation: int, source: Random) -> int:
    """An integer x with probability in proportion to exp(−x²/2 deviation²), exactly."""
    scale, variance = deviation + 1, deviation**2
    while True:
        x = _discrete_laplace(scale, source)
        gap = abs(x) * scale - variance
        if _exponential(gap * gap, 2 * variance * scale * scale, source):
            return x


def _discrete_laplace(scale: int, source: Random) -> int:
    """An integer x with probability in proportion to exp(−|x|/scale)."""
    while True:
        rest = source.randrange(scale)
        if not _exponential(rest, scale, source):
            continue
        whole = 0
        while _exponential(1, 1, source):
            whole += 1
        x, negative = rest + scale * whole, source.randrange(2)
        if x or not negative:
            return -x if negative else x


def _exponential(above: int, below: int, source: Random) -> bool:
    """True with probability exp(−above/below)."""
    while above > below:
        if not _fraction(1, 1, source):
            return False
        above -= below
    return _fraction(above, below, source)


def _fraction(above: int, below: int, source: Random) -> bool:
    """True with probability exp(−above/below) where that is at most 1: an alternating series."""
    k = 1
    while source.randrange(below * k) < above:
        k += 1
    return k % 2 == 1
