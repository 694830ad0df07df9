"""What is this patient's diagnosis, how sure is that, and which modality says so?

From a folder of records to a calibrated diagnosis and a report, for any dataset card:

    python -m experiments.diagnose --card FOLDER/dataset.toml --out RUN

On new records, without fitting again; the table may lack a modality's columns, or the label:

    python -m experiments.diagnose --model RUN --table new.csv --out NEW

RUN gets metrics.json, predictions.csv, evidence.parquet, contrasts.parquet, report.html, the model,
config.json, and under drawn/ every number drawn as CSV. Where a run was interrupted, the same
command goes on from the last checkpoint of training. One to five minutes on two idle cores for up
to a few thousand records.
"""

import hashlib
import json
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

from experiments import diagnose_options as options
from experiments import provenance
from experiments.diagnose_options import Config
from experiments.progress import Reporter, reporter
from fusionjax import audit, card, compare, costs, files, metrics, outputs, report, scorecard
from fusionjax import model as models
from fusionjax.compare import Contender
from fusionjax.crossfit import elsewhere
from fusionjax.errors import FusionError
from fusionjax.fitting import Fitted, choose, fit_chosen
from fusionjax.model import Diagnosis, Model
from fusionjax.records import pseudonyms
from fusionjax.records.ingest import Records, ingest
from fusionjax.report import console
from fusionjax.study import Study, of_model, ordered, prepare


class Outcome(NamedTuple):
    """What a fitted run leaves in memory; `contenders` predict for the test records."""

    study: Study
    fitted: Fitted
    contenders: tuple[Contender, ...]


def fit_run(config: Config) -> Outcome:
    """Fit the records of `config.card` and write the run."""
    started = time.time()
    path = options.card_path(config)
    described = card.load(path)
    options.claim(config)
    with reporter() as tell:
        records = _ingest(config, described, tell)
        options.stated_prior(config, records.card.classes)
        options.stated_costs(config, records.card.classes)
        study = prepare(records, config.fit.seed)
        options.check_patients(config, study, study.split.test)
        outcome = contend(study, config, tell)
        tell.stage("writing the report")
        content = _metrics(config, records, outcome)
        content["provenance"] = provenance.describe(asdict(config), _digest(path), started)
        model, rows = outcome.fitted.model, study.split.test
        found = _diagnosed(config, model, study, rows)
        if elsewhere(study):
            content["elsewhere"] = _strangers(config, model, study, found)
        _write_run(config, content, model, study, rows, found)
        models.save(model, config.out, keep_cases=config.keep_cases)
    report.write(config.out)
    shutil.rmtree(config.out / "checkpoints", ignore_errors=True)
    return outcome


def predict_run(config: Config) -> None:
    """Predict new records with `config.model` and write the run."""
    started = time.time()
    model = models.load(Path(config.model or ""))
    options.stated_prior(config, model.card.classes)
    options.stated_costs(config, model.card.classes)
    where = (
        card.load(config.card) if config.card else replace(model.card, path=options.beside(config))
    )
    options.claim(config)
    with reporter() as tell:
        records = _ingest(config, replace(model.card, path=where.path, table=where.table), tell)
        study = of_model(records, model.statistics)
        rows = np.arange(len(study.label))
        options.check_patients(config, study, rows)
        content: dict[str, Any] = {
            "task": _task(config, study, model, len(records.refused)),
            "posterior": scorecard.posterior(model) | {"overfit": None, "worth": None},
            "calibration": scorecard.calibration(model),
            "refused": [r._asdict() for r in records.refused],
            "warnings": [w._asdict() for w in audit.of_new(records, rows, model.statistics)],
            "provenance": provenance.describe(asdict(config), "", started),
        }
        found = _diagnosed(config, model, study, rows)
        _write_run(config, content, model, study, rows, found)
        known = np.flatnonzero(study.label >= 0)
        if len(known):
            content |= _scores(study, known, np.asarray(found.predictive.prob)[known])
            write_json(config.out / "metrics.json", content)
    report.write(config.out)


def contend(study: Study, config: Config, tell: Reporter) -> Outcome:
    """Fit the fusion and all that it is held against, and predict the test records."""
    folder, rows = config.out / "checkpoints" / _identity(study), study.split.test
    names, singles = choose(study, config.fit, checkpoints=folder, progress=tell.advance)
    best = fit_chosen(
        study, names, config.fit, checkpoints=folder / "fusion", progress=tell.advance
    )
    rivals = (
        compare.concatenating_mlp(
            study, names, config.fit, rows, checkpoints=folder / "mlp", progress=tell.advance
        ),
        compare.logistic_regression(study, config.fit, rows),
    )
    if config.ensemble:
        ensemble = compare.deep_ensemble(
            study,
            names,
            config.fit,
            rows,
            config.ensemble,
            checkpoints=folder / "ensemble",
            progress=tell.advance,
        )
        rivals = (*rivals, ensemble)
    among = singles if len(singles) > 1 else ()
    alone = tuple(compare.single(one, study, i, rows) for i, one in enumerate(among))
    return Outcome(study, best, (compare.fusion(best, study, rows), *alone, *rivals))


def _identity(study: Study) -> str:
    """A name for these records and this card: what was trained on others is not gone on with."""
    content = json.dumps([card.dumps(study.card), study.table.drop(columns="date").to_csv()])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _ingest(config: Config, described: card.Card, tell: Reporter) -> Records:
    records = ingest(
        described,
        config.cache or config.out / "records",
        on_bad_record=config.on_bad_record,
        labelled=config.model is None,
        table=config.table,
        key=config.pseudonyms and pseudonyms.read_key(config.pseudonyms),
        progress=lambda done, total: tell.advance("reading records", done, total, float("nan")),
    )
    if records.refused:
        every = len(records.refused) + len(records.table)
        tell.say(f"{len(records.refused)} of {every} records refused: the report names them")
    return records


def _presence(study: Study) -> np.ndarray:
    """Which modalities each record of the study has."""
    everyone = np.arange(len(study.label))
    batches = [np.asarray(b.presence) for b in ordered(study, everyone)]
    return np.concatenate(batches)[: len(everyone)]


def _task(config: Config, study: Study, model: Model, refused: int) -> dict[str, Any]:
    task = scorecard.task(study, model, _presence(study))
    task["records"]["refused"] = refused
    stated = {} if config.prior is None else {"prior": list(config.prior), "stated_prior": True}
    return task | stated


def _metrics(config: Config, records: Records, outcome: Outcome) -> dict[str, Any]:
    study, fitted, contenders = outcome
    rows, seed = study.split.test, config.fit.seed
    label, group, presence = study.label[rows], study.group[rows], _presence(study)[rows]
    return {
        "task": _task(config, study, fitted.model, len(records.refused)),
        "models": scorecard.models(contenders, label, group, seed),
        "patterns": scorecard.by_pattern(fitted.model, study, rows, presence, seed),
        "reliability": scorecard.reliability(np.exp(contenders[0].log_prob), label),
        "risk_coverage": scorecard.risk_coverage(np.exp(contenders[0].log_prob), label),
        "posterior": scorecard.posterior(fitted.model)
        | {
            "overfit": scorecard.overfit(fitted, study, config.fit, rows),
            "worth": scorecard.worth(fitted, study, config.fit),
        },
        "calibration": scorecard.calibration(fitted.model),
        "refused": [r._asdict() for r in records.refused],
        "warnings": [w._asdict() for w in audit.of_fit(records, study.split, study.statistics)],
        "history": scorecard.history(fitted),
    }


def _scores(study: Study, known: np.ndarray, prob: np.ndarray) -> dict[str, Any]:
    one = Contender(
        "log-linear fusion", "fusion", np.log(np.maximum(prob, np.finfo(np.float32).tiny))
    )
    label, group = study.label[known], study.group[known]
    return {
        "models": scorecard.models((one,), label, group, 0),
        "reliability": scorecard.reliability(prob, label),
        "risk_coverage": scorecard.risk_coverage(prob, label),
    }


def _diagnosed(config: Config, model: Model, study: Study, rows: np.ndarray) -> Diagnosis:
    """What the model says of the rows."""
    prior = options.stated_prior(config, model.card.classes)
    parts = [models.diagnose(model, batch, prior) for batch in ordered(study, rows)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(rows)], *parts)


def _strangers(
    config: Config, model: Model, study: Study, tested: Diagnosis
) -> list[dict[str, Any]]:
    """How well each uncertainty tells test records, from other sites, from validation ones."""
    rows = study.split.validation, study.split.test
    known, strange = map(outputs.uncertainties, (_diagnosed(config, model, study, rows[0]), tested))
    found = metrics.out_of_distribution(
        {name: np.concatenate([known[name], strange[name]]) for name in known},
        np.repeat([False, True], [len(side) for side in rows]),
        study.group[np.concatenate(rows)],
        config.fit.seed,
    )
    return [
        {"uncertainty": name, **{k: scorecard.plain(v) for k, v in one._asdict().items()}}
        for name, one in found.items()
    ]


def _write_run(
    config: Config,
    content: dict[str, Any],
    model: Model,
    study: Study,
    rows: np.ndarray,
    found: Diagnosis,
) -> None:
    """Write the tables and metrics of the run, `found` of its rows."""
    out = config.out
    advice = outputs.advise(model, found, config.limits)
    content["triage"] = scorecard.advice(
        advice, np.asarray(found.predictive.top), study.label[rows]
    )
    prob, known = np.asarray(found.predictive.prob), study.label[rows] >= 0
    content["subgroups"] = scorecard.subgroups(
        study, rows[known], prob[known], found.chosen[known], 0
    )
    stated = options.stated_costs(config, model.card.classes)
    decision = stated and costs.decide(stated, prob)
    if stated and decision:
        paid = costs.scored(stated, prob[known], study.label[rows][known], study.group[rows][known])
        content["costs"] = costs.as_json(stated, decision, paid, model.card.classes)
    frames = (model, study.table, rows, found)
    table = outputs.predictions(*frames, advice, decision)
    files.write(out / "predictions.csv", table.to_csv(index=False))
    files.write(out / "evidence.parquet", outputs.evidence(*frames).to_parquet(index=False) or b"")
    files.write(
        out / "contrasts.parquet", outputs.contrasts(*frames).to_parquet(index=False) or b""
    )
    write_json(out / "metrics.json", content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a result as JSON, whole or not at all."""
    files.write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _digest(path: Path) -> str:
    file = path / "dataset.toml" if path.is_dir() else path
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    """Command line."""
    config = tyro.cli(Config, description=__doc__)
    try:
        predict_run(config) if config.model else fit_run(config)
    except FusionError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from the last checkpoint")
    content = json.loads((config.out / "metrics.json").read_text())
    console.show(content, config.out / "report.html")


if __name__ == "__main__":
    main()
