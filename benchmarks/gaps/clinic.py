"""The synthetic clinic with gaps: every pattern, mechanism and corruption, for every handler."""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from benchmarks.gaps import cohort as cohorts
from benchmarks.gaps import spoilt
from benchmarks.gaps.cohort import Cohort, Part
from benchmarks.gaps.handlers import HANDLERS, fit_all, nll, oracle, scores
from fusionjax import acquisition, card, metrics, presence, study
from fusionjax.clinic import world
from fusionjax.clinic.write import write
from fusionjax.corrupt import noise
from fusionjax.corrupt.swap import donors, exchanged
from fusionjax.missing import gaussian
from fusionjax.missing.types import every_pattern
from fusionjax.records.ingest import Records, ingest

DIALS = world.Dials(severity=1.0)
RATES = (0.0, 0.3, 0.6)
MECHANISMS = ("mcar", "mar", "mnar", "by_site", "exclusive")
GRID_HANDLERS = ("drop", "gaussian", "absence", "zero")
STRENGTHS = (0.0, 0.25, 0.5, 1.0)
SITES = 3
OWNED = jnp.array([[True, True, False, True], [True, False, True, True], [False, True, True, True]])


def run(
    patients: int,
    width: int,
    runs: int,
    mechanisms: tuple[str, ...] = MECHANISMS,
    strengths: tuple[float, ...] = STRENGTHS,
    patterns: int = 15,
) -> dict[str, Any]:
    """All of it, on one clinic, for the first `patterns` of 15; JSON values."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "clinic", DIALS, patients, 0)
        records = ingest(card.load(path), Path(folder) / "cache")
        prepared = study.prepare(records)
        cohort = cohorts.encoded(prepared, width)
        inputs = next(study.ordered(prepared, prepared.split.train[:256])).inputs
        cost = _cost(cohort, inputs, runs)
        params = fit_all(cohort.train, cohort.bias)
        spoils = _spoils(cohort, params, prepared, records, strengths)
    truth = world.sample(np.random.default_rng(0), world.make(DIALS), patients)
    return {
        "patients": patients,
        "columns_a_modality": width,
        "severity": DIALS.severity,
        **_patterns(cohort, params, truth, patterns),
        "grid": {m: _grid(cohort, m) for m in mechanisms},
        "corruptions": {**_corruptions(cohort, params, strengths), **spoils},
        "acquisition": _acquisition(cohort, params["gaussian"]),
        "cost": cost,
    }


def _patterns(cohort: Cohort, params: dict, truth: world.Cohort, patterns: int) -> dict[str, Any]:
    """NLL, accuracy, ECE and AURC by pattern, and the handler that validation chose."""
    bias, found, validation = cohort.bias, [], {name: [] for name in HANDLERS}
    for pattern in np.asarray(presence.patterns(len(cohort.encoders)))[:patterns]:
        held, test = (_only(part, pattern) for part in (cohort.validation, cohort.test))
        said = {n: cohorts.prob(h, params[n], bias, test) for n, h in HANDLERS.items()}
        for name, handler in HANDLERS.items():
            prob = cohorts.prob(handler, params[name], bias, held)
            validation[name].append(nll(prob, held.label))
        subset = np.flatnonzero(pattern).tolist()
        exact = np.exp(world.truth(world.make(DIALS), truth, subset))[test.row]
        each = {"oracle": oracle(cohort, pattern, test), "truth": exact, **said}
        found.append(
            {
                "present": [world.MODALITIES[i] for i in subset],
                **{n: scores(prob, test.label) for n, prob in each.items()},
            }
        )
    mean = {name: float(np.mean(losses)) for name, losses in validation.items()}
    chosen = min(mean, key=mean.__getitem__)
    ratio = {
        name: max(one[name]["nll"] / one["oracle"]["nll"] for one in found) for name in HANDLERS
    }
    return {
        "patterns": found,
        "validation_nll": {name: round(value, 4) for name, value in mean.items()},
        "chosen": chosen,
        "worst_nll_over_the_oracles": {name: round(value, 4) for name, value in ratio.items()},
    }


def _grid(cohort: Cohort, mechanism: str) -> list[dict[str, Any]]:
    """Scores of some handlers at each rate of loss in training and at test."""
    found = []
    for p_train in RATES:
        train = cohorts.showing(cohort.train, _lost(mechanism, cohort.train, p_train, 1))
        params = fit_all(train, cohort.bias, GRID_HANDLERS)
        for p_test in RATES:
            test = cohorts.showing(cohort.test, _lost(mechanism, cohort.test, p_test, 2))
            each = {
                name: scores(
                    cohorts.prob(HANDLERS[name], params[name], cohort.bias, test), test.label
                )
                for name in GRID_HANDLERS
            }
            found.append({"p_train": p_train, "p_test": p_test, **each})
    return found


def _lost(mechanism: str, part: Part, rate: float, seed: int) -> Bool[Array, "row modality"]:
    """Presence after a mechanism; at rate 0 nothing is lost, by sites it is all or nothing."""
    key, modalities = jax.random.key(seed), part.presence.shape[1]
    if rate == 0.0:
        return part.presence
    rates = jnp.full(modalities, rate)
    first = jnp.stack([f[:, 1] for f in part.features], axis=1)
    score = 2 * (first - first.mean(0)[None, :]) / first.std(0)[None, :]
    if mechanism == "mar":
        return presence.mar(key, part.presence, rates, score[:, 3], anchor=3)
    if mechanism == "mnar":
        return presence.mnar(key, part.presence, rates, score)
    if mechanism == "by_site":
        lost = jax.random.uniform(key, (len(part.label),)) < rate
        by_site = presence.by_site(part.presence, jnp.asarray(part.row % SITES), OWNED)
        return jnp.where(lost[:, None], by_site, part.presence)
    return getattr(presence, mechanism)(key, part.presence, rates)


def _corruptions(
    cohort: Cohort, params: dict, strengths: tuple[float, ...]
) -> dict[str, list[dict[str, Any]]]:
    """Scores as a growing share of modalities is another patient's, or noisy."""
    curves: dict[str, list[dict[str, Any]]] = {"swap": [], "noise": []}
    test, key = cohort.test, jax.random.key(3)
    for strength in strengths:
        rates = jnp.full(len(test.features), 0.5 * strength)
        donor = donors(key, test.presence, rates, jnp.asarray(test.label))
        swapped = test._replace(features=exchanged(test.features, donor))
        keys = jax.random.split(key, len(test.features))
        noisy = test._replace(
            features=tuple(
                f.at[:, 1:].set(noise.gaussian(k, f[:, 1:], 2 * strength))
                for k, f in zip(keys, test.features, strict=True)
            )
        )
        for name, part in (("swap", swapped), ("noise", noisy)):
            curves[name].append({"strength": strength, **_each(cohort, params, part)})
    return curves


def _spoils(
    cohort: Cohort,
    params: dict,
    prepared: study.Study,
    records: Records,
    strengths: tuple[float, ...],
) -> dict[str, list[dict[str, Any]]]:
    """Scores as one modality of every patient is corrupted before it is read."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for strength in strengths:
        for name, (_, part) in spoilt.parts(cohort, prepared, records, strength).items():
            point = {"strength": strength, **_each(cohort, params, part)}
            curves.setdefault(name, []).append(point)
    return curves


def _each(cohort: Cohort, params: dict, part: Part) -> dict[str, dict[str, float]]:
    """Every handler's scores."""
    said = {n: cohorts.prob(h, params[n], cohort.bias, part) for n, h in HANDLERS.items()}
    return {n: scores(prob, part.label) for n, prob in said.items()}


def _acquisition(cohort: Cohort, params: gaussian.Params) -> dict[str, Any]:
    """What is promised to patients with one modality, and what happens when it is measured."""
    test, count = cohort.test, len(cohort.test.features)
    start = jnp.asarray(np.eye(count, dtype=bool)[np.arange(len(test.label)) % count])
    promised = acquisition.expected(
        jax.random.key(0), params, cohort.bias, test.features, start, draws=64
    )
    best = acquisition.best(promised, start)
    others = np.array([np.flatnonzero(~row) for row in np.asarray(start)])
    rng = np.random.default_rng(0)
    anyone = others[np.arange(len(others)), rng.integers(count - 1, size=len(others))]
    rows, before = np.arange(len(best)), _entropy_nll(cohort, params, start)
    found: dict[str, Any] = {"entropy_now": before[0], "nll_now": before[1]}
    for name, which in (("promised_most", best), ("at_random", anyone)):
        told = start.at[rows, which].set(True)
        after = _entropy_nll(cohort, params, told)
        found[name] = {
            "promised_fall": round(float(np.asarray(promised.fall)[rows, which].mean()), 4),
            "actual_fall": round(before[0] - after[0], 4),
            "nll": after[1],
        }
    return found


def _entropy_nll(cohort: Cohort, params: gaussian.Params, shown: Array) -> tuple[float, float]:
    part = cohorts.showing(cohort.test, shown)
    prob = cohorts.prob(HANDLERS["gaussian"], params, cohort.bias, part)
    return round(float(metrics.entropy(prob).mean()), 4), round(nll(prob, part.label), 4)


def _cost(cohort: Cohort, inputs: tuple, runs: int) -> dict[str, float]:
    """Seconds for one full forward pass of a batch, and for it under all patterns, in turn."""
    small = cohort.train._replace(
        features=tuple(f[:300] for f in cohort.train.features),
        presence=cohort.train.presence[:300],
        label=cohort.train.label[:300],
    )
    found: dict[str, float] = {}
    for name in ("drop", "gaussian"):
        handler = HANDLERS[name]
        params = fit_all(small, cohort.bias, (name,))[name]

        @jax.jit
        def one(inputs: tuple, handler: Any = handler, params: Any = params) -> Array:
            features = cohorts.features(cohort.encoders, cohort.weights, inputs)
            everything = jnp.ones((len(features[0]), len(features)), bool)
            return handler.log_prob(params, cohort.bias, features, everything)

        @jax.jit
        def all_of_them(inputs: tuple, handler: Any = handler, params: Any = params) -> Array:
            features = cohorts.features(cohort.encoders, cohort.weights, inputs)
            return every_pattern(handler.log_prob, params, cohort.bias, features)

        pairs = [(_seconds(one, inputs), _seconds(all_of_them, inputs)) for _ in range(runs + 1)]
        full, every = (median(times) for times in zip(*pairs[1:], strict=True))
        found[f"{name}_full_ms"] = round(1000 * full, 3)
        found[f"{name}_all_patterns_ms"] = round(1000 * every, 3)
        found[f"{name}_ratio"] = round(median(b / a for a, b in pairs[1:]), 3)
    return found


def _seconds(function: Any, inputs: tuple) -> float:
    started = time.perf_counter()
    jax.block_until_ready(function(inputs))
    return time.perf_counter() - started


def _only(part: Part, pattern: Float[np.ndarray, " modality"] | np.ndarray) -> Part:
    """The records that have these modalities, shown with no others."""
    able = np.asarray(part.presence)[:, pattern].all(axis=1)
    shown = jnp.tile(jnp.asarray(pattern), (int(able.sum()), 1))
    features = tuple(f[able] for f in part.features)
    return Part(features, shown, part.label[able], part.row[able])
