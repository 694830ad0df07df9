"""φ for vectors computed elsewhere: each column standardised."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fusionjax.card import VectorOptions
from fusionjax.preprocess.instances import host
from fusionjax.preprocess.moments import moments, standardise
from fusionjax.types import Inputs

Raw = Float[np.ndarray, " _column"]


class Statistics(NamedTuple):
    """Of the training values of each column."""

    mean: Float[np.ndarray, " column"]
    sd: Float[np.ndarray, " column"]


def fit(raws: Sequence[Raw], options: VectorOptions) -> Statistics:
    """Statistics of training vectors; with none to be seen, one column."""
    present = [raw for raw in raws if len(raw)]
    rows = np.stack(present) if present else np.zeros((0, 1), np.float32)
    return Statistics(*moments([rows], rows.shape[1]))


def apply(statistics: Statistics, raws: Sequence[Raw], options: VectorOptions) -> Inputs:
    """Values [batch, column] and mask, False where a value is not finite or a record missing."""
    values = np.full((len(raws), len(statistics.mean)), np.nan, np.float32)
    for record, raw in enumerate(raws):
        if len(raw):
            values[record] = raw
    seen = np.isfinite(values)
    standard = standardise(values, statistics.mean, statistics.sd)
    return host(np.where(seen, standard, 0), seen)
