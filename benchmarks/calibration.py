"""Against a tempered MLP and a deep ensemble, the fusion's ECE and NLL are worse on no data set.

    FUSIONJAX_DATA=… python -m benchmarks.calibration [--smoke] [--only NAME …] [--read FOLDER]

Each study is run by `python -m experiments.NAME --ensemble 5`: the fusion beside a concatenating
MLP and five of them as a deep ensemble (Lakshminarayanan et al. 2017), all calibrated on the same
validation records, over that study's repetitions; of heart, all four hospitals, each held out. For
NLL and debiased ECE the paired bootstrap interval of rival less fusion over patients says "better"
or "worse" of the fusion where it leaves out 0. The claim is "worse" nowhere and "better" on half of
the data sets at least. Hours on two cores; `--read` takes the results that such runs left in FOLDER
instead. Results are `calibration.json` in `--out`, benchmarks/results unless given, where data sets
that `--only` leaves out are kept, each with its commit. A study that is not at hand is left out and
said to be. `--smoke` runs breast cancer, two members and few steps, and keeps no result.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from fusionjax import files
from fusionjax.crossfit import FitConfig
from fusionjax.report import words
from fusionjax.report.run import estimate
from fusionjax.train import TrainConfig

RESULTS = Path(__file__).parent / "results"
RIVALS = ("concatenating MLP", "deep ensemble")
JUDGED = ("nll", "ece")
MEMBERS = 5
STUDIES = {
    "oncology": "breast cancer",
    "cardiology": "heart",
    "neurology": "rosmap",
    "mental_health": "osmi",
    "image_text": "covid_cxr",
    "image_audio": "avmnist",
}


def study(name: str, **config: Any) -> dict[str, Any]:
    """What a study found, run in a folder that is then deleted."""
    module = import_module(f"experiments.{name}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = module.run(module.Config(out=place / "run", results=place, **config))
        return json.loads(path.read_text())


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """Rival less fusion with its interval, and what that says of the fusion.

    Raises LookupError where the study was run without an ensemble.
    """
    models = {model["name"]: model for model in found.get("all", found)["models"]}
    if absent := [rival for rival in RIVALS if rival not in models]:
        raise LookupError(f"has no {', '.join(absent)}: run it with --ensemble {MEMBERS}")
    fusion = next(model for model in models.values() if model["role"] == "fusion")
    gaps = {rival: models[rival]["difference"] for rival in RIVALS}
    return {
        "commit": found["provenance"]["commit"],
        "members": found["config"]["ensemble"],
        "repetitions": found["config"]["seeds"],
        "test_records": found.get("all", found)["records"],
        "fusion": {m: fusion["metrics"][m] for m in JUDGED},
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
    parser.add_argument("--only", nargs="+", choices=tuple(STUDIES), default=tuple(STUDIES))
    parser.add_argument("--read", type=Path, help="folder of NAME.json by experiments.NAME")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    names, config = arguments.only, {"ensemble": MEMBERS}
    if arguments.smoke:
        few = TrainConfig(epochs=2, least_steps=20)
        fit = replace(FitConfig(), train=few, draws=60)
        names, config = ("oncology",), {"ensemble": 2, "seeds": 1, "fit": fit}
    cards, skipped = {}, []
    for name in names:
        try:
            if arguments.read:
                found = json.loads((arguments.read / f"{name}.json").read_text())
            else:
                found = study(name, **config)
            cards[STUDIES[name]] = judged(found)
        except (FileNotFoundError, LookupError) as missing:
            print(f"{name}: {missing}", file=sys.stderr)
            skipped.append(STUDIES[name])
    place = arguments.out / "calibration.json"
    if place.exists() and not arguments.smoke:
        cards = json.loads(place.read_text())["cards"] | cards
    result = {
        "benchmark": "calibration",
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
