"""The tables of a run: one row a patient, one row a piece of evidence."""

import re

import numpy as np
import pandas as pd
from jaxtyping import Int

from fusionjax.costs import REFER, Decision
from fusionjax.model import Diagnosis, Model
from fusionjax.predictions import spreadsheet_safe
from fusionjax.triage import (
    ACTIONS,
    Limits,
    Triage,
    acquisition_gain,
    conflict,
    farthest,
    shares,
    triage,
)

__all__ = [
    "advise",
    "contrasts",
    "evidence",
    "predictions",
    "spreadsheet_safe",
    "uncertainties",
]


def advise(model: Model, found: Diagnosis, limits: Limits) -> Triage:
    """What to do next with each patient. A modality's gain is the validation records' mean, by
    pattern: what it saved others, not what this patient's findings suggest."""
    calibration = model.calibration
    gain = acquisition_gain(found.presence, calibration.patterns, calibration.nll)
    return triage(
        np.asarray(found.predictive.total),
        np.asarray(found.predictive.epistemic),
        found.reliable,
        found.presence,
        gain,
        farthest(found.far),
        limits,
    )


def uncertainties(found: Diagnosis) -> dict[str, np.ndarray]:
    """All that may say that a patient is a strange one, the larger the stranger.

    Nats but for `distance`, a share of training records, and `unreliable`, the greatest
    probability that a modality of the patient cannot be believed.
    """
    predictive = found.predictive
    reliable = np.where(found.presence, found.reliable, 1.0)
    return {
        **{
            name: np.asarray(getattr(predictive, name))
            for name in ("total", "aleatoric", "epistemic")
        },
        "distance": farthest(found.far),
        "conflict": conflict(np.asarray(predictive.contrast_mean)),
        "unreliable": 1 - reliable.min(axis=1),
    }


def predictions(
    model: Model,
    table: pd.DataFrame,
    rows: Int[np.ndarray, " row"],
    found: Diagnosis,
    advice: Triage,
    decision: Decision | None = None,
) -> pd.DataFrame:
    """`predictions.csv`: labels, probabilities, uncertainty in nats, sets, advice, modalities.

    With a `decision` its columns stand there too, in the user's unit of cost.

    `evidence_m` is modality m's evidence for the prediction against the runner-up, `share_m`
    its part of all of them (|nats|, for or against), `reliable_m` the probability that it can be
    believed, `distance_m` the share of training records that lie nearer to the middle of them; all
    are empty where the patient lacks it.
    """
    predictive, prob = found.predictive, np.asarray(found.predictive.prob, np.float64)
    classes = np.array([_class(name) for name in model.card.classes])
    label = table["label"].to_numpy()[rows]
    frame = {
        "id": _ids(table, rows),
        "label": [classes[y] if y >= 0 else "" for y in label],
        "prediction": classes[np.asarray(predictive.top)],
        "runner_up": classes[np.asarray(predictive.runner_up)],
        **{f"p_{name}": prob[:, k] for k, name in enumerate(model.card.classes)},
        "total": np.asarray(predictive.total),
        "aleatoric": np.asarray(predictive.aleatoric),
        "epistemic": np.asarray(predictive.epistemic),
        "prediction_set": [";".join(classes[one]) for one in found.chosen],
        "triage": np.array(ACTIONS)[advice.action],
        "acquire": np.array([*(m.name for m in model.card.modalities), ""])[advice.modality],
        **({} if decision is None else _decision(classes, decision)),
        "conflict": conflict(np.asarray(predictive.contrast_mean)),
        "distance": farthest(found.far),
        "nearest": _nearest(model, found),
    }
    contrast = np.asarray(predictive.contrast_mean)
    share = shares(contrast)
    for i, modality in enumerate(model.card.modalities):
        here = found.presence[:, i]
        frame[f"present_{modality.name}"] = here
        frame[f"reliable_{modality.name}"] = np.where(here, found.reliable[:, i], np.nan)
        frame[f"evidence_{modality.name}"] = np.where(here, contrast[:, i], np.nan)
        frame[f"share_{modality.name}"] = np.where(here, share[:, i], np.nan)
        frame[f"distance_{modality.name}"] = found.far[:, i]
    return pd.DataFrame(frame)


def evidence(
    model: Model, table: pd.DataFrame, rows: Int[np.ndarray, " row"], found: Diagnosis
) -> pd.DataFrame:
    """`evidence.parquet`: nats of each modality for each class, with 95 % intervals."""
    patient, modality = np.nonzero(found.presence)
    about, classes, predictive = (
        _about(model, table, rows, found),
        model.card.classes,
        found.predictive,
    )
    values = {
        end: np.asarray(array)[patient, modality].reshape(-1)
        for end, array in (
            ("mean", predictive.evidence_mean),
            ("low", predictive.evidence_low),
            ("high", predictive.evidence_high),
        )
    }
    repeated = {name: np.repeat(column, len(classes)) for name, column in about.items()}
    return pd.DataFrame({**repeated, "class": np.tile(classes, len(patient)), **values})


def contrasts(
    model: Model, table: pd.DataFrame, rows: Int[np.ndarray, " row"], found: Diagnosis
) -> pd.DataFrame:
    """`contrasts.parquet`: nats for the likeliest class against the next, with 95 % intervals."""
    patient, modality = np.nonzero(found.presence)
    classes, predictive = np.asarray(model.card.classes), found.predictive
    return pd.DataFrame(
        {
            **_about(model, table, rows, found),
            "top": classes[np.asarray(predictive.top)[patient]],
            "runner_up": classes[np.asarray(predictive.runner_up)[patient]],
            "mean": np.asarray(predictive.contrast_mean)[patient, modality],
            "low": np.asarray(predictive.contrast_low)[patient, modality],
            "high": np.asarray(predictive.contrast_high)[patient, modality],
        }
    )


def _about(
    model: Model, table: pd.DataFrame, rows: Int[np.ndarray, " row"], found: Diagnosis
) -> dict[str, np.ndarray]:
    """Whose evidence it is and of which modality, one entry for each modality that is there."""
    patient, modality = np.nonzero(found.presence)
    names = np.asarray([m.name for m in model.card.modalities], object)
    return {"id": _ids(table, rows)[patient], "modality": names[modality]}


def _ids(table: pd.DataFrame, rows: Int[np.ndarray, " row"]) -> np.ndarray:
    return np.array([spreadsheet_safe(name) for name in table["id"].to_numpy()[rows]], object)


def _class(name: str) -> str:
    """A class as a cell: a stranger's card may name it like a formula; numbers do no harm."""
    return name if re.fullmatch(r"[+-]?\d+(\.\d*)?", name) else spreadsheet_safe(name)


def _decision(classes: np.ndarray, decision: Decision) -> dict[str, np.ndarray]:
    named = np.array([*classes, REFER])[decision.decided]
    return {"decision": named, "expected_cost": decision.cost}


def _nearest(model: Model, found: Diagnosis) -> list[str]:
    """Ids of the nearest training cases, joined by ";"; empty where the model keeps none."""
    if model.cases is None:
        return [""] * len(found.nearest)
    names = [spreadsheet_safe(name) for name in model.cases.id]
    return [";".join(names[i] for i in row if i >= 0) for row in found.nearest.tolist()]
