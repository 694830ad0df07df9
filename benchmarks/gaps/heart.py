"""Heart disease in a hospital that was held out, against imputation with gradient boosting.

The hospitals lack different blocks: imaging is missing in 99 % outside Cleveland. A block in which
a patient has no value is missing; single values within a block are the encoder's affair.
"""

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from benchmarks.gaps import cohort as cohorts
from benchmarks.gaps import laws
from benchmarks.gaps.handlers import HANDLERS, fit_all, nll, scores
from experiments.cards import heart
from fusionjax import calibrate, card, metrics, study
from fusionjax.records.ingest import ingest

WIDTH = 16
LEAVES, RATES = (4, 8, 31), (0.03, 0.1)
BOOSTED = ("imputed", "native")


class Said(NamedTuple):
    """Labels of a hospital that was held out, and P(y | X) of the chosen handler and its rivals."""

    label: Int[np.ndarray, " row"]
    chosen: Float[np.ndarray, "row class"]
    rivals: tuple[Float[np.ndarray, "row class"], ...]


def run(source: Path, holdouts: tuple[str, ...]) -> dict[str, Any]:
    """Each hospital held out in turn, and all their patients together; JSON values."""
    each = {name: _hospital(source, name) for name in holdouts}
    hospitals = {name: found for name, (found, _) in each.items()}
    label, chosen, rivals = zip(*(said for _, said in each.values()), strict=True)
    whole = Said(
        np.concatenate(label),
        np.concatenate(chosen),
        tuple(map(np.concatenate, zip(*rivals, strict=True))),
    )
    mean = {
        way: {
            metric: round(float(np.mean([h[way][metric] for h in hospitals.values()])), 4)
            for metric in ("nll", "ece")
        }
        for way in ("chosen", "boosting_imputed", "boosting_native")
    }
    together = {"chosen": scores(whole.chosen, whole.label), **_gaps(whole)}
    return {"hospitals": hospitals, "mean_over_hospitals": mean, "all_patients": together}


def _gaps(said: Said) -> dict[str, Any]:
    """What the chosen handler loses less than each rival, with intervals over patients."""
    found = {}
    for kind, rival in zip(BOOSTED, said.rivals, strict=True):
        found[f"boosting_{kind}"] = scores(rival, said.label)
        for metric, function in (("nll", metrics.nll), ("ece", metrics.ece)):
            gap = metrics.difference(function, said.chosen, rival, said.label, None, 0)
            found[f"{metric}_less_boosting_{kind}"] = {
                k: round(float(v), 4) for k, v in gap._asdict().items()
            }
    return found


def _hospital(source: Path, holdout: str) -> tuple[dict[str, Any], Said]:
    with tempfile.TemporaryDirectory() as folder:
        path = heart.convert(source, Path(folder), holdout)
        table = pd.read_csv(Path(folder) / "records.csv")
        prepared = study.prepare(ingest(card.load(path), Path(folder) / "cache"))
        cohort = cohorts.encoded(prepared, WIDTH)
    prior = np.exp(np.asarray(cohort.bias, float))
    params = fit_all(cohort.train, cohort.bias)
    said = {}
    for name, handler in HANDLERS.items():
        held, test = (
            cohorts.prob(handler, params[name], cohort.bias, part)
            for part in (cohort.validation, cohort.test)
        )
        said[name] = _tempered(held, test, cohort.validation.label, prior)
    losses = {name: nll(held, cohort.validation.label) for name, (held, _) in said.items()}
    chosen = min(losses, key=losses.__getitem__)
    chosen_prob = partial(cohorts.prob, HANDLERS[chosen], params[chosen], cohort.bias)
    names = [modality.name for modality in prepared.card.modalities]
    label = cohort.test.label
    order = prepared.table["id"].to_numpy()
    columns = table.set_index("id").loc[order, list(_columns(prepared))].to_numpy(float)
    found: dict[str, Any] = {n: scores(test, label) for n, (_, test) in said.items()}
    found |= {"chosen_handler": chosen, "chosen": found[chosen], "records": len(label)}
    found["laws"] = laws.reported(chosen_prob, cohort.test, names, prior)
    rivals = tuple(_boosted(columns, prepared, kind, prior) for kind in BOOSTED)
    best = Said(label, said[chosen][1], rivals)
    return found | _gaps(best), best


def _columns(prepared: study.Study) -> list[str]:
    return [column for m in prepared.card.modalities for column in m.columns]


def _boosted(
    columns: Float[np.ndarray, "record column"],
    prepared: study.Study,
    kind: str,
    prior: Float[np.ndarray, " class"],
) -> Float[np.ndarray, "row class"]:
    """Gradient boosting, leaves and rate by validation NLL, on medians or with its own gaps."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer

    train, validation, test = prepared.split
    if kind == "imputed":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            imputer = SimpleImputer(strategy="median", add_indicator=False).fit(columns[train])
            columns = np.asarray(imputer.transform(columns))
    label, best = prepared.label, (np.inf, np.zeros((0, 2)), np.zeros((0, 2)))
    for leaves in LEAVES:
        for rate in RATES:
            trees = HistGradientBoostingClassifier(
                max_leaf_nodes=leaves, learning_rate=rate, max_iter=100, random_state=0
            ).fit(columns[train], label[train])
            held = trees.predict_proba(columns[validation])
            loss = nll(held, label[validation])
            if loss < best[0]:
                best = (loss, held, trees.predict_proba(columns[test]))
    return _tempered(best[1], best[2], label[validation], prior)[1]


def _tempered(
    held: Float[np.ndarray, "row class"],
    test: Float[np.ndarray, "row class"],
    label: Int[np.ndarray, " row"],
    prior: Float[np.ndarray, " class"],
) -> tuple[np.ndarray, np.ndarray]:
    """Both with the temperature that suits the held-out records."""
    floor = 1e-12
    logs = [np.log(np.maximum(p, floor)) for p in (held, test)]
    scale = calibrate.temperature(logs[0], label, prior)
    first, second = (np.exp(calibrate.apply(log, prior, scale)) for log in logs)
    return first, second
