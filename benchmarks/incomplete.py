"""Incomplete and contradictory records: what the model still knows, and what it points at.

    python -m benchmarks.incomplete [--smoke] [--only conflict clinic heart] [--out FOLDER]

| part       | claim                                                                           |
|------------|---------------------------------------------------------------------------------|
| `conflict` | under the published conflict protocol the mixture stays right and calibrated    |
| `clinic`   | the handler that validation chose is within 5 % of each pattern's own oracle    |
| `heart`    | in a hospital that lacks blocks it beats imputation with gradient boosting      |

`conflict` and `heart` need FUSIONJAX_DATA and are left out, and said to be, where it is not set.
Results are `incomplete_PART.json` and figures in FOLDER, benchmarks/results unless given.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.gaps import clinic, figures, heart, seeing_through
from experiments.cards import published
from fusionjax import files

PARTS = ("conflict", "clinic", "heart")
RESULTS = Path(__file__).parent / "results"
SIZES = {"handwritten": (1000, 250), "scene15": (250, 120)}
"""Landmarks of each view's kernel, and steps of each fit: as many as ten splits have time for."""


def conflict(smoke: bool) -> dict[str, Any]:
    """Both data sets on ten splits; one of Handwritten with few landmarks for a smoke test."""
    source = published("multiview")
    if smoke:
        return {"handwritten": seeing_through.run(source, "handwritten", 1, 40, 30)}
    return {name: seeing_through.run(source, name, 10, *size) for name, size in SIZES.items()}


def of_clinic(smoke: bool) -> dict[str, Any]:
    """A clinic of 3,000 patients; of 300 and three patterns for a smoke test."""
    return clinic.run(300, 4, 1, ("mcar",), (1.0,), 3) if smoke else clinic.run(3000, 8, 15)


def of_heart(smoke: bool) -> dict[str, Any]:
    """Each of the four hospitals held out; one for a smoke test."""
    hospitals = ("cleveland", "hungary", "switzerland", "long_beach")
    return heart.run(published("heart"), hospitals[:1] if smoke else hospitals)


RUN: dict[str, Callable[[bool], dict[str, Any]]] = {
    "conflict": conflict,
    "clinic": of_clinic,
    "heart": of_heart,
}


def headline(result: dict[str, Any]) -> dict[str, Any]:
    """The figures that the claims are about."""
    found: dict[str, Any] = {}
    for name, one in result.get("conflict", {}).items():
        for metric in ("accuracy", "ece"):
            found[f"{name}_conflict_{metric}"] = one["shown"]["mixture"][metric]["mean"]
        found[f"{name}_auroc"] = one["swapped_view_auroc"]["mean"]
        found[f"{name}_clean_gap"] = one["clean_accuracy_less_the_best_rival"]
    if "clinic" in result:
        chosen = result["clinic"]["chosen"]
        found["clinic_chosen"] = chosen
        found["clinic_worst_over_oracle"] = result["clinic"]["worst_nll_over_the_oracles"][chosen]
        found["all_patterns_over_one"] = result["clinic"]["cost"]
    if "heart" in result:
        found["heart"] = result["heart"]["all_patients"]
    return found


def main() -> None:
    """Prints one line of JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small, and writes no results")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    matplotlib.use("Agg")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}"
    result, skipped = {}, []
    for part in arguments.only:
        started = time.perf_counter()
        try:
            result[part] = RUN[part](arguments.smoke)
        except FileNotFoundError as missing:
            print(missing, file=sys.stderr)
            skipped.append(part)
            continue
        seconds = round(time.perf_counter() - started)
        print(f"{part}: {seconds} s", file=sys.stderr, flush=True)
        if not arguments.smoke:
            arguments.out.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**result[part], "seconds": seconds, "machine": machine}, indent=1)
            files.write(arguments.out / f"incomplete_{part}.json", text + "\n")
    if not arguments.smoke:
        figures.draw(result, arguments.out)
    line = {"benchmark": "incomplete", "smoke": arguments.smoke, "skipped": skipped}
    print(json.dumps({**line, **headline(result), "machine": machine}))


if __name__ == "__main__":
    main()
