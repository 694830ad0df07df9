"""Every fusion of the table on one card: same features, budget, search, temperature, seeds.

    python -m benchmarks.fusion_variants --card FOLDER/dataset.toml --out RUN
    python -m benchmarks.fusion_variants --smoke

Features are encoded once for each seed and kept by content hash; a head on them is trained for all
seeds and all trials of its search in one compilation. Each contender's predictions are one file of
RUN/cells: a run that was stopped goes on where it was. Writes RUN/scores.csv (a line for each
contender, seed, scenario and metric), RUN/result.json and RUN/report.html, and ends with one line
of JSON. Without a card the synthetic clinic is written and compared.
"""

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from jaxtyping import Bool

from benchmarks.variants import cells, heads, packages, page, scores, summary
from benchmarks.variants.baselines import BASELINES, Fit
from benchmarks.variants.features import Data, Kind, read
from benchmarks.variants.heads import Budget, Outcome
from experiments.progress import Reporter, reporter
from experiments.provenance import describe
from fusionjax import files
from fusionjax.clinic.world import Dials
from fusionjax.clinic.write import write as write_clinic
from fusionjax.fusion.variants import VARIANTS, singles

SMOKE = (
    *("log-linear", "reliability 0.9", "pairwise experts", "mean of probabilities"),
    *("corrected product", "concatenation, MLP", "sum", "gated unit", "modality tokens", "TMC"),
)
LOST = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Config:
    """What is compared, on what, with which effort."""

    card: Path | None = None
    out: Path = Path("runs/fusion_variants")
    cache: Path | None = None
    """Where features are kept; OUT/cache unless given."""
    seeds: int = 10
    encoders: Kind = "linear"
    """linear or kernel, which are not trained, or trained: the default of each kind of modality."""
    width: int = 64
    """Columns of a modality's features, at most."""
    budget: Budget = field(default_factory=Budget)
    only: tuple[str, ...] = ()
    """Contenders by name; all unless given."""
    peers: str | None = None
    """A Python that has torch, `imml[deep]` or fusilli: TMC and ECML in PyTorch, and the packages'
    fusions of tables, take part too."""
    rank_by: str = "nll"
    """nll, brier or error."""
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Ten variants, two seeds, a small clinic."""


def run(config: Config) -> dict[str, Any]:
    """Compare, write the results, and return the content of result.json."""
    started = time.time()
    config = smoke(config) if config.smoke else config
    card = config.card or clinic(config.out / "clinic", 800 if config.smoke else 4000)
    with reporter() as progress:
        cache = config.cache or config.out / "cache"
        args = card, cache, config.seeds, config.encoders, config.width
        data = read(*args, progress=progress.advance)
        names, shown = scenarios(data)
        outcomes = contend(config, data, shown, progress)
    scored = {name: scores.score(outcome, data) for name, outcome in outcomes.items()}
    content = summary.summarise(data, names, outcomes, scored, config.rank_by)
    about = describe(json.loads(json.dumps(asdict(config), default=str)), data.digest, started)
    content |= {"config": json.loads(json.dumps(asdict(config), default=str)), "provenance": about}
    known = packages.known(config.peers) if config.peers else {}
    content["packages"] = {name: which for name, which in known.items() if name in outcomes}
    files.write(config.out / "scores.csv", summary.tidy(scored, names).to_csv(index=False))
    files.write(config.out / "result.json", json.dumps(content, indent=1, allow_nan=False))
    files.write(config.out / "report.html", page.render(content))
    return content


def smoke(config: Config) -> Config:
    """The same with little of everything."""
    budget = Budget(trials=2, steps=300, evaluations=10)
    return replace(config, seeds=2, budget=budget, only=config.only or SMOKE)


def clinic(folder: Path, patients: int) -> Path:
    """A clinic in which sickness pushes all modalities, and one in five is missing."""
    card = folder / "dataset.toml"
    if not card.exists():
        write_clinic(folder, Dials(severity=1.0, missing=0.2), patients, 0)
    return card


def fits(config: Config, data: Data) -> dict[str, Fit]:
    """How each that could take part is fitted, the baselines last."""
    return {
        **{v.name: partial(heads.run, v) for v in (*singles(data.modalities), *VARIANTS)},
        **BASELINES,
        **(packages.fits(config.peers) if config.peers and len(data.modalities) > 1 else {}),
    }


def contenders(config: Config, everyone: list[str], modalities: tuple[str, ...]) -> list[str]:
    """Names of all that take part."""
    unknown = set(config.only) - set(everyone)
    if unknown:
        raise SystemExit(f"no contender is called {', '.join(unknown)}; there are: {everyone}")
    must = [*(v.name for v in singles(modalities)), "logistic regression"]
    return [name for name in everyone if not config.only or name in (*config.only, *must)]


def contend(
    config: Config, data: Data, shown: np.ndarray, progress: Reporter
) -> dict[str, Outcome]:
    """Every contender's outcome, computed or read from its cell."""
    fit = fits(config, data)
    names, found = contenders(config, list(fit), data.modalities), {}
    for number, name in enumerate(names):
        path = cells.place(config.out / "cells", name, data.digest, config.budget)
        if not path.exists():
            cells.write(path, fit[name](data, shown, config.budget))
            # Programs of one variant fit no other: kept, they would fill the memory.
            jax.clear_caches()
        found[name] = cells.read(path)
        nll = float(np.nanmin(found[name].validation_nll, axis=1, initial=np.inf).mean())
        progress.advance(f"{number + 1}/{len(names)} {name}", 1, 1, nll if nll < 1e9 else np.nan)
    return found


def scenarios(data: Data) -> tuple[list[str], Bool[np.ndarray, "scenario record modality"]]:
    """How test records are shown: as they are, without a modality, one alone, thinned out."""
    count, shape = len(data.modalities), data.presence.shape
    found = {"as they are": np.ones(shape, bool)}
    for i, name in enumerate(data.modalities if count > 1 else ()):
        found[f"without {name}"] = np.broadcast_to(np.arange(count) != i, shape)
        found[f"{name} alone"] = np.broadcast_to(np.arange(count) == i, shape)
    lots = np.random.default_rng(0).random(shape)
    for rate in LOST:
        found[f"{rate:.0%} lost"] = lots >= rate
    return list(found), np.stack(list(found.values()))


def told(content: dict[str, Any]) -> dict[str, Any]:
    """The line of JSON: the framework's figures are those of what validation chose."""
    means = {row["name"]: row["means"] for row in content["rows"]}
    return {
        "benchmark": "fusion_variants",
        "data": content["data"],
        "contenders": len(content["rows"]) - 1,
        "chosen_by_validation": means.get(summary.CHOSEN),
        "best_on_test": content["best"],
        "no_difference_from_best": len(content["no_difference_from_best"]),
        "seconds": content["provenance"]["seconds"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }


def main() -> None:
    """Prints the ranking, and one line of JSON."""
    content = run(tyro.cli(Config, description=__doc__))
    page.show(content)
    print(json.dumps(told(content)))


if __name__ == "__main__":
    main()
