"""The same metrics for each subgroup and site, and a warning where there are too few to tell."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from fusionjax.metrics.arrays import Label, Metric, Prob
from fusionjax.metrics.resampling import METRICS, Estimate, bootstrap

FEWEST_PATIENTS = 30
FEWEST_OF_A_CLASS = 5


class Subgroup(NamedTuple):
    """Metrics of one subgroup; `warning` is empty where its numbers can be read."""

    name: str
    records: int
    patients: int
    metrics: dict[str, Estimate]
    warning: str


def by_subgroup(
    prob: Prob,
    label: Label,
    group: Shaped[np.ndarray, " n"] | None,
    subgroup: Shaped[np.ndarray, " n"],
    seed: int,
    metrics: Mapping[str, Metric] = METRICS,
    resamples: int = 200,
) -> tuple[Subgroup, ...]:
    """Every subgroup by name, in alphabetical order."""
    patient = np.arange(len(label)) if group is None else group
    found = []
    for name in np.unique(subgroup.astype(str)):
        rows = np.flatnonzero(subgroup.astype(str) == name)
        estimates = {
            key: bootstrap(metric, prob[rows], label[rows], patient[rows], seed, resamples)
            for key, metric in metrics.items()
        }
        patients = len(np.unique(patient[rows]))
        doubt = warning(patients, np.bincount(label[rows], minlength=prob.shape[1]))
        found.append(Subgroup(str(name), len(rows), patients, estimates, doubt))
    return tuple(found)


def warning(patients: int, of_class: np.ndarray) -> str:
    """What is too few to tell: patients for an interval, or records of a class for its AUROC."""
    if patients < FEWEST_PATIENTS:
        return f"{patients} patients: intervals are too narrow below {FEWEST_PATIENTS}"
    seen = of_class[of_class > 0]
    if len(seen) < 2:
        return "one class only: nothing can be ranked"
    if seen.min() < FEWEST_OF_A_CLASS:
        return f"a class has {seen.min()} records: its part of AUROC is noise"
    return ""
