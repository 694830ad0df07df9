"""`calibrator.json`: what a calibration run fitted, to be applied to other predictions later."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fusionjax import calibrate, conformal, files
from fusionjax.calibrate import Fitted
from fusionjax.conformal import Limits
from fusionjax.errors import ModelError, RecordError
from fusionjax.predictions import Block, Layout

NAME = "calibrator.json"
MEND = "Give the folder of a run of experiments.calibrate, or run it again."


class Calibration(NamedTuple):
    """What is applied to every record. `kind` names the column of the sets' strata, or is ""."""

    fitted: Fitted
    prior: np.ndarray
    limits: Limits | None
    kind: str
    sets: str


def save(folder: Path, calibration: Calibration, classes: tuple[str, ...]) -> None:
    """Write `calibrator.json`, whole or not at all."""
    limits = calibration.limits
    about = calibration.fitted._asdict() | {
        "prior": calibration.prior.tolist(),
        "classes": list(classes),
        "limits": limits and limits._asdict(),
        "within": calibration.kind,
        "sets": calibration.sets,
    }
    files.write(folder / NAME, json.dumps(about, allow_nan=False) + "\n")


def load(folder: Path) -> tuple[Calibration, tuple[str, ...]]:
    """The calibration of a run, and its classes. Raises ModelError where the file holds none."""
    path = folder / NAME
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        limits = about["limits"] and Limits(**about["limits"])
        fitted = Fitted(about["name"], about["stratified"], about["parameters"])
        _ = calibrate.CALIBRATORS[fitted.name]
        prior, classes = np.asarray(about["prior"], float), tuple(about["classes"])
        found = Calibration(fitted, prior, limits or None, str(about["within"]), about["sets"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(path, "is not the calibrator of a run", MEND) from error
    if len(classes) != len(prior):
        raise ModelError(path, "has another number of classes than its prior", MEND)
    return found, classes


def fitting(shape: Layout, calibration: Calibration, classes: tuple[str, ...]) -> Layout:
    """The layout of new predictions with its classes in the calibrator's order, and its strata.

    Raises RecordError where a class differs, or a column that the calibrator reads is not there.
    """
    if set(shape.classes) != set(classes):
        raise RecordError(
            shape.path,
            1,
            None,
            "has other classes than the calibrator was fitted to",
            f"It needs the columns {', '.join(f'p_{name}' for name in classes)}, and no other p_.",
        )
    needed = ["pattern"] if calibration.fitted.stratified else []
    needed += [calibration.kind] if calibration.kind not in ("", "label") else []
    for column in needed:
        if column not in shape.strata:
            raise RecordError(
                shape.path, 1, column, "there is no such column", "The calibrator reads it."
            )
    shape = shape._replace(classes=classes)
    return by_label(shape) if calibration.kind == "label" else shape


def by_label(shape: Layout) -> Layout:
    """The layout with its labels among the strata, where there are labels."""
    labels = ("label",) if shape.labelled else ()
    return shape._replace(strata=tuple(dict.fromkeys((*shape.strata, *labels))))


def about_sets(calibration: Calibration, coverage: float) -> dict[str, Any]:
    """What is promised to whom, as JSON values; `coverage` is what was asked for."""
    limits = calibration.limits
    coverage = limits.coverage if limits else coverage
    return {
        "coverage": coverage,
        "kind": calibration.sets,
        "within": calibration.kind or "everyone",
        "promised": limits is not None,
        "smallest": conformal.smallest(coverage),
        "pooled": list(limits.pooled) if limits else [],
        "marginal": list(limits.marginal) if limits else [],
    }


def calibrated(calibration: Calibration, block: Block) -> np.ndarray:
    """Calibrated probabilities [n, class]."""
    with np.errstate(divide="ignore"):
        log_prob = np.log(block.prob)
    stratum = block.strata.get("pattern") if calibration.fitted.stratified else None
    found = calibrate.calibrated(calibration.fitted, log_prob, calibration.prior, stratum)
    return np.exp(found)


def sets(
    calibration: Calibration, classes: tuple[str, ...], block: Block, prob: np.ndarray
) -> np.ndarray:
    """Prediction sets [n, class], empty where nothing can be promised."""
    if calibration.limits is None:
        return np.zeros(prob.shape, bool)
    scores = score(calibration.sets, prob, block.key)
    if calibration.kind == "label":
        most = conformal.limits_of_classes(calibration.limits, np.array(classes, object))
        return conformal.members_by_class(scores, most)
    names = block.strata[calibration.kind] if calibration.kind else np.full(len(prob), "everyone")
    most = conformal.limits_of(calibration.limits, names)
    return conformal.members(scores, most)


def score(kind: str, prob: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Scores of every class; the draw that APS needs is a hash of the id, the same in every run."""
    if kind == "lac":
        return conformal.lac(prob)
    mixed = key.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    uniform = (mixed >> np.uint64(11)).astype(np.float64) / 2**53
    return conformal.aps(prob, uniform) if kind == "aps" else conformal.raps(prob, uniform)
