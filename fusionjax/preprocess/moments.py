"""Mean and standard deviation of columns, in one pass over records too many to hold at once."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

FLOAT32_RESOLUTION = 1e-7
FARTHEST = 100.0


class Moments(NamedTuple):
    """Of each column; 0 and 1 where nothing was seen, `sd` 1 where a column is constant."""

    mean: Float[np.ndarray, " column"]
    sd: Float[np.ndarray, " column"]


def moments(parts: Iterable[Shaped[np.ndarray, "_row _column"]], columns: int) -> Moments:
    """Over all rows of all parts, without the values that are not finite.

    Parts are merged by the update of Chan, Golub and LeVeque (1979), which does not cancel where
    the mean is large against the spread.
    """
    count, mean, squares = np.zeros((3, columns))
    for part in parts:
        seen = np.isfinite(part)
        more = seen.sum(0)
        some = np.maximum(more, 1)
        centre = np.where(seen, part, 0).sum(0, dtype=np.float64) / some
        spread = (np.where(seen, part - centre, 0) ** 2).sum(0)
        total = np.maximum(count + more, 1)
        delta = np.where(more > 0, centre - mean, 0)
        squares += spread + delta**2 * count * more / total
        mean += delta * more / total
        count += more
    sd = np.sqrt(squares / np.maximum(count, 1))
    constant = sd <= FLOAT32_RESOLUTION * np.abs(mean)
    return Moments(mean.astype(np.float32), np.where(constant, 1, sd).astype(np.float32))


def standardise(
    values: Float[np.ndarray, "row column"],
    mean: Float[np.ndarray, " column"],
    sd: Float[np.ndarray, " column"],
) -> Float[np.ndarray, "row column"]:
    """Deviations from `mean` in units of `sd`, at most 100: a corrupt value must stay finite."""
    standard = (values.astype(np.float64) - mean) / sd
    return np.clip(standard, -FARTHEST, FARTHEST).astype(np.float32)
