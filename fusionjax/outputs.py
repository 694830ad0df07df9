"""The tables of a run: one row a patient, one row a piece of evidence."""

import numpy as np
import pandas as pd
from jaxtyping import Int

from fusionjax import conformal
from fusionjax.model import Diagnosis, Model
from fusionjax.predictions import spreadsheet_safe

__all__ = ["contrasts", "evidence", "predictions", "spreadsheet_safe"]


def predictions(
    model: Model, table: pd.DataFrame, rows: Int[np.ndarray, " row"], found: Diagnosis
) -> pd.DataFrame:
    """`predictions.csv`: labels, probabilities, uncertainty in nats, prediction set, modalities.

    `evidence_m` is modality m's evidence for the prediction against the runner-up, `reliable_m`
    the probability that it can be believed; both are empty where the patient lacks it.
    """
    classes, predictive = np.asarray(model.card.classes), found.predictive
    prob = np.asarray(predictive.prob, np.float64)
    label = table["label"].to_numpy()[rows]
    frame = {
        "id": _ids(table, rows),
        "label": [classes[y] if y >= 0 else "" for y in label],
        "prediction": classes[np.asarray(predictive.top)],
        "runner_up": classes[np.asarray(predictive.runner_up)],
        **{f"p_{name}": prob[:, k] for k, name in enumerate(classes)},
        "total": np.asarray(predictive.total),
        "aleatoric": np.asarray(predictive.aleatoric),
        "epistemic": np.asarray(predictive.epistemic),
        "prediction_set": [";".join(classes[s]) for s in conformal.sets(prob, model.threshold)],
    }
    contrast = np.asarray(predictive.contrast_mean)
    for i, modality in enumerate(model.card.modalities):
        here = found.presence[:, i]
        frame[f"present_{modality.name}"] = here
        frame[f"reliable_{modality.name}"] = np.where(here, found.reliable[:, i], np.nan)
        frame[f"evidence_{modality.name}"] = np.where(here, contrast[:, i], np.nan)
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
