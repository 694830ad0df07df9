"""Predictions before and after calibration, measured: the JSON values of a calibration run.

Up to `MOST` records are held in memory and their patients resampled; beyond, what was summed in a
stream is summarised with a jackknife over buckets of patients. Both give the same values.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionjax import conformal, metrics
from fusionjax.conformal import Limits
from fusionjax.metrics import Estimate, Reliability, RiskCoverage, streaming
from fusionjax.metrics.arrays import Metric, Prob, Value, Weight
from fusionjax.metrics.streaming import Sums
from fusionjax.metrics.subgroups import FEWEST_PATIENTS

MOST = 100_000
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
    """What a stream of test records leaves: sums, and how prediction sets fared, by stratum."""

    before: Sums
    after: dict[tuple[str, str], Sums]
    sets: dict[tuple[str, str], np.ndarray]


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
        "strata": _strata(tests, limits, kind, seed),
    }


def streamed(tally: Tally, limits: Limits | None, kind: str) -> dict[str, Any]:
    """The same values from sums, but for tests and paired differences, which sums cannot give."""
    every = {"before": tally.before, "after": tally.after[OVERALL]}
    rows = []
    for (column, name), sums in tally.after.items():
        filled = int((sums.records > 0).sum())
        few = filled < FEWEST_PATIENTS
        estimates = streaming.summarise(sums)
        counts = tally.sets.get((column, name), np.zeros(3))
        rows.append(
            {
                "column": column,
                "name": name,
                "records": int(sums.records.sum()),
                "metrics": {key: plain(estimates[key]) for key in SHOWN},
                "warning": "too few patients to tell" if few else "",
                "coverage": _coverage(counts, limits, kind, column, name),
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
    }


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


def _strata(tests: Tests, limits: Limits | None, kind: str, seed: int) -> list[dict[str, Any]]:
    held = np.zeros(len(tests.label), bool)
    if len(held):
        held = tests.chosen[np.arange(len(held)), tests.label]
    columns = {OVERALL[0]: np.full(len(held), OVERALL[1], object), **tests.strata}
    shown: Mapping[str, Metric] = {key: EVERY[key] for key in SHOWN}
    rows = []
    for column, names in columns.items():
        resamples = int(np.clip(2_000_000 // max(len(held), 1), 50, 200))
        for one in metrics.by_subgroup(
            tests.after, tests.label, tests.patient, names, seed, shown, resamples
        ):
            here = names.astype(str) == one.name
            counts = np.array([here.sum(), held[here].sum(), tests.chosen[here].sum()])
            rows.append(
                {
                    "column": column,
                    "name": one.name,
                    "records": one.records,
                    "metrics": {key: plain(e) for key, e in one.metrics.items()},
                    "warning": one.warning,
                    "coverage": _coverage(counts, limits, kind, column, one.name),
                }
            )
    return rows


def _coverage(
    counts: np.ndarray, limits: Limits | None, kind: str, column: str, name: str
) -> dict[str, float | None]:
    """Share covered, mean size, and the band if the promise is kept; null where none was made.

    `kind` is the column by whose strata the sets were made, "" where there is one limit for all.
    """
    if limits is None or counts[0] == 0:
        return {"covered": None, "size": None, "low": None, "high": None}
    own = column == kind and name in limits.limit and name not in limits.marginal
    records = limits.records[name] if own else sum(limits.records.values())
    if own and name in limits.pooled:
        records = sum(limits.records[each] for each in limits.pooled)
    low, high = conformal.band(int(counts[0]), records, limits.coverage)
    return {
        "covered": float(counts[1] / counts[0]),
        "size": float(counts[2] / counts[0]),
        "low": low,
        "high": high,
    }


def _reliability(sums: Sums) -> dict[str, list[float]]:
    confidence, accuracy, count = streaming.reliability(sums)
    error = 1.959964 * np.sqrt(np.maximum(accuracy * (1 - accuracy), 1e-12) / count)
    return {
        "confidence": confidence.tolist(),
        "accuracy": accuracy.tolist(),
        "count": count.tolist(),
        "low": np.maximum(accuracy - error, 0).tolist(),
        "high": np.minimum(accuracy + error, 1).tolist(),
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
