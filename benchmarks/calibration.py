"""Against a tempered MLP and a deep ensemble, the fusion's ECE and NLL are worse on no data set.

    FUSIONJAX_DATA=… python -m benchmarks.calibration [--smoke] [--only CARD …] [--out FOLDER]

Each card is fitted once by `experiments.diagnose`, beside a concatenating MLP and five of them as a
deep ensemble (Lakshminarayanan et al. 2017), all calibrated on the same validation records. For
NLL and debiased ECE the paired bootstrap interval of rival less fusion over patients says "better"
or "worse" of the fusion where it leaves out 0. The claim is "worse" nowhere and "better" on half of
the data sets at least. Five times the MLP's training a card: from minutes to an hour on two cores.
Results are `calibration.json` in FOLDER, benchmarks/results unless given; cards that it holds
already, each with its commit, are kept. A data set that is not at hand is left out and said to be.
`--smoke` takes breast cancer, two members and few steps.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from experiments import diagnose
from experiments.cards import avmnist, breast_cancer, covid_cxr, heart, osmi, published, rosmap
from experiments.provenance import commit
from fusionjax import files
from fusionjax.crossfit import FitConfig
from fusionjax.report import words
from fusionjax.report.run import estimate
from fusionjax.train import TrainConfig

RESULTS = Path(__file__).parent / "results"
RIVALS = ("concatenating MLP", "deep ensemble")
JUDGED = ("nll", "ece")
CARDS: dict[str, Callable[[Path], Path]] = {
    "breast_cancer": lambda folder: breast_cancer.convert(None, folder),
    "heart": lambda folder: heart.convert(published("heart"), folder, "cleveland"),
    "rosmap": lambda folder: rosmap.convert(published("rosmap"), folder),
    "osmi": lambda folder: osmi.convert(published("osmi"), folder),
    "covid_cxr": lambda folder: covid_cxr.convert(published("covid_cxr"), folder),
    "avmnist": lambda folder: avmnist.convert(published("avmnist"), folder),
}


def compare(name: str, fit: FitConfig, members: int) -> dict[str, Any]:
    """Rival less fusion with its interval, and what that says of the fusion."""
    with tempfile.TemporaryDirectory() as folder:
        card = CARDS[name](Path(folder) / "dataset")
        config = diagnose.Config(Path(folder) / "run", card, ensemble=members, fit=fit)
        diagnose.fit_run(config)
        found = json.loads((config.out / "metrics.json").read_text())
    models = {model["name"]: model for model in found["models"]}
    gaps = {rival: models[rival]["difference"] for rival in RIVALS}
    return {
        "commit": commit(),
        "calibration": found["calibration"]["name"],
        "test_records": found["task"]["records"]["test"],
        "fusion": {m: found["models"][0]["metrics"][m] for m in JUDGED},
        **{
            rival: {m: gap[m] | {"fusion_is": words.verdict(m, estimate(gap[m]))} for m in JUDGED}
            for rival, gap in gaps.items()
        },
    }


def tally(cards: dict[str, Any]) -> dict[str, dict[str, int]]:
    """On how many cards the fusion is better, worse, or not told apart, by rival and metric."""
    said = {
        f"{metric} against {rival}": [card[rival][metric]["fusion_is"] for card in cards.values()]
        for rival in RIVALS
        for metric in JUDGED
    }
    return {
        what: {word: all_.count(word) for word in dict.fromkeys(all_)}
        for what, all_ in said.items()
    }


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one card, few steps, no results")
    parser.add_argument("--only", nargs="+", choices=tuple(CARDS), default=tuple(CARDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    fit, members, names = FitConfig(), 5, arguments.only
    if arguments.smoke:
        few = TrainConfig(epochs=2, least_steps=20)
        fit, members, names = replace(fit, train=few, draws=60), 2, ("breast_cancer",)
    cards, skipped = {}, []
    for name in names:
        try:
            cards[name] = compare(name, fit, members)
            # What was compiled for one card fits no other: kept, it would fill the memory.
            jax.clear_caches()
        except FileNotFoundError as missing:
            print(missing, file=sys.stderr)
            skipped.append(name)
    place = arguments.out / "calibration.json"
    if place.exists() and not arguments.smoke:
        cards = json.loads(place.read_text())["cards"] | cards
    result = {
        "benchmark": "calibration",
        "members": members,
        "cards": cards,
        "skipped": skipped,
        "fusion_is": tally(cards),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    if not arguments.smoke:
        arguments.out.mkdir(parents=True, exist_ok=True)
        files.write(place, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
