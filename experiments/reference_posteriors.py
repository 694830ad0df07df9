"""What is the posterior of multinomial logits on open data? Reference draws to hold samplers to.

    python -m experiments.reference_posteriors [--only iris wine] [--out FOLDER]

About ten minutes on one core for all five; no network. Four of scikit-learn's data sets and the
findings of 300 patients of the synthetic clinic, a fifth of them missing; features are standardised
and divided into modalities, under the program of `posterior/program.py`. Each gets 10,000 draws by
`nuts`, every `thin`-th of four chains, and is accepted as posteriordb accepts: R̂ below 1.01, no
divergences, and autocorrelation at lag 1 below 0.05 in absolute value. All five are. The summary of
each weight and scale is in `results/reference_posteriors.json`, where `--only` replaces those that
it names; `--out` keeps the draws.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import Array

from experiments import provenance
from fusionjax import files
from fusionjax.clinic import world
from fusionjax.posterior import Observations, Posterior, nuts, observe
from fusionjax.posterior.certificate import mixing

RESULTS = Path(__file__).with_name("results")
CHAINS = 4
THREES = (slice(0, 3), slice(3, 6), slice(6, 9))
MODALITIES = {
    "iris": {"sepal": slice(0, 2), "petal": slice(2, 4)},
    "wine": {"acids and minerals": slice(0, 5), "phenols and colour": slice(5, 13)},
    "breast_cancer": {"mean": slice(0, 10), "error": slice(10, 20), "worst": slice(20, 30)},
    "digits": {"upper half": slice(0, 8), "lower half": slice(8, 16)},
    "clinic": dict(zip(world.MODALITIES, (*THREES, slice(9, 13)), strict=True)),
}
DIGITS = (3, 5, 8, 9)
PATIENTS, MISSING = 300, 0.2


@dataclass(frozen=True)
class Config:
    """How many draws, and where they go."""

    out: Path | None = None
    """Folder for the draws, one .npz a posterior; none are kept without it."""
    draws: int = 2500
    """Of each of four chains, after thinning."""
    thin: int = 8
    accept: float = 0.99
    """The acceptance that the step size aims at: so high that no step diverges."""
    only: tuple[str, ...] = tuple(MODALITIES)
    results: Path = RESULTS


def records(name: str) -> tuple[Observations, Array]:
    """Observations of one of the data sets, and log class frequencies."""
    x, label, presence = _clinic() if name == "clinic" else _open(name)
    x = (x - x.mean(0)) / x.std(0)
    parts = [np.c_[np.ones(len(x)), x[:, columns]] for columns in MODALITIES[name].values()]
    features = tuple(jnp.asarray(part, jnp.float32) for part in parts)
    counts = np.bincount(label)
    observations = observe(features, jnp.asarray(presence), jnp.asarray(label), len(counts))
    return observations, jnp.asarray(np.log(counts / counts.sum()), jnp.float32)


def summary(name: str, config: Config) -> dict[str, Any]:
    """Means, deviations and quantiles of a reference posterior, and whether it is accepted."""
    observations, bias = records(name)
    draws, started = config.draws * config.thin, time.time()
    found = nuts.fit(
        jax.random.key(0), observations, bias, draws=draws, warmup=1000, accept=config.accept
    )
    kept = {
        key: np.asarray(x).reshape(CHAINS, draws, *x.shape[1:])[:, :: config.thin]
        for key, x in _named(found).items()
    }
    if config.out:
        config.out.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(config.out / f"{name}.npz", allow_pickle=False, **kept)
    r_hat, bulk, tail = mixing(kept)
    lag = max(float(np.max(np.abs(_lag(x)))) for x in kept.values())
    divergences = found.certificate.divergences
    return {
        "rows": len(observations.weight),
        "classes": len(bias),
        "modalities": list(MODALITIES[name]),
        "draws": CHAINS * config.draws,
        "target_accept": config.accept,
        "seconds": round(time.time() - started, 1),
        "accepted": r_hat < 1.01 and divergences == 0 and lag < 0.05,
        "r_hat": r_hat,
        "ess_bulk": bulk,
        "ess_tail": tail,
        "divergences": divergences,
        "largest_lag_1": lag,
        "likelihood_evaluations": found.certificate.likelihood_evaluations,
        "parameters": {key: _moments(x) for key, x in kept.items()},
    }


def run(config: Config) -> Path:
    """Write `results/reference_posteriors.json`; returns its path."""
    started = time.time()
    path = config.results / "reference_posteriors.json"
    plain = asdict(config) | {"out": None, "results": None, "only": list(config.only)}
    stood = json.loads(path.read_text(encoding="utf-8"))["posteriors"] if path.is_file() else {}
    for name in config.only:
        found = stood[name] = summary(name, config)
        print(f"{name}: accepted {found['accepted']}, r_hat {found['r_hat']:.4f}", end=", ")
        print(f"lag 1 {found['largest_lag_1']:.3f}, divergences {found['divergences']}", flush=True)
    about = provenance.describe(plain, "", started)
    text = json.dumps({"posteriors": stood, "config": plain, "provenance": about}, indent=1)
    files.write(path, text + "\n")
    return path


def _open(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes and presence of a data set of scikit-learn."""
    from sklearn import datasets

    x, label = getattr(datasets, f"load_{name}")(return_X_y=True)
    if name == "digits":
        rows = np.isin(label, DIGITS)
        x, label = x[rows].reshape(-1, 4, 2, 4, 2).sum((2, 4)), np.searchsorted(DIGITS, label[rows])
        x = x.reshape(len(x), 16)
    return x, label, np.ones((len(x), len(MODALITIES[name])), bool)


def _clinic() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The findings of some patients of the synthetic clinic, as their files would show them."""
    made = world.make(world.Dials(missing=MISSING))
    cohort = world.sample(np.random.default_rng(0), made, PATIENTS)
    shown = [world.statistics(i, findings) for i, findings in enumerate(cohort.findings)]
    return np.concatenate(shown, axis=1), cohort.label, cohort.presence


def _named(found: Posterior) -> dict[str, Array]:
    return {"tau": found.tau} | {f"theta_{i}": x for i, x in enumerate(found.theta)}


def _lag(chains: np.ndarray) -> np.ndarray:
    """Autocorrelation at lag 1 of every parameter of [chain, draw, ...], over all chains."""
    apart = chains - chains.mean((0, 1))
    return np.mean(apart[:, 1:] * apart[:, :-1], axis=(0, 1)) / np.mean(apart**2, axis=(0, 1))


def _moments(chains: np.ndarray) -> dict[str, Any]:
    draws = chains.reshape(-1, *chains.shape[2:]).astype(float)
    ends = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
    each = {"mean": draws.mean(0), "sd": draws.std(0, ddof=1), "mean_square": (draws**2).mean(0)}
    each |= dict(zip(("q05", "q50", "q95"), ends, strict=True))
    return {key: np.round(value, 5).tolist() for key, value in each.items()}


if __name__ == "__main__":
    run(tyro.cli(Config))
