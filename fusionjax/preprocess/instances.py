"""Several files of one modality of one record, side by side: the instance axis."""

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, cast

import numpy as np
from jax import Array
from jaxtyping import Float

from fusionjax.types import Inputs

MOST = 8


def slots(raws: Iterable[Sized], least: int = 1) -> int:
    """How many instances to make room for: the most that a record has, from `least` to 8."""
    return min(MOST, max([least, *map(len, raws)]))


def host(values: np.ndarray, mask: np.ndarray) -> Inputs:
    """`Inputs` that are still NumPy arrays: they go to the device later, a batch at a time."""
    return Inputs(cast(Array, values), cast(Array, mask))


def stack(
    raws: Sequence[Sequence[Any]],
    room: int,
    shape: tuple[int, int],
    prepare: Callable[[Any], Float[np.ndarray, "step channel"]],
) -> Inputs:
    """Values [batch, room, *shape] of prepared sequences, each masked beyond its own length.

    The instances of a record beyond `room` are left out, and so are steps that are NaN throughout;
    any other NaN becomes 0.
    """
    values = np.zeros((len(raws), room, *shape), np.float32)
    mask = np.zeros(values.shape[:3], bool)
    for record, raw in enumerate(raws):
        for slot, item in enumerate(raw[:room]):
            steps = prepare(item)[: shape[0]]
            seen = np.isfinite(steps)
            values[record, slot, : len(steps)] = np.where(seen, steps, 0)
            mask[record, slot, : len(steps)] = seen.any(axis=1)
    return host(values, mask)
