"""Do uncertainties tell records from elsewhere from those like the training records?"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from fusionjax.metrics.ranking import binary_auroc, false_positives_at
from fusionjax.metrics.resampling import Estimate, interval


class Detected(NamedTuple):
    """How one uncertainty fares: an AUROC of 0.5 and an FPR95 of 0.95 are those of chance.

    `auroc` is P(a record from elsewhere is the more uncertain), `fpr95` the share of those from
    elsewhere that pass where 95 % of the others do (Hendrycks and Gimpel 2017).
    """

    auroc: Estimate
    fpr95: Estimate


def out_of_distribution(
    uncertainty: Mapping[str, Float[np.ndarray, " n"]],
    outside: Bool[np.ndarray, " n"],
    group: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
    resamples: int = 500,
) -> dict[str, Detected]:
    """Each uncertainty, larger for stranger records, with 95 % intervals over patients.

    `outside` says which records are from elsewhere. Records of which an uncertainty is NaN are
    left out of its own figures, which are NaN where one of the two sides is empty.
    """
    found = {}
    for name, values in uncertainty.items():
        known = np.isfinite(values)
        score, inside = -values[known], ~outside[known]
        patient = None if group is None else group[known]
        found[name] = Detected(
            *(
                interval(partial(metric, score, inside), len(score), patient, seed, resamples)
                for metric in (binary_auroc, false_positives_at)
            )
        )
    return found
