"""Are any model's probabilities to be believed, and what makes them so?

    python -m experiments.calibrate --predictions FILE.csv --out RUN

FILE.csv has the columns `id`, `label` and a `p_CLASS` for each class; optional are `split` (train,
validation, test), `group` (the patient), `site`, `pattern` (which modalities were there) and the
subgroups that `--subgroups` names. A calibrator is chosen by cross-validated NLL on the validation
records, and everything is measured on the test records, before and after. Without a `split` each
patient goes to one half or the other by a hash of the name; records of split train are calibrated
and not used.

A calibrator that was fitted is applied to other predictions, all of which count as test records:

    python -m experiments.calibrate --calibrator RUN --predictions NEW.csv --out NEW

Another model's predictions of the same records are compared by `--against OTHER.csv`.

RUN gets predictions.csv (calibrated, with prediction sets), calibrator.json, metrics.json,
report.html, and under drawn/ every number drawn as CSV. Seconds for thousands of records. Ten
million, a tenth of them for validation, took 30 s and 1.1 GB on two idle cores: test records are
summed up, but eight bytes of each id and every validation record are kept in memory.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments import calibration_file as stored
from experiments import provenance, rival
from experiments.calibration_file import Calibration
from experiments.rival import Rival
from experiments.validation import TEST, Validation, sample, sides, survey
from fusionjax import calibrate, conformal, evaluation, files, predictions
from fusionjax.calibrate import Choice, Fitted
from fusionjax.conformal import Limits
from fusionjax.errors import FusionError, RecordError
from fusionjax.evaluation import OVERALL, Tally, Tests
from fusionjax.metrics import streaming
from fusionjax.predictions import Layout
from fusionjax.report import calibration as page

CHOOSE_ON, FIT_ON = 10_000, 100_000


@dataclass(frozen=True)
class Config:
    """One run on one file of predictions."""

    predictions: Path
    """A CSV of predictions."""
    out: Path
    """Folder for what the run writes."""
    calibrator: Path | None = None
    """Folder of a finished run whose calibrator is applied; nothing is fitted, and prior, coverage,
    sets and within are those of that run."""
    prior: tuple[float, ...] | None = None
    """The prevalence that the model assumed, one a class: the temperature acts on the evidence
    beyond it. By default uniform, which makes it the usual temperature."""
    subgroups: tuple[str, ...] = ()
    """Columns by which metrics and coverage are shown, such as sex or age band."""
    coverage: float = 0.9
    """The promise of the prediction sets."""
    sets: Literal["lac", "aps", "raps"] = "lac"
    """lac has the smallest sets on average, aps and raps adapt to the patient."""
    within: Literal["auto", "everyone", "pattern", "site", "label"] = "auto"
    """Whom the promise holds for: all together, each pattern or site, or those who have each class
    (label); auto takes the pattern if there is one, else the site."""
    against: Path | None = None
    """A CSV of another model's predictions of the same records, taken as they are: calibrated
    ones are in predictions.csv of its own run."""
    calibrators: tuple[str, ...] = tuple(calibrate.CALIBRATORS)
    """Candidates, the simplest first."""
    seed: int = 0


def run(config: Config) -> dict[str, Any]:
    """Calibrate a file and write the run; returns the content of metrics.json."""
    started = time.time()
    _check(config)
    shape = predictions.layout(config.predictions, config.subgroups)
    if config.calibrator:
        calibration, classes = stored.load(config.calibrator)
        shape = stored.fitting(shape, calibration, classes)
        valid = survey(shape, fitted=True)
        choice = Choice(calibration.fitted, ())
        config.out.mkdir(parents=True, exist_ok=True)
    else:
        prior = _prior(config, shape)
        shape = stored.by_label(shape) if config.within == "label" else shape
        valid = survey(shape)
        config.out.mkdir(parents=True, exist_ok=True)
        choice, calibration = fit(config, shape.classes, valid, prior)
    tests = valid.records["test"]
    other = rival.read(config.against, shape, tests) if config.against else None
    measured = apply(config, shape, calibration, tests, other)
    content = {
        "task": {
            "name": config.predictions.name,
            "classes": list(shape.classes),
            "records": valid.records,
            "strata": list(shape.strata),
        },
        "calibrator": {
            "name": choice.fitted.name,
            "stratified": choice.fitted.stratified,
            "trials": [trial._asdict() for trial in choice.trials],
        },
        "sets": stored.about_sets(calibration, config.coverage),
        **measured,
        "provenance": provenance.describe({"fit": {"seed": config.seed}}, "", started),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    files.write(config.out / "metrics.json", text + "\n")
    stored.save(config.out, calibration, shape.classes)
    files.write(config.out / "config.json", json.dumps(asdict(config), indent=1, default=str))
    if tests:
        page.write(config.out)
    return content


def fit(
    config: Config, classes: tuple[str, ...], valid: Validation, prior: np.ndarray
) -> tuple[Choice, Calibration]:
    """Choose and fit the calibrator, and the limits of the prediction sets."""
    pattern = valid.strata.get("pattern")
    few = sample(valid, CHOOSE_ON, config.seed)
    choice = calibrate.choose(
        valid.log_prob[few],
        valid.label[few],
        prior,
        valid.patient[few],
        None if pattern is None else pattern[few],
        config.calibrators,
        seed=config.seed,
    )
    rows = sample(valid, FIT_ON, config.seed)
    stratum = pattern[rows] if pattern is not None and choice.fitted.stratified else None
    log_prob, label, patient = valid.log_prob[rows], valid.label[rows], valid.patient[rows]
    fitted = calibrate.fit(choice.fitted.name, log_prob, label, prior, stratum, patient)
    kind = _kind(config, valid)
    names = valid.strata[kind][rows] if kind else np.full(len(rows), "everyone")
    own = _scores(config, fitted, valid, prior, rows, stratum)
    limits = _limits(config, own, names, classes if kind == "label" else None)
    return choice._replace(fitted=fitted), Calibration(fitted, prior, limits, kind, config.sets)


def _scores(
    config: Config,
    fitted: Fitted,
    valid: Validation,
    prior: np.ndarray,
    rows: np.ndarray,
    stratum: np.ndarray | None,
) -> np.ndarray:
    """The score of each record's own label, by calibrators that did not see the record."""
    log_prob, label, patient = valid.log_prob[rows], valid.label[rows], valid.patient[rows]
    fold, own = calibrate.folds(patient, 5, config.seed), np.empty(len(rows))
    for k in np.unique(fold):
        seen, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        parts = [None if s is None else s[seen] for s in (stratum, patient)]
        other = fitted
        if len(seen):
            other = calibrate.fit(fitted.name, log_prob[seen], label[seen], prior, *parts)
        there = None if stratum is None else stratum[held]
        prob = np.exp(calibrate.calibrated(other, log_prob[held], prior, there))
        score = stored.score(config.sets, prob, valid.key[rows][held])
        own[held] = conformal.of_label(score, label[held])
    return own


def _limits(
    config: Config, own: np.ndarray, names: np.ndarray, classes: tuple[str, ...] | None
) -> Limits | None:
    """The limits of the prediction sets by stratum, or None where nothing can be promised.

    Where the strata are `classes`, rare ones are not pooled while they can be promised anything of
    their own.
    """
    if classes is None:
        limits = conformal.by_stratum(own, names, config.coverage)
        return None if limits.everyone is None else limits
    limits = conformal.by_stratum(own, names, config.coverage, fewest=0)
    most = conformal.limits_of_classes(limits, np.array(classes, object))
    return None if np.isnan(most).any() else limits


def apply(
    config: Config, shape: Layout, calibration: Calibration, tests: int, other: Rival | None
) -> dict[str, Any]:
    """Read the file again: write calibrated predictions, and measure the test records."""
    held: list[Tests] = []
    theirs: list[np.ndarray] = []
    tally = Tally(streaming.empty(len(shape.classes)), {}, {}, {})
    with predictions.writing(config.out / "predictions.csv") as write:
        for block in predictions.blocks(shape):
            after = stored.calibrated(calibration, block)
            chosen = stored.sets(calibration, shape.classes, block, after)
            side = sides(block, config.calibrator is not None)
            write(predictions.calibrated(shape, block, side, after, chosen))
            rows = np.flatnonzero((side == TEST) & (block.label >= 0))
            one = Tests(
                block.prob[rows],
                after[rows],
                block.label[rows],
                block.hashed[rows],
                chosen[rows],
                {name: values[rows] for name, values in block.strata.items()},
            )
            if other:
                theirs.append(rival.matched(other, shape, block, rows))
            if tests <= evaluation.MOST:
                held.append(one)
            else:
                tally = added(tally, one)
    if not tests:
        return {}
    if tests > evaluation.MOST:
        return evaluation.streamed(tally, calibration.limits, calibration.kind)
    whole = joined(held)
    found = evaluation.exact(whole, calibration.limits, calibration.kind, config.seed)
    if other:
        gaps = evaluation.against(whole, np.concatenate(theirs), config.seed)
        found["against"] = {"name": other.path.name, **gaps}
    return found


def joined(parts: list[Tests]) -> Tests:
    """Test records of several blocks as one."""
    strata = {
        name: np.concatenate([part.strata[name] for part in parts]) for name in parts[0].strata
    }
    return Tests(
        before=np.concatenate([part.before for part in parts]),
        after=np.concatenate([part.after for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        patient=np.concatenate([part.patient for part in parts]),
        chosen=np.concatenate([part.chosen for part in parts]),
        strata=strata,
    )


def added(tally: Tally, one: Tests) -> Tally:
    """The tally with the test records of one more block."""
    bucket = streaming.buckets(one.patient)
    before = streaming.merge(tally.before, streaming.collect(one.before, one.label, bucket))
    held = one.chosen[np.arange(len(one.label)), one.label]
    after, sets, left_out = dict(tally.after), dict(tally.sets), Counter(tally.left_out)
    shown = Counter(column for column, _ in after)
    for key, rows in _by_stratum(one):
        column, _ = key
        if key not in after and shown[column] >= evaluation.MOST_STRATA:
            left_out[column] += len(rows)
            continue
        shown[column] += key not in after
        sums = streaming.collect(one.after[rows], one.label[rows], bucket[rows])
        counts = np.array([sums.records.sum(), held[rows].sum(), one.chosen[rows].sum()])
        after[key] = streaming.merge(after[key], sums) if key in after else sums
        sets[key] = sets.get(key, np.zeros(3)) + counts
    return Tally(before, after, sets, dict(left_out))


def _by_stratum(one: Tests) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """All records, then each stratum's."""
    yield OVERALL, np.arange(len(one.label))
    for column, values in one.strata.items():
        names, index, count = np.unique(values.astype(str), return_inverse=True, return_counts=True)
        rows = np.split(np.argsort(index, kind="stable"), np.cumsum(count)[:-1])
        yield from (((column, str(name)), of) for name, of in zip(names, rows, strict=True))


def _kind(config: Config, valid: Validation) -> str:
    if config.within in ("auto", "everyone"):
        wanted = ("pattern", "site") if config.within == "auto" else ()
        return next((name for name in wanted if name in valid.strata), "")
    if config.within not in valid.strata:
        raise RecordError(
            config.predictions, 1, config.within, "there is no such column", "Change --within."
        )
    return config.within


def _check(config: Config) -> None:
    """Raise FusionError where an option has no meaning, whatever the file holds."""
    if not 0 < config.coverage < 1:
        raise FusionError(
            f"--coverage: is {config.coverage:g}. Give a number between 0 and 1, such as 0.9."
        )
    unknown = [name for name in config.calibrators if name not in calibrate.CALIBRATORS]
    if unknown or not config.calibrators:
        found = f"there is no {unknown[0]!r}" if unknown else "none is given"
        raise FusionError(
            f"--calibrators: {found}. Choose from {', '.join(calibrate.CALIBRATORS)}."
        )
    if config.seed < 0:
        raise FusionError(f"--seed: is {config.seed}. Give 0 or a positive number.")


def _prior(config: Config, shape: Layout) -> np.ndarray:
    classes = len(shape.classes)
    if config.prior is None:
        return np.full(classes, 1 / classes)
    prior = np.asarray(config.prior)
    if len(prior) != classes or not (prior.min() > 0 and abs(prior.sum() - 1) <= 1e-6):
        raise FusionError(
            f"--prior: give {classes} positive probabilities that sum to 1, "
            f"for {', '.join(shape.classes)}"
        )
    return prior


def main() -> None:
    """Command line."""
    config = tyro.cli(Config, description=__doc__)
    try:
        content = run(config)
    except FusionError as error:
        sys.exit(f"error: {error}")
    if not content["task"]["records"]["test"]:
        print(f"No labels: nothing was measured. Calibrated: {config.out / 'predictions.csv'}")
        return
    print(page.summary(content))
    print(f"\nReport: {config.out / 'report.html'}")


if __name__ == "__main__":
    main()
