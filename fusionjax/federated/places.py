"""Order statistics from counts: a number's place among all float32 numbers, found part by part.

The bits of a float32, with the sign turned, count up as the number does. Sites count how many
values fall into each of 2,048 parts of all places; the part that holds the value of the rank asked
for is parted again, and after three rounds the value is known to the bit.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Int64

Ranks = Callable[[Int64[np.ndarray, " column"]], Int[np.ndarray, "column rank"]]
BITS = (11, 11, 10)
PARTS = 1 << max(BITS)


def place(values: Float[np.ndarray, " value"]) -> Int64[np.ndarray, " value"]:
    """Of finite numbers, from 0 to 2^32 − 1, in their order; −0 is 0."""
    bits = (np.asarray(values, np.float32) + np.float32(0)).view(np.uint32).astype(np.int64)
    return np.where(bits >= 1 << 31, (1 << 32) - 1 - bits, bits + (1 << 31))


def value(places: Int64[np.ndarray, " place"]) -> Float[np.ndarray, " place"]:
    """The numbers at these places."""
    bits = np.where(places >= 1 << 31, places - (1 << 31), (1 << 32) - 1 - places)
    return bits.astype(np.uint32).view(np.float32)


def count(
    values: Float[np.ndarray, " value"], prefix: int, depth: int
) -> Int64[np.ndarray, " part"]:
    """How many finite values lie in each part of the places that begin with `prefix`."""
    at = place(values[np.isfinite(values)])
    done, left = sum(BITS[:depth]), 32 - sum(BITS[: depth + 1])
    inside = at[at >> (32 - done) == prefix]
    return np.bincount((inside >> left) & ((1 << BITS[depth]) - 1), minlength=PARTS)


def descend(
    counts: Int64[np.ndarray, "query part"],
    prefix: Int64[np.ndarray, " query"],
    rank: Int[np.ndarray, " query"],
    depth: int,
) -> tuple[Int64[np.ndarray, " query"], Int[np.ndarray, " query"]]:
    """The prefix one round longer of the value of each rank, from 0, and its rank within that."""
    below = np.cumsum(counts, axis=1)
    part = np.minimum((below <= rank[:, None]).sum(axis=1), (1 << BITS[depth]) - 1)
    before = np.take_along_axis(below - counts, part[:, None], axis=1)[:, 0]
    return (prefix << BITS[depth]) + part, rank - before
