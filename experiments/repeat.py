"""Repeats a diagnosis over seeds and holds the fusion against its rivals, patient by patient."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from rich.console import Console

from experiments import diagnose, provenance
from experiments.diagnose import Outcome
from fusionjax import metrics, scorecard
from fusionjax.crossfit import FitConfig
from fusionjax.report import console

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Config:
    """How often, and where: `seeds` repetitions, each with its own split, encoders and dropout."""

    out: Path
    seeds: int = 5
    ensemble: int = 0
    """Members of a deep ensemble of concatenating MLPs to compare with; 0 compares with none."""
    fit: FitConfig = field(default_factory=FitConfig)
    results: Path = RESULTS


class Trial(NamedTuple):
    """What one repetition left: who was tested, and each model's role and log P(y | X) of them."""

    label: np.ndarray
    group: np.ndarray
    log_prob: dict[str, Float[np.ndarray, "row class"]]
    roles: dict[str, str]
    encoders: tuple[str, ...]


def run(name: str, config: Config, card: Path) -> Path:
    """Repeat the diagnosis of a card and write `results/NAME.json`; returns its path."""
    started = time.time()
    digest = hashlib.sha256(card.read_bytes()).hexdigest()
    return write(name, config, scores(trials(config, card)), started, digest)


def trials(config: Config, card: Path) -> tuple[Trial, ...]:
    """Diagnose a card's test records once a seed."""
    found = []
    for seed in range(config.seeds):
        found.append(trial(diagnose.fit_run(_seeded(config, card, seed))))
        # What was compiled for one split fits no other: kept, it would fill the memory.
        jax.clear_caches()
    return tuple(found)


def scores(found: Sequence[Trial]) -> dict[str, Any]:
    """Every model's metrics and differences over the repetitions, and the encoders chosen."""
    models = summarise(found)
    Console().print(console.table({"models": models}))
    return {
        "models": models,
        "encoders": [t.encoders for t in found],
        "records": len(found[0].label),
    }


def _seeded(config: Config, card: Path, seed: int) -> diagnose.Config:
    return diagnose.Config(
        out=config.out / f"seed-{seed}",
        card=card,
        cache=config.out / "records",
        ensemble=config.ensemble,
        fit=replace(config.fit, seed=seed),
    )


def trial(outcome: Outcome) -> Trial:
    """The test records of one repetition."""
    study, rows = outcome.study, outcome.study.split.test
    return Trial(
        study.label[rows],
        study.group[rows],
        {one.name: one.log_prob for one in outcome.contenders},
        {one.name: one.role for one in outcome.contenders},
        outcome.fitted.model.encoders,
    )


def pooled(parts: Sequence[Trial]) -> Trial:
    """One repetition on several sets of test records, each with a model of its own, as one."""
    return Trial(
        np.concatenate([t.label for t in parts]),
        np.concatenate([t.group for t in parts]),
        {name: np.concatenate([t.log_prob[name] for t in parts]) for name in parts[0].log_prob},
        parts[0].roles,
        tuple(encoder for t in parts for encoder in t.encoders),
    )


def summarise(found: Sequence[Trial]) -> list[dict[str, Any]]:
    """Each model's metrics, the mean over repetitions, and their paired difference to the fusion.

    Intervals resample patients: a patient is drawn, or not, in all repetitions that tested them.
    `spread` is the standard deviation over repetitions.
    """
    roles = found[0].roles
    fusion = next(name for name, role in roles.items() if role == "fusion")
    rows = []
    for name, role in roles.items():
        row: dict[str, Any] = {"name": name, "role": role, "metrics": {}, "difference": {}}
        for metric, score in metrics.METRICS.items():
            each = [score(np.exp(t.log_prob[name]), t.label) for t in found]
            row["metrics"][metric] = {
                **scorecard.plain(_estimate(found, score, name)),
                "spread": float(np.std(each, ddof=1)) if len(each) > 1 else None,
            }
            if name != fusion:
                gap = _estimate(found, score, name, fusion)
                row["difference"][metric] = scorecard.plain(gap)
        rows.append(row)
    return rows


def write(
    name: str, config: Config, content: dict[str, Any], started: float, card_sha256: str = ""
) -> Path:
    """Write a result with its provenance as `NAME.json`."""
    about = provenance.describe(asdict(config), card_sha256, started)
    path = config.results / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(asdict(config), default=str))
    diagnose.write_json(path, {**content, "config": plain, "provenance": about})
    return path


def _estimate(
    found: Sequence[Trial], score: Callable, name: str, other: str | None = None
) -> metrics.Estimate:
    ends = np.cumsum([0, *(len(t.label) for t in found)])

    def mean_gap(weight: np.ndarray) -> np.ndarray:
        parts = []
        for t, start, end in zip(found, ends[:-1], ends[1:], strict=True):
            part = weight[..., start:end]
            value = score(np.exp(t.log_prob[name]), t.label, part)
            base = score(np.exp(t.log_prob[other]), t.label, part) if other else 0.0
            parts.append(value - base)
        return np.mean(parts, axis=0)

    group = np.concatenate([t.group for t in found])
    return metrics.interval(mean_gap, len(group), group, 0)
