"""What a run found, as the JSON values of `metrics.json`: every number with its interval."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from fusionjax import conformal, metrics
from fusionjax.calibrate import shown
from fusionjax.calibration import uncalibrated
from fusionjax.compare import Contender
from fusionjax.crossfit import FitConfig, observe, stack_of
from fusionjax.fitting import Fitted, log_probs, theta_on_seen
from fusionjax.metrics import Estimate
from fusionjax.model import Model
from fusionjax.posterior import worth as modalities
from fusionjax.presence import patterns
from fusionjax.study import Study
from fusionjax.triage import ACTIONS, Triage

COMPARED = ("accuracy", "auroc", "nll", "ece")
MOST_PATTERN_MODALITIES = 5


def task(study: Study, model: Model, presence: Bool[np.ndarray, "row modality"]) -> dict[str, Any]:
    """The question, the records and the modalities; `presence` is that of every record kept."""
    split, table = study.split, study.table
    return {
        "name": study.card.name,
        "description": study.card.description,
        "classes": list(study.card.classes),
        "prior": np.exp(np.asarray(model.bias)).tolist(),
        "modalities": [
            {"name": m.name, "kind": m.kind, "encoder": e, "present": float(here)}
            for m, e, here in zip(
                study.card.modalities, model.encoders, presence.mean(0), strict=True
            )
        ],
        "records": {
            "kept": len(table),
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
            "unlabelled": int((study.label < 0).sum()),
        },
        "test_patients": len(np.unique(study.group[split.test])),
    }


def models(
    contenders: Sequence[Contender],
    label: Int[np.ndarray, " row"],
    group: np.ndarray,
    seed: int,
) -> list[dict[str, Any]]:
    """Each contender's metrics and its paired difference to the first, the fusion."""
    best = np.exp(contenders[0].log_prob)
    return [
        {
            "name": one.name,
            "role": one.role,
            "note": one.note,
            "metrics": _plain(metrics.table(np.exp(one.log_prob), label, group, seed)),
            **({} if one is contenders[0] else _difference(one, best, label, group, seed)),
        }
        for one in contenders
    ]


def by_pattern(
    model: Model,
    study: Study,
    rows: Int[np.ndarray, " row"],
    presence: Bool[np.ndarray, "row modality"],
    seed: int,
) -> list[dict[str, Any]]:
    """The fusion under every presence pattern, on the records that have those modalities.

    `natural` counts the records that have exactly those. With more than five modalities only the
    patterns that occur are shown.
    """
    names = [m.name for m in study.card.modalities]
    label = study.label[rows]
    group = study.group[rows]
    found = []
    for only in _shown(presence):
        able = presence[:, only].all(axis=1)
        if able.sum() == 0:
            continue
        prob = np.exp(log_probs(model, study, rows[able], only))
        found.append(
            {
                "present": [name for name, here in zip(names, only, strict=True) if here],
                "records": int(able.sum()),
                "natural": int((presence == only[None, :]).all(axis=1).sum()),
                "metrics": _plain(metrics.table(prob, label[able], group[able], seed)),
                "coverage": _coverage(model, prob, label[able], only),
            }
        )
    return found


def _coverage(
    model: Model,
    prob: Float[np.ndarray, "row class"],
    label: Int[np.ndarray, " row"],
    only: Bool[np.ndarray, " modality"],
) -> dict[str, float | None]:
    """How prediction sets fared, and where 95 % of such tests lie if the promise is kept."""
    limits, name = model.limits, shown.spelled(only[None, :])[0]
    strata = limits.pooled if name in limits.pooled else (name,)
    records = sum(limits.records.get(each, 0) for each in strata)
    most = conformal.limits_of(limits, np.full(len(label), name))
    chosen = conformal.members(conformal.lac(prob), most)
    found = conformal.coverage_of(chosen, label, records, limits.coverage)
    if name in limits.marginal or np.isnan(most).any():
        found = found._replace(low=np.nan, high=np.nan)
    return {k: float(v) if np.isfinite(v) else None for k, v in found._asdict().items()}


def calibration(model: Model) -> dict[str, Any]:
    """What was chosen, how each candidate fared, and what it does to each pattern and modality.

    Scales and shifts (nats added to a modality's evidence for each class) with 95 % intervals.
    """
    found, names = model.calibration, [m.name for m in model.card.modalities]
    ends = np.quantile(found.scale, [0.025, 0.975], axis=0)
    scales = [Estimate(*each) for each in zip(found.scale.mean(0), *ends, strict=True)]
    strata = shown.spelled(found.patterns)
    shift = np.stack([found.shift.mean(0), *np.quantile(found.shift, [0.025, 0.975], axis=0)])
    return {
        "name": found.name,
        "trials": [trial._asdict() for trial in found.trials],
        "coverage": model.limits.coverage,
        "patterns": [
            {
                "present": [name for name, here in zip(names, row, strict=True) if here],
                "records": int(found.records[i]),
                "natural": int(found.natural[i]),
                "scale": plain(scales[i]),
                "limit": model.limits.limit.get(strata[i]),
                "pooled": strata[i] in model.limits.pooled,
                "marginal": strata[i] in model.limits.marginal,
                "helped": strata[i] in model.limits.helped,
            }
            for i, row in enumerate(found.patterns)
        ],
        "unknown_pattern": plain(scales[-1]),
        "shift": [
            {
                "modality": name,
                "nats": {
                    c: plain(Estimate(*shift[:, i, k])) for k, c in enumerate(model.card.classes)
                },
            }
            for i, name in enumerate(names)
        ],
    }


def advice(
    given: Triage, top: Int[np.ndarray, " row"], label: Int[np.ndarray, " row"]
) -> list[dict[str, Any]]:
    """How many records each action was advised for, and the accuracy among them."""
    rows = []
    for code, action in enumerate(ACTIONS):
        here = given.action == code
        known = here & (label >= 0)
        right = float((top == label)[known].mean()) if known.any() else None
        rows.append({"action": action, "records": int(here.sum()), "accuracy": right})
    return rows


def posterior(model: Model) -> dict[str, Any]:
    """The certificate of θ's posterior, and how much each modality is worth (its scale τ_i)."""
    tau = np.asarray(model.tau)
    ends = np.quantile(tau, [0.025, 0.975], axis=0)
    estimates = [Estimate(*each) for each in np.stack([tau.mean(0), *ends], axis=1)]
    scales = [
        {"modality": m.name, **plain(e)}
        for m, e in zip(model.card.modalities, estimates, strict=True)
    ]
    certificate = {k: _number(v) for k, v in model.certificate._asdict().items()}
    return {**certificate, "scales": scales}


def overfit(
    fitted: Fitted, study: Study, config: FitConfig, rows: Int[np.ndarray, " row"]
) -> dict[str, float] | None:
    """NLL and ECE, uncalibrated, with θ fitted on the records that trained ψ and on unseen ones."""
    seen = theta_on_seen(fitted, study, config)
    if seen is None:
        return None
    label, scores = study.label[rows], {}
    for name, model in (("seen", seen), ("unseen", uncalibrated(fitted.model))):
        prob = np.exp(log_probs(model, study, rows))
        scores[f"{name}_nll"] = float(metrics.nll(prob, label))
        scores[f"{name}_ece"] = float(metrics.ece(prob, label))
    return scores


def worth(fitted: Fitted, study: Study, config: FitConfig) -> dict[str, Any] | None:
    """What each modality adds to the others, in nats of evidence and of leave-one-out prediction.

    Of the training records as ψ did not see them, nothing hidden; None where `config` asks not.
    """
    if not config.worth:
        return None
    stack, bias = stack_of(study, fitted.model.encoders, config), fitted.model.bias
    rows, _ = observe(study, stack, fitted.folds, config.seed, hidden=False)
    found = modalities.evaluate(jax.random.key(config.seed), rows, bias)
    names = [m.name for m in study.card.modalities]
    return {"records": len(rows.weight), **_finite(modalities.as_json(found, names))}


def reliability(prob: Float[np.ndarray, "row class"], label: Int[np.ndarray, " row"]) -> dict:
    """The reliability diagram of the likeliest class."""
    curve = metrics.reliability_curve(prob, label, 10)
    return {name: np.asarray(values).tolist() for name, values in curve._asdict().items()}


def risk_coverage(
    prob: Float[np.ndarray, "row class"], label: Int[np.ndarray, " row"]
) -> dict[str, list]:
    """Error among the surest share of the records, with 95 % bands."""
    wrong = (prob.argmax(axis=1) != label).astype(np.float64)
    curve = metrics.risk_coverage(prob.max(axis=1).astype(np.float64), wrong)
    return {name: np.asarray(values).tolist() for name, values in curve._asdict().items()}


def subgroups(
    study: Study,
    rows: Int[np.ndarray, " row"],
    prob: Float[np.ndarray, "row class"],
    chosen: Bool[np.ndarray, "row class"],
    seed: int,
) -> list[dict[str, Any]]:
    """Metrics and coverage by site and by each subgroup of the card; `warning` says where few are.

    Sets promise nothing by subgroup: their coverage there is shown, not judged.
    """
    columns, table = study.card.columns, study.table.iloc[rows]
    label, group = study.label[rows], study.group[rows]
    held = chosen[np.arange(len(rows)), label]
    shown_metrics = {name: metrics.METRICS[name] for name in COMPARED}
    found = []
    for column in dict.fromkeys((*(["site"] if columns.site else []), *columns.subgroups)):
        names = table[column].astype(str).to_numpy()
        for one in metrics.by_subgroup(prob, label, group, names, seed, shown_metrics):
            here = names == one.name
            found.append(
                {
                    "column": column,
                    "name": one.name,
                    "records": one.records,
                    "metrics": _plain(one.metrics),
                    "covered": float(held[here].mean()),
                    "warning": one.warning,
                }
            )
    return found


def history(fitted: Fitted) -> dict[str, list] | None:
    """Training and validation NLL by step of the first fold; None where nothing was trained."""
    training = fitted.folds[0].training
    return training and {
        "step": training.steps.tolist(),
        "train": training.train_nll.tolist(),
        "validation": training.validation_nll.tolist(),
    }


def plain(estimate: Estimate) -> dict[str, float | None]:
    """An estimate as JSON values, null where it is undefined."""
    return {k: float(v) if np.isfinite(v) else None for k, v in estimate._asdict().items()}


def _plain(table: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: plain(estimate) for name, estimate in table.items()}


def _difference(
    one: Contender,
    best: Float[np.ndarray, "row class"],
    label: Int[np.ndarray, " row"],
    group: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    prob = np.exp(one.log_prob)
    gaps = {
        name: metrics.difference(metrics.METRICS[name], prob, best, label, group, seed)
        for name in COMPARED
    }
    return {"difference": _plain(gaps)}


def _shown(presence: Bool[np.ndarray, "row modality"]) -> Bool[np.ndarray, "pattern modality"]:
    if presence.shape[1] <= MOST_PATTERN_MODALITIES:
        return np.asarray(patterns(presence.shape[1]))
    natural = np.unique(presence, axis=0)
    return natural[natural.any(axis=1)]


def _finite(value: Any) -> Any:
    """JSON values with null for what is not finite."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _number(value: Any) -> Any:
    """A diagnostic as a JSON value."""
    if value is None or isinstance(value, str | bool):
        return value
    return list(value) if isinstance(value, tuple) else np.asarray(value).item()
