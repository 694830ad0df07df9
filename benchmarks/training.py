"""Training against PyTorch, step by step and to a validation NLL; 16 seeds against 16 in turn.

    FUSIONJAX_DATA=… python -m benchmarks.training [--smoke] [--peers PYTHON] [--seeds 2]

On avmnist, by turns, an epoch each, in processes of their own: the default encoders and the
log-linear fusion by `train.update`; the same network from the same weights in PyTorch, eager and
compiled, trained by the same rules; and the late fusion of LeNets of MultiBench on the same
records, its sound as spectra of 112 × 112, with the training published for it and with ours. The
networks' log P(y | X) are compared first. A recording ends before its second does; the network in
PyTorch is timed with the masks that say so and, since its own normalisation knows no mask, also on
records that count every frame ("whole"). A step includes the choice of its batch, modality
dropout, clipping, AdamW and the running mean of the weights; validation is not timed, and neither
is compilation, which stands under `first_step_s`. Seconds to an NLL are steps times the median
step. `--peers` is a Python that has torch; it gets as many threads as there are cores, and on a
GPU both sides take the GPU. Then heads on kept features: 16 seeds together against 16 in turn.
Run it on an idle machine, for which `load_before` is near 0: where threads must wait for cores,
PyTorch's wait for one another in every operation, and its times say nothing.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.speed import ours, race, records, seeds
from benchmarks.speed.race import Size
from fusionjax import files

RESULT = Path(__file__).parent / "results" / "training.json"
TARGETS = (0.2, 0.1, 0.05)
SAME = (
    ("PyTorch eager", "ours", "recorded"),
    ("PyTorch eager, whole", "ours, whole", "whole"),
    ("PyTorch compiled", "ours", "recorded"),
    ("PyTorch compiled, whole", "ours, whole", "whole"),
)


def against(smoke: bool, count: int, peers: str | None) -> dict[str, Any]:
    """The race and what it says: a step's ratio to eager, and seconds to the same NLL."""
    size = Size(1, TARGETS[-1], 3) if smoke else Size(count, TARGETS[-1], 30)
    entered = race.contenders(peers is not None, smoke)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records.write(folder, 128 if smoke else None)
        ours.write_weights(folder, size.seeds)
        said = race.run(folder, entered, size, peers)
        found: dict[str, Any] = {"contenders": race.table(said, TARGETS)}
        if peers is None:
            return found
        for peer, own, on in SAME:
            if peer in said:
                found[f"step_ratio_to_{peer}"] = race.ratio(said, own, peer)
                found[f"log_prob_off_{peer}"] = _off(folder, on)
    return found | _sooner(found["contenders"])


def _off(folder: Path, on: str) -> float:
    """How far apart the two networks' log P(y | X) of validation records are at most."""
    with np.load(folder / f"{on}.torch.npz") as theirs:
        return float(np.abs(theirs["log_prob"] - ours.check(folder, on)).max())


def _sooner(table: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Our seconds to each NLL over those of the quickest LeNets; None where those never came."""
    found = {}
    for target in TARGETS:
        key = f"seconds_to_{target}"
        theirs = [row[key] for name, row in table.items() if name.startswith("LeNets") and row[key]]
        mine = table["ours"][key]
        found[f"time_ratio_to_{target}"] = round(mine / min(theirs), 3) if theirs and mine else None
    return found


def main() -> None:
    """Prints one line of JSON, and keeps it if it is of full size and has a peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few records, epochs and peers")
    parser.add_argument("--peers", help="a Python that has torch")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    line: dict[str, Any] = {"benchmark": "training", "smoke": args.smoke}
    try:
        line |= against(args.smoke, args.seeds, args.peers)
    except FileNotFoundError as missing:
        line["skipped"] = str(missing)
    line |= {
        "peer_absent": args.peers is None,
        "seeds_together": seeds.measure(args.smoke),
        "load_before": round(load, 2),
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    if args.peers and not args.smoke and "skipped" not in line:
        files.write(RESULT, json.dumps(line, indent=1) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
