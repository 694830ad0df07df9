"""TMC and ECML in PyTorch, from their papers: do they give what was published?

    FUSIONJAX_DATA=… python -m benchmarks.evidential --peers PYTHON [--seeds 10] [--smoke]

`--peers` is a Python that has torch. Both are trained on the clean training views of the same
splits, and shown the same test views, as the mixture of `benchmarks.incomplete --only conflict`, so
the two tables can be read side by side. A published figure counts as reproduced where it lies
within two standard deviations of the splits, or one point, of the mean. Some 20 minutes on two
cores; `--smoke` trains two epochs on one split. Ends with one line of JSON.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gaps import conflict
from benchmarks.gaps import experts as psi
from benchmarks.peers.evidential_torch import METHODS
from benchmarks.variants.published import CLEAN, CONFLICT, stated
from experiments.cards import multiview, published
from fusionjax import files, metrics

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "evidential.json"
CARDS = ("handwritten", "scene15")
PROTOCOLS = {"clean": CLEAN, "shown": CONFLICT}


def split(data: multiview.Views, seed: int) -> dict[str, np.ndarray]:
    """The training and test views of `gaps.conflict.fitted` for this seed, and their labels."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.label))
    train, test = np.split(order, [int(0.8 * len(order))])
    pairs = [psi.scaled(view[train], view[test]) for view in data.views]
    clean = tuple(held for _, held in pairs)
    shown = conflict.spoil(rng, clean, data.label[test]).views
    sets = {"train": [own for own, _ in pairs], "clean": clean, "shown": shown}
    named = {f"{k}{v}": x.astype(np.float32) for k, xs in sets.items() for v, x in enumerate(xs)}
    return {**named, "label": data.label[train], "test": data.label[test]}


def accuracy(python: str, parts: dict[str, np.ndarray], epochs: int, seed: int) -> dict[str, Any]:
    """Accuracy and ECE of each method on both test sets, in %."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split"
        kept: dict[str, Any] = {k: v for k, v in parts.items() if k != "test"}
        np.savez(f"{path}.npz", **kept)
        for method in METHODS:
            call = [python, "-m", "benchmarks.peers.evidential_torch", str(path), method]
            subprocess.run([*call, str(epochs), str(seed)], cwd=ROOT, check=True)
            with np.load(f"{path}.{method}.npz") as said:
                for shown in ("clean", "shown"):
                    prob = said[shown].astype(float)
                    found[f"{method} {shown}"] = (
                        100 * float(metrics.accuracy(prob, parts["test"])),
                        100 * float(metrics.ece(prob, parts["test"])),
                    )
    return found


def summary(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over splits beside the published figures, and whether they agree."""
    found = {}
    for method in METHODS:
        for shown, protocol in PROTOCOLS.items():
            figure = stated(name, protocol).get(method)
            got = np.array([run[f"{method} {shown}"] for run in runs])
            mean, ece = got.mean(axis=0)
            deviation = float(got[:, 0].std(ddof=1)) if len(got) > 1 else 0.0
            agrees = figure and bool(abs(mean - figure) <= max(2 * deviation, 1.0))
            found[f"{method} {shown}"] = {
                "accuracy": round(float(mean), 2),
                "deviation": round(deviation, 2),
                "ece": round(float(ece), 2),
                "published": figure,
                "reproduced": agrees,
            }
    return found


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="a Python that has torch; without it nothing can be done")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="little, and writes no result")
    args = parser.parse_args()
    line: dict[str, Any] = {"benchmark": "evidential", "smoke": args.smoke}
    try:
        source = published("multiview")
    except FileNotFoundError as missing:
        print(json.dumps({**line, "skipped": str(missing)}))
        return
    if not args.peers:
        print(json.dumps({**line, "skipped": "no --peers PYTHON that has torch"}))
        return
    started, seeds = time.perf_counter(), 1 if args.smoke else args.seeds
    for name in CARDS:
        data = multiview.read(source, name)
        runs = []
        for seed in range(seeds):
            runs.append(accuracy(args.peers, split(data, seed), 2 if args.smoke else 500, seed))
            print(f"{name}: split {seed + 1} of {seeds}", file=sys.stderr, flush=True)
        line[name] = summary(name, runs)
    line["seeds"] = seeds
    line["seconds"] = round(time.perf_counter() - started)
    line["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    if not args.smoke:
        files.write(RESULT, json.dumps(line, indent=1) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
