"""Do four hospitals that share no record get the model that their pooled records would give?

    python -m experiments.federated_cardiology

heart: each hospital is a process of its own behind Flower, over TLS with authenticated sites and
sums under secure aggregation (`--no-secure` for sums that the coordinator sees site by site). Three
fits: of all four; with one hospital killed midway, so that it must equal pooling the other three;
and of all four again when that one is back. Needs the extra `federation`. 24 minutes on two cores
that other work shared, most of it waiting: a SuperNode looks for messages every three seconds, and
each of some 80 sums takes four rounds of them. Expect θ to differ from pooling by less than 1e-5 in
every draw of all three fits; it was 0 in float32.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro

from experiments import diagnose, provenance, repeat
from experiments.cards import heart, place_card, published
from fusionjax import card as cards
from fusionjax import crossfit, files, model, preprocess
from fusionjax.crossfit import FitConfig, Fold
from fusionjax.federated import deployment
from fusionjax.federated.deployment import Place
from fusionjax.model import Model
from fusionjax.posterior import Posterior, laplace
from fusionjax.records.ingest import ingest
from fusionjax.study import log_prior, of_model

WORDS = {
    "census": "how many records of each class, how many files of each modality",
    "places": "how many numbers lie in each of 2,048 parts of all numbers, for order statistics",
    "moments": "how many numbers a column has, and the sums of their powers 1 to 3",
    "levels": "how often each text of a categorical cell occurs, in tables of buckets",
    "summary": "sums of the summaries of records and of their products",
    "expand": "the log-likelihood at given weights, its gradient and its curvature",
    "slope": "the slope of the skewness correction at the mode",
    "gains": "what each draw of the weights gains in log-likelihood",
}
MIDWAY = 4
"""Expansions of the second fit that are made before the hospital is killed."""


@dataclass(frozen=True)
class Config:
    """Who leaves, how long an answer may take in seconds, and how sums are made."""

    out: Path = Path("runs/federated_cardiology")
    secure: bool = True
    leaver: str = "switzerland"
    deadline: float = 45.0
    patience: float = 300.0
    draws: int = 400
    seed: int = 0
    results: Path = repeat.RESULTS


def run(config: Config) -> Path:
    """Fit three times, hold each against pooling, write `results/federated_cardiology.json`."""
    started = time.time()
    folders = split(config.out / "dataset")
    fitted = federate(config, folders)
    fits = []
    for number, (found, noted) in enumerate(fitted, start=1):
        whole = [folders[name] for name in noted["members"]]
        want, bias = pooled(config.out / f"pooled-{number}", whole, config.seed, config.draws)
        fits.append(noted | compare(found, want, bias))
        print(f"fit {number}, {len(whole)} hospitals: θ differs by {fits[-1]['theta']:.1e}")
    files.write(config.out / "federation.md", page(config, fits))
    print(f"what each hospital sent: {config.out / 'federation.md'}")
    digest = hashlib.sha256((config.out / "dataset" / "dataset.toml").read_bytes()).hexdigest()
    about = provenance.describe(asdict(config), digest, started)
    told = json.loads(json.dumps(asdict(config), default=str))
    config.results.mkdir(parents=True, exist_ok=True)
    path = config.results / "federated_cardiology.json"
    diagnose.write_json(path, {"fits": fits, "words": WORDS, "config": told, "provenance": about})
    return path


def split(folder: Path) -> dict[str, Path]:
    """Each hospital's records in a folder of its own, and the card that all share in `folder`."""
    heart.convert(published("heart"), folder)
    table = pd.read_csv(folder / "records.csv", dtype=str, keep_default_na=False)
    folders = {}
    for name, rows in table.groupby("hospital", sort=False):
        folders[str(name)] = folder / str(name)
        place_card("heart", folders[str(name)])
        rows.to_csv(folders[str(name)] / "records.csv", index=False)
    return folders


def federate(config: Config, folders: dict[str, Path]) -> list[tuple[Model, dict[str, Any]]]:
    """The three fits by Flower: model, members, and what happened and was sent in each."""
    out = (config.out / "fits").absolute()
    out.mkdir(parents=True, exist_ok=True)
    for stale in ("fits.json", "sums.jsonl"):
        (out / stale).unlink(missing_ok=True)
    at = deployment.place(config.out, tuple(folders))
    processes = [deployment.superlink(at)]
    try:
        for name in folders:
            deployment.register(at, name)
        for name, folder in folders.items():
            if name != config.leaver:
                processes += deployment.supernode(at, name, folder)
        _drive(config, at, folders[config.leaver], out, processes)
    finally:
        deployment.stop(*processes)
    noted, sums = json.loads((out / "fits.json").read_text()), _sums(out)
    return [
        (model.load(out / f"fit-{number}"), _share(number, noted, sums))
        for number in range(1, len(noted) + 1)
    ]


def _drive(
    config: Config, at: Place, folder: Path, out: Path, processes: list[deployment.Process]
) -> None:
    """Start the fits, kill the leaver midway through the second, start it again for the third."""
    pair = deployment.supernode(at, config.leaver, folder)
    processes += pair
    card = str(place_card("heart", config.out / "coordinator").absolute())
    told = {"card": card, "out": str(out), "secure": config.secure, "deadline": config.deadline}
    told |= {"opened": False, "fits": 3, "sites": 4, "patience": config.patience}
    deployment.run(at, told | {"draws": config.draws, "seed": config.seed})
    _until(out, processes[0], lambda: _done(out) == 1 and _expansions(out, 2) >= MIDWAY)
    deployment.stop(*pair, kill=True)
    print(f"{config.leaver} was killed", flush=True)
    _until(out, processes[0], lambda: _done(out) == 2)
    processes += deployment.supernode(at, config.leaver, folder)
    print(f"{config.leaver} was started again", flush=True)
    _until(out, processes[0], lambda: _done(out) == 3)


def _until(out: Path, superlink: deployment.Process, ready) -> None:
    """Wait; raises TimeoutError where no sum has been made for ten minutes."""
    last, sums = time.monotonic(), -1
    while not ready():
        if len(_sums(out)) != sums:
            last, sums = time.monotonic(), len(_sums(out))
        if time.monotonic() > last + 600 or superlink.poll() is not None:
            raise TimeoutError(f"the fit stands still: see the logs in {out.parent}")
        time.sleep(0.2)


def _sums(out: Path) -> list[dict[str, Any]]:
    path = out / "sums.jsonl"
    # What follows the last line break is still being written.
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _done(out: Path) -> int:
    path = out / "fits.json"
    return len(json.loads(path.read_text())) if path.exists() else 0


def _expansions(out: Path, number: int) -> int:
    return sum(s["task"] == "expand" and s["fit"] == number for s in _sums(out))


def _share(number: int, noted: list[dict[str, Any]], sums: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one fit: who took part, what happened, and what was sent, by task and hospital."""
    mine, sent = [s for s in sums if s["fit"] == number], {}
    for one in mine:
        for site, size in one["sent"].items():
            row = sent.setdefault(one["task"], {}).setdefault(site, {"answers": 0, "bytes": 0})
            row["answers"] += 1
            row["bytes"] += size
    events = [e for e in noted[number - 1]["events"] if e["fit"] == number]
    return {
        "members": noted[number - 1]["members"],
        "events": events,
        "sums": len(mine),
        "seconds": round(mine[-1]["seconds"] - mine[0]["began"], 1),
        "sent": sent,
    }


def pooled(
    folder: Path, sites: Sequence[Path], seed: int, draws: int
) -> tuple[Posterior, np.ndarray]:
    """What the same records give in one place, by the code that knows of no federation.

    Each hospital drops modalities from its records by a key of its own, in both.
    """
    parts = [pd.read_csv(site / "records.csv", dtype=str, keep_default_na=False) for site in sites]
    place_card("heart", folder)
    pd.concat(parts).to_csv(folder / "records.csv", index=False)
    records = ingest(cards.load(folder), folder / "cache")
    rows = np.arange(len(records.table))
    columns = zip(*records.source.__getitems__(rows.tolist()), strict=True)
    modalities = records.card.modalities
    statistics = tuple(preprocess.fit(*one) for one in zip(modalities, columns, strict=True))
    study = of_model(records, statistics)
    study = study._replace(split=study.split._replace(train=rows))
    bias, names = jnp.asarray(log_prior(study)), ("linear",) * len(modalities)
    fit = FitConfig(seed=seed)
    stack = crossfit.stack_of(study, names, fit)
    member = crossfit.folds(study, stack, bias, fit, None, None)[0].member
    seen = []
    for site in sites:
        own = np.flatnonzero(records.table["site"].to_numpy() == site.name)
        key = zlib.crc32(f"{seed} {site.name}".encode())
        seen.append(crossfit.observe(study, stack, (Fold(member, own[:0], own, None),), key)[0])
    together = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *seen)
    return laplace.fit(jax.random.key(seed), together, bias, draws=draws), np.asarray(bias)


def compare(found: Model, want: Posterior, bias: np.ndarray) -> dict[str, Any]:
    """The largest differences: of θ in any draw, of its mean, of τ, of log class frequencies."""
    pairs = list(zip(found.theta, want.theta, strict=True))
    return {
        "theta": max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs),
        "theta_mean": max(float(jnp.max(jnp.abs(a.mean(0) - b.mean(0)))) for a, b in pairs),
        "theta_largest": max(float(jnp.max(jnp.abs(b))) for _, b in pairs),
        "tau": float(jnp.max(jnp.abs(found.tau - want.tau))),
        "bias": float(np.max(np.abs(np.asarray(found.bias) - bias))),
        "certificate": found.certificate.ok,
    }


def page(config: Config, fits: list[dict[str, Any]]) -> str:
    """What was fitted and what each hospital sent for it, as Markdown."""
    way = "under secure aggregation" if config.secure else "seen by the coordinator site by site"
    lines = ["# Four hospitals, one model, no record shared", "", f"Sums were {way}.", ""]
    for number, one in enumerate(fits, start=1):
        lines += [f"## Fit {number}: {', '.join(one['members'])}", ""]
        lines += [
            f"- θ differs from pooling these hospitals by at most {one['theta']:.1e} in any draw "
            f"(largest θ {one['theta_largest']:.2f}), τ by {one['tau']:.1e}.",
            f"- {one['sums']} sums in {one['seconds']:.0f} seconds.",
        ]
        for event in one["events"]:
            reason = f": {event['reason']}" if event["reason"] else ""
            lines.append(f"- {event['site']} was {event['what']} at {event['task']}{reason}.")
        sites = sorted({site for row in one["sent"].values() for site in row})
        lines += ["", f"| sums of | answers | {' | '.join(f'{site}, bytes' for site in sites)} |"]
        lines += ["|---|---|" + "---|" * len(sites)]
        for task, row in one["sent"].items():
            most = max(x["answers"] for x in row.values())
            sizes = [f"{row[site]['bytes']:,}" if site in row else "" for site in sites]
            lines.append(f"| {WORDS[task]} | {most} | {' | '.join(sizes)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
