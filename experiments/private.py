"""What does privacy cost, do the intervals still cover, and does an attack see through it?

    python -m experiments.private --name breast_cancer --peer PEER/bin/python
    python -m experiments.private --name heart --peer PEER/bin/python

PEER is an environment of its own with diffprivlib (0.6.6 needs scikit-learn below 1.6); without
--peer its rows are left out. Writes results/private_NAME.json and .md: accuracy and NLL at ε = 1, 3
and 8 beside fits without privacy; how often 95 % intervals hold the θ that drew the labels, on the
real features; and what membership inference finds. The noise comes from the operating system's
generator, so that no two runs agree in every digit. EXPECTED
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Bool, Float

from experiments import repeat
from experiments.cards import breast_cancer, heart, published
from experiments.repeat import Trial
from fusionjax import card, files, fitting, metrics
from fusionjax import posterior as posteriors
from fusionjax.log_linear import log_prob
from fusionjax.model import Model, diagnose
from fusionjax.posterior import laplace, newton, proposals
from fusionjax.presence import augment
from fusionjax.privacy import Promise, attack, canary, public, release
from fusionjax.privacy import fitting as private
from fusionjax.privacy import posterior as noisy
from fusionjax.privacy.fitting import Records
from fusionjax.privacy.guarantee import Units, multiplier, to_json
from fusionjax.records.ingest import ingest
from fusionjax.study import Study, ordered, prepare

SHAKY = 1e-6


@dataclass(frozen=True)
class Config(repeat.Config):
    """Repetitions, each with its own split and noise; `results` gets the JSON and the page."""

    out: Path = Path("runs/private")
    name: Literal["breast_cancer", "heart"] = "breast_cancer"
    seeds: int = 10
    epsilons: tuple[float, ...] = (1.0, 3.0, 8.0)
    delta: float = 1e-4
    simulated: int = 30
    """Sets of labels drawn from a known θ, to count which intervals hold it."""
    shadows: int = 48
    peer: Path | None = None
    """The python of an environment that has diffprivlib."""


def run(config: Config) -> Path:
    """Measure a data set and write `results/private_NAME.json` and `.md`; returns the first."""
    started, source = time.time(), SystemRandom()
    folder = config.out / config.name
    records = ingest(card.load(_convert(config.name, folder / "dataset")), folder / "records")
    stated = public.load(Path(__file__).parent / "cards" / f"{config.name}_public.toml")
    trials, guarantees = [], {}
    for seed in range(config.seeds):
        study = public.prepare(records, stated, seed)
        free = prepare(records, seed)
        trials.append(_trial(config, study, free, stated, seed, source, guarantees))
        print(f"seed {seed}: {_short(trials[-1])}", flush=True)
    study = public.prepare(records, stated)
    found = private.read(study, stated, Promise(delta=config.delta))
    content = {
        "guarantees": guarantees,
        "models": repeat.summarise(trials),
        "coverage": list(_coverage(config, found, source)),
        "leaks": list(_leaks(config, found, source)),
        "canaries": list(_canaries(config, source)),
        "records": {"train": len(study.split.train), "test": len(study.split.test)},
    }
    files.write(config.results / f"private_{config.name}.md", page(config.name, content))
    return repeat.write(f"private_{config.name}", config, content, started)


def _convert(name: str, folder: Path) -> Path:
    if name == "heart":
        return heart.convert(published("heart"), folder)
    return breast_cancer.convert(None, folder)


def _trial(config, study: Study, free: Study, stated, seed, source, guarantees) -> Trial:
    """The test records by every model of one repetition."""
    rows = study.split.test
    names = ("linear",) * len(study.card.modalities)
    model = fitting.fit(free, names, replace(config.fit, seed=seed)).model
    found = {"not private": _predict(model, free)}
    for epsilon in (*config.epsilons, 1 / SHAKY):
        promise = Promise(epsilon, config.delta)
        fitted = private.fit(jax.random.key(seed), study, stated, private.Config(promise), source)
        name = f"private, ε = {epsilon:g}" if epsilon < 1 / SHAKY else "private, without its noise"
        found[name] = _predict(fitted.model, study)
        if epsilon < 1 / SHAKY:
            guarantees[f"{epsilon:g}"] = to_json(fitted.guarantee)
    if config.peer:
        seen = private.read(study, stated, Promise(delta=config.delta))
        new = private.read(
            study._replace(split=study.split._replace(train=rows)), stated, Promise(delta=1e-9)
        )
        for epsilon in config.epsilons:
            found[f"diffprivlib, ε = {epsilon:g}, δ = 0"] = _peer(config.peer, seen, new, epsilon)
    roles = {name: "fusion" if name == "not private" else "private" for name in found}
    return Trial(study.label[rows], study.group[rows], found, roles, names)


def _predict(model: Model, study: Study) -> Float[np.ndarray, "row class"]:
    rows = study.split.test
    parts = [np.asarray(diagnose(model, b).predictive.prob) for b in ordered(study, rows)]
    return np.log(np.maximum(np.concatenate(parts)[: len(rows)], 1e-12))


def _peer(peer: Path, seen: Records, new: Records, epsilon: float) -> np.ndarray:
    """diffprivlib's log P(y | X) of the same columns, whose norm is bounded alike."""
    train, test = (np.concatenate([f[:, 1:] for f in r.features], axis=1) for r in (seen, new))
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder) / "given.npz", Path(folder) / "got.npz"
        norm = np.sqrt(train.shape[1])
        np.savez(given, train=train, label=seen.label, test=test, norm=norm, epsilon=epsilon)
        script = Path(__file__).with_name("private_peer.py")
        subprocess.run([str(peer), str(script), str(given), str(got)], check=True)
        return np.log(np.maximum(np.load(got)["prob"], 1e-12))


def _short(trial: Trial) -> str:
    scores = {n: metrics.accuracy(np.exp(p), trial.label) for n, p in trial.log_prob.items()}
    return ", ".join(f"{name} {float(value):.3f}" for name, value in scores.items())


def _coverage(config: Config, found: Records, source) -> Iterator[dict[str, Any]]:
    """Which 95 % intervals of θ hold the θ that drew the labels, on the real features.

    The directions are the noiseless ones, and θ a fit's posterior mean: as good as any other truth.
    """
    means = private.release_means(found, SHAKY, 1, source)
    bounded = private.observe(jax.random.key(0), found, means, 1)
    bias, sizes = jnp.asarray(means.bias, jnp.float32), newton.sizes(bounded.observations)
    single = jax.tree.map(jnp.asarray, _as_observed(bounded))
    fitted = laplace.fit(jax.random.key(0), single, bias)
    truth = np.concatenate([np.asarray(t).mean(0) for t in fitted.theta], axis=1)
    rng, held = np.random.default_rng(0), {}
    for one in range(config.simulated):
        log_p = log_prob(
            tuple(jnp.asarray(t).mean(0) for t in fitted.theta),
            bias,
            single.features,
            single.presence,
        )
        label = np.argmax(np.asarray(log_p) + rng.gumbel(size=log_p.shape), axis=1)
        rows = single._replace(onehot=jnp.eye(found.classes)[label])
        trial = bounded._replace(observations=rows, record=np.arange(len(label)))
        key = jax.random.key(one)
        held.setdefault("not private", []).append(_holds(laplace.fit(key, rows, bias).theta, truth))
        for epsilon in config.epsilons:
            z = multiplier(epsilon, config.delta) / np.sqrt(1 - private.Config().maps)
            at = release.rounds(trial, np.asarray(bias), z, source)
            for name, released in {"": at, ", noise left out": _unaware(at)}.items():
                drawn = noisy.fit(key, released, bias, sizes, draws=150, warmup=150, chains=2)
                name = f"private, ε = {epsilon:g}{name}"
                held.setdefault(name, []).append(_holds(drawn.theta, truth))
    for name, each in held.items():
        inside = np.array([one[0] for one in each])
        by_set = inside.mean(axis=1)
        yield {
            "model": name,
            "coverage": float(by_set.mean()),
            "error": float(by_set.std(ddof=1) / np.sqrt(len(by_set))),
            "width": float(np.mean([one[1] for one in each])),
            "sets": len(each),
        }


def _as_observed(bounded: release.Bounded) -> posteriors.Observations:
    """The records as they are, without the rows under dropout."""
    rows = bounded.observations
    own = slice(0, bounded.units.count)
    features = tuple(jnp.asarray(f[own], jnp.float32) for f in rows.features)
    weight = jnp.ones(bounded.units.count)
    return posteriors.Observations(features, rows.presence[own], rows.onehot[own], weight)


def _unaware(at: release.Expansion) -> release.Expansion:
    """What a posterior that takes the noisy sums for clean ones would read."""
    return at._replace(slope_deviation=1e-3, variance=np.zeros_like(at.variance))


def _holds(theta, truth: Float[np.ndarray, "class p"]) -> tuple[np.ndarray, float]:
    draws = np.concatenate([np.asarray(t) for t in theta], axis=2)
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    inside = (low <= truth) & (truth <= high)
    return inside[1:].ravel(), float(np.mean(high - low))


def _leaks(config: Config, found: Records, source) -> Iterator[dict[str, Any]]:
    """The leak table: point estimates of θ by plain, dropout and private fits, attacked."""
    fits = {"plain": _plain(found, False), "modality dropout": _plain(found, True)}
    for epsilon in config.epsilons:
        fits[f"private, ε = {epsilon:g}"] = _private(config, found, epsilon, source)
    for name, fit in fits.items():
        seen = attack.shadows(fit, found.label, config.shadows, seed=1)
        promised = float(name.split("= ")[1]) if "=" in name else None
        for one in attack.leaks(seen, config.delta):
            print(name, one, flush=True)
            yield {"model": name, "promised": promised, **one._asdict()}


def _plain(found: Records, dropout: bool) -> attack.Fit:
    """θ's mode at τ = 1 on all columns, of the records as they are, or under dropout too."""
    features = tuple(jnp.asarray(f, jnp.float32) for f in found.features)
    here = jnp.asarray(found.presence)
    rates = jnp.full(len(features), 0.5)
    shown, weight, index = augment(jax.random.key(0), here, rates, int(dropout))
    label = jnp.asarray(found.label)[index]
    rows = posteriors.observe(tuple(f[index] for f in features), shown, label, found.classes)
    tau = np.ones(len(features))

    def fit(member: Bool[np.ndarray, " record"]) -> Float[np.ndarray, "record class"]:
        bias = _frequencies(found, member)
        mode = newton.solve(
            tau, rows._replace(weight=weight * jnp.asarray(member, jnp.float32)[index]), bias
        )
        scale = np.asarray(newton.columns(jnp.asarray(tau), newton.sizes(rows)))[:, None]
        theta = proposals.theta((scale * np.asarray(mode.z))[None], newton.sizes(rows))
        return np.asarray(log_prob(tuple(t[0] for t in theta), bias, features, here))

    return fit


def _frequencies(found: Records, member: Bool[np.ndarray, " record"]):
    counts = np.bincount(found.label[member], minlength=found.classes) + 1.0
    return jnp.asarray(np.log(counts / counts.sum()), jnp.float32)


def _private(config: Config, found: Records, epsilon: float, source) -> attack.Fit:
    """What both releases say, at the centre of θ's posterior."""
    settings = private.Config(Promise(epsilon, config.delta))
    everyone = np.arange(len(found.label))

    def fit(member: Bool[np.ndarray, " record"]) -> Float[np.ndarray, "record class"]:
        units = Units(np.where(member, everyone, -1), len(everyone))
        chosen = found._replace(units=units)
        means, at = private.likelihood(jax.random.key(0), chosen, settings, source)
        sizes = tuple(1 + m.matrix.shape[1] for m in means.maps)
        theta = proposals.theta(release.centre([at], means.bias, sizes)[None], sizes)
        rows = _as_observed(private.observe(jax.random.key(0), found, means, 1))
        bias = jnp.asarray(means.bias, jnp.float32)
        return np.asarray(log_prob(tuple(t[0] for t in theta), bias, rows.features, rows.presence))

    return fit


def _canaries(config: Config, source) -> Iterator[dict[str, Any]]:
    """The one-run audit of honest fits, and of one that is broken on purpose."""
    trial: dict[str, Callable[[], canary.Audit]] = {}
    for epsilon in config.epsilons:
        promise, z = Promise(epsilon, config.delta), multiplier(epsilon, config.delta)
        trial[f"honest, ε = {epsilon:g}"] = lambda p=promise, z=z: canary.audit(p, z, source)
    least = min(config.epsilons)
    promise, z = Promise(least, config.delta), multiplier(least, config.delta)
    trial[f"noise left out, ε = {least:g}"] = lambda: canary.audit(promise, SHAKY, source)
    trial[f"60 records a patient counted as records, ε = {least:g}"] = lambda: canary.audit(
        promise, z, source, canaries=60, records=60
    )
    for name, audit in trial.items():
        yield {"mechanism": name, "promised": float(name.split("= ")[1]), **audit()._asdict()}


def page(name: str, content: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [
        f"# {name}: private fits",
        "",
        *(g["sentence"] + "  " for g in content["guarantees"].values()),
    ]
    lines += ["", "| model | accuracy | NLL |", "|---|---|---|"]
    for row in content["models"]:
        accuracy, nll = (_cell(row["metrics"][m]) for m in ("accuracy", "nll"))
        lines.append(f"| {row['name']} | {accuracy} | {nll} |")
    lines += ["", "| 95 % intervals of θ | hold the truth | mean width |", "|---|---|---|"]
    lines += [
        f"| {r['model']} | {r['coverage']:.3f} ± {r['error']:.3f} | {r['width']:.2f} |"
        for r in content["coverage"]
    ]
    lines += [
        "",
        "| model | attack | AUC | TPR at 1 % FPR | ε at least | ε promised |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['model']} | {r['attack']} | {r['auc']:.3f} ± {r['auc_error']:.3f} "
        f"| {r['tpr']:.3f} | {r['epsilon']:.2f} | {r['promised'] or 'none'} |"
        for r in content["leaks"]
    ]
    lines += [
        "",
        "| canaries in | right of guesses | ε at least | ε promised |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['mechanism']} | {r['correct']} of {r['guesses']} "
        f"| {r['epsilon']:.2f} | {r['promised']:g} |"
        for r in content["canaries"]
    ]
    return "\n".join(lines) + "\n"


def _cell(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
