"""Predictions before and after calibration, measured: the JSON values of a calibration run.

Up to `MOST` records are held in memory and their patients resampled; beyond, what was summed in a
stream is summarised with a jackknife over buckets of patients. The stream gives the same values of
fewer metrics, ranks by histograms, and no tests, net benefit or paired differences.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionjax import conformal, metrics
from fusionjax.conformal import Limits
from fusionjax.metrics import Estimate, Reliability, RiskCoverage, streaming
from fusionjax.metrics.arrays import Metric, Prob, Value, Weight
from fusionjax.metrics.calibration import wilson
from fusionjax.metrics.streaming import Sums
from fusionjax.metrics.subgroups import FEWEST_PATIENTS, warning

MOST = 100_000
MOST_STRATA = 100
"""Of a column that are shown: the largest, or in a stream the first that come."""
FEWEST_STREAMED = 10_000
SHOWN = ("accuracy", "auroc", "nll", "ece")
OVERALL = ("all records", "")


def _risk(prob: Prob, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return prob.max(axis=1), (prob.argmax(axis=1) != label).astype(np.float64)


def _aurc(prob: Prob, label: np.ndarray, weight: Weight | None = None) -> Value:
    return metrics.aurc(*_risk(prob, label), weight)


def _augrc(prob: Prob, label: np.ndarray, weight: Weight | None = None) -> Value:
    return metrics.augrc(*_risk(prob, label), weight)


EVERY: dict[str, Metric] = {
    **metrics.METRICS,
    "auroc_pairs": metrics.auroc_pairs,
    "auprc": metrics.auprc,
    "sensitivity_at": metrics.sensitivity_at,
    "ece_equal_width": metrics.ece_equal_width,
    "ece_top_label": metrics.ece_top_label,
    "ece_classwise": metrics.ece_classwise,
    "smooth_ece": metrics.smooth_ece,
    "brier_reliability": lambda *sample: metrics.brier_decomposition(*sample).reliability,
    "brier_resolution": lambda *sample: metrics.brier_decomposition(*sample).resolution,
    "aurc": _aurc,
    "augrc": _augrc,
}


class Tests(NamedTuple):
    """Labelled test records in memory; `strata` has a column of names for each kind."""

    before: Float[np.ndarray, "n class"]
    after: Float[np.ndarray, "n class"]
    label: Int[np.ndarray, " n"]
    patient: Int[np.ndarray, " n"]
    chosen: np.ndarray
    strata: dict[str, np.ndarray]


class Tally(NamedTuple):
    """What a stream of test records leaves: sums, and how prediction sets fared, by stratum.

    `left_out` counts the records of each column whose stratum is beyond the `MOST_STRATA` shown.
    """

    before: Sums
    after: dict[tuple[str, str], Sums]
    sets: dict[tuple[str, str], np.ndarray]
    left_out: dict[str, int]


def exact(tests: Tests, limits: Limits | None, kind: str, seed: int) -> dict[str, Any]:
    """Every metric of records in memory, with intervals that resample patients."""
    n = len(tests.label)
    resamples = int(np.clip(5_000_000 // max(n, 1), 100, 500))
    found = {
        name: {
            key: plain(metrics.bootstrap(one, prob, tests.label, tests.patient, seed, resamples))
            for key, one in EVERY.items()
        }
        for name, prob in (("before", tests.before), ("after", tests.after))
    }
    gaps = {
        key: plain(
            metrics.difference(
                EVERY[key], tests.after, tests.before, tests.label, tests.patient, seed, resamples
            )
        )
        for key in (*SHOWN, "brier", "smooth_ece")
    }
    pair = (("before", tests.before), ("after", tests.after))
    return {
        "metrics": {**found, "difference": gaps},
        "tests": {name: _tests(prob, tests.label) for name, prob in pair},
        "reliability": {
            name: listed(metrics.reliability_curve(prob, tests.label)) for name, prob in pair
        },
        "risk_coverage": {
            name: listed(metrics.risk_coverage(*_risk(prob, tests.label))) for name, prob in pair
        },
        "net_benefit": _net_benefit(tests),
        "strata": [
            _whole(tests, found["after"], limits, kind),
            *(row for column in tests.strata for row in _strata(tests, column, limits, kind, seed)),
        ],
        "strata_left_out": {
            column: left
            for column, names in tests.strata.items()
            if (left := int((~_shown(names)).sum()))
        },
    }


def streamed(tally: Tally, limits: Limits | None, kind: str) -> dict[str, Any]:
    """What sums can give of the same values."""
    every = {"before": tally.before, "after": tally.after[OVERALL]}
    rows = []
    for (column, name), sums in tally.after.items():
        estimates = streaming.summarise(sums)
        rows.append(
            {
                "column": column,
                "name": name,
                "records": int(sums.records.sum()),
                "metrics": {key: plain(estimates[key]) for key in SHOWN},
                "warning": _doubt(sums),
                "coverage": _coverage(tally.sets[column, name], limits, kind, column, name),
            }
        )
    return {
        "metrics": {
            name: {key: plain(e) for key, e in streaming.summarise(sums).items()}
            for name, sums in every.items()
        },
        "reliability": {name: _reliability(sums) for name, sums in every.items()},
        "risk_coverage": {name: _risk_coverage(sums) for name, sums in every.items()},
        "strata": rows,
        "strata_left_out": tally.left_out,
    }


def against(tests: Tests, other: Prob, seed: int) -> dict[str, Any]:
    """Calibrated predictions less another model's of the same records, with both.

    Intervals resample patients, but that of accuracy, which is McNemar's, and of AUROC between two
    classes, DeLong's: these have a p-value, and take records as independent.
    """
    label, patient = tests.label, tests.patient
    sides = {"after": tests.after, "other": other}
    found = {
        side: {
            key: plain(metrics.bootstrap(EVERY[key], prob, label, patient, seed)) for key in SHOWN
        }
        for side, prob in sides.items()
    }
    gaps: dict[str, dict[str, float | None]] = {
        key: plain(metrics.difference(EVERY[key], tests.after, other, label, patient, seed))
        for key in SHOWN
    }
    right = [prob.argmax(axis=1) == label for prob in sides.values()]
    paired = {"accuracy": metrics.mcnemar(*right)}
    if other.shape[1] == 2:
        paired["auroc"] = metrics.delong(tests.after[:, 1], other[:, 1], label == 1)
    for key, one in paired.items():
        p_value = float(one.p_value) if np.isfinite(one.p_value) else None
        gaps[key] = {**plain(one.difference), "p_value": p_value}
    return {**found, "difference": gaps}


def plain(estimate: Estimate) -> dict[str, float | None]:
    """An estimate as JSON values, null where it is undefined."""
    return {k: float(v) if np.isfinite(v) else None for k, v in estimate._asdict().items()}


def listed(curve: Reliability | RiskCoverage) -> dict[str, list]:
    """A curve's arrays as lists."""
    return {name: np.asarray(values).tolist() for name, values in curve._asdict().items()}


def _tests(prob: np.ndarray, label: np.ndarray) -> dict[str, dict[str, float | None]]:
    pair = {
        "spiegelhalter": metrics.spiegelhalter(prob, label),
        "kuiper": metrics.kuiper(prob, label),
    }
    return {
        name: {k: float(v) if np.isfinite(v) else None for k, v in found._asdict().items()}
        for name, found in pair.items()
    }


def _net_benefit(tests: Tests) -> list[dict[str, Any]]:
    """For each class and threshold: the model's, calibrated and not, and of treating everyone."""
    return [
        {
            "class": k,
            "threshold": float(t),
            "before": float(metrics.net_benefit(tests.before[:, k], tests.label == k, float(t))),
            "after": float(metrics.net_benefit(tests.after[:, k], tests.label == k, float(t))),
            "treat_all": float(metrics.treat_all(tests.label == k, float(t))),
        }
        for k in range(tests.before.shape[1])
        for t in np.arange(1, 20) / 20
        if len(tests.label)
    ]


def _whole(
    tests: Tests, measured: dict[str, Any], limits: Limits | None, kind: str
) -> dict[str, Any]:
    """The row of all records, by what was measured of them already."""
    column, name = OVERALL
    patients, of_class = len(np.unique(tests.patient)), np.bincount(tests.label)
    return {
        "column": column,
        "name": name,
        "records": len(tests.label),
        "metrics": {key: measured[key] for key in SHOWN},
        "warning": warning(patients, of_class),
        "coverage": _coverage(_held(tests, slice(None)), limits, kind, column, name),
    }


def _strata(
    tests: Tests, column: str, limits: Limits | None, kind: str, seed: int
) -> list[dict[str, Any]]:
    names, shown = tests.strata[column].astype(str), _shown(tests.strata[column])
    prob, label, patient = tests.after[shown], tests.label[shown], tests.patient[shown]
    only = {key: EVERY[key] for key in SHOWN}
    return [
        {
            "column": column,
            "name": one.name,
            "records": one.records,
            "metrics": {key: plain(e) for key, e in one.metrics.items()},
            "warning": one.warning,
            "coverage": _coverage(_held(tests, names == one.name), limits, kind, column, one.name),
        }
        for one in metrics.by_subgroup(prob, label, patient, names[shown], seed, only)
    ]


def _shown(names: np.ndarray) -> np.ndarray:
    """Which records are of the largest strata, as many as are shown."""
    _, index, count = np.unique(names.astype(str), return_inverse=True, return_counts=True)
    largest = np.argsort(-count, kind="stable")[:MOST_STRATA]
    return np.isin(index, largest)


def _held(tests: Tests, rows: np.ndarray | slice) -> np.ndarray:
    """Of so many records, how many sets hold the label, and their sizes together."""
    chosen, label = tests.chosen[rows], tests.label[rows]
    return np.array([len(label), chosen[np.arange(len(label)), label].sum(), chosen.sum()])


def _doubt(sums: Sums) -> str:
    """What is too few to tell in a stream, which knows of patients only the buckets they fill."""
    filled = int((sums.records > 0).sum())
    if filled < FEWEST_PATIENTS:
        return "too few patients to tell"
    found = warning(filled, sums.confusion.sum(axis=(0, 2)).astype(int))
    if not found and sums.records.sum() < FEWEST_STREAMED:
        return f"fewer than {FEWEST_STREAMED} records: intervals by buckets are rough"
    return found


def _coverage(
    counts: np.ndarray, limits: Limits | None, kind: str, column: str, name: str
) -> dict[str, float | None]:
    """Share covered, mean size, and the band if the promise is kept; null where none was made.

    `kind` is the column by whose strata the sets were made, "" where there is one limit for all.
    Records of several limits have no band: theirs is a mixture of the laws of each.
    """
    if limits is None or counts[0] == 0:
        return {"covered": None, "size": None, "low": None, "high": None}
    found = {"covered": float(counts[1] / counts[0]), "size": float(counts[2] / counts[0])}
    if kind and (column != kind or name not in limits.limit or name in limits.marginal):
        return {**found, "low": None, "high": None}
    strata = limits.pooled if name in limits.pooled else (name,) if kind else limits.records
    records = sum(limits.records[each] for each in strata)
    low, high = conformal.band(int(counts[0]), records, limits.coverage)
    return {**found, "low": low, "high": high}


def _reliability(sums: Sums) -> dict[str, list[float]]:
    confidence, accuracy, count = streaming.reliability(sums)
    low, high = wilson(accuracy, count)
    return {
        "confidence": confidence.tolist(),
        "accuracy": accuracy.tolist(),
        "count": count.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def _risk_coverage(sums: Sums) -> dict[str, list[float]]:
    """The curve at the ends of the bins that hold records, thinned to fifty points."""
    count = sums.top_count.sum(axis=0)[::-1]
    wrong = count - sums.top_hits.sum(axis=0)[::-1]
    kept = np.cumsum(count)
    at = np.flatnonzero(count > 0)
    at = at[np.unique(np.linspace(0, len(at) - 1, 50).astype(int))] if len(at) else at
    risk = np.cumsum(wrong)[at] / kept[at]
    error = 1.959964 * np.sqrt(risk * (1 - risk) / kept[at])
    return {
        "coverage": (kept[at] / max(kept[-1], 1)).tolist(),
        "risk": risk.tolist(),
        "low": np.maximum(risk - error, 0).tolist(),
        "high": (risk + error).tolist(),
    }
