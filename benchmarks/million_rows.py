"""Ten million rows of predictions are calibrated and measured within 60 s and 4 GB.

    python -m benchmarks.million_rows [--smoke] [--rows 10000000] [--out FOLDER]

Writes a CSV of random predictions of three classes, with patients and a split, and runs
`experiments.calibrate` on it in a process of its own: both readings, the choice among eleven
calibrators, the calibrated CSV and the page are in the time. Twice: `plain` has a tenth of the
records for validation and no strata; `strata` has half of them, eight sites and seven patterns.
Results are `million_rows.json` in FOLDER, benchmarks/results unless given. `--smoke` takes a
million rows and writes nothing.
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
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv

from fusionjax import files

RESULTS = Path(__file__).parent / "results"
CLASSES = ("flu", "heart", "well")
BLOCK = 500_000


class Setting(NamedTuple):
    """Which share of the records is for validation, and how many strata each column has."""

    validation: float
    strata: dict[str, int]


SETTINGS = {
    "plain": Setting(0.1, {}),
    "strata": Setting(0.5, {"site": 8, "pattern": 7}),
}


def write(path: Path, rows: int, setting: Setting) -> None:
    """Overconfident predictions of patients with three records each."""
    rng, file = np.random.default_rng(0), None
    for start in range(0, rows, BLOCK):
        number = np.arange(start, min(start + BLOCK, rows))
        score = 1.2 * rng.normal(size=(len(number), 3))
        true, said = (np.exp(s * score) for s in (1.0, 1.8))
        true, said = (e / e.sum(axis=1, keepdims=True) for e in (true, said))
        drawn = rng.random(len(number))[:, None] > true.cumsum(axis=1)[:, :-1]
        side = (rng.random(len(number)) >= setting.validation).astype(int)
        columns = {
            "id": pa.array(number).cast(pa.string()),
            "label": pa.array(CLASSES).take(pa.array(drawn.sum(axis=1))),
            "group": pa.array(number // 3).cast(pa.string()),
            "split": pa.array(("validation", "test")).take(pa.array(side)),
            **{
                name: pa.array([f"{name} {i}" for i in range(count)]).take(
                    pa.array(rng.integers(count, size=len(number)))
                )
                for name, count in setting.strata.items()
            },
            **{f"p_{name}": said[:, k].round(6) for k, name in enumerate(CLASSES)},
        }
        table = pa.table(columns)
        file = file or csv.CSVWriter(path, table.schema)
        file.write_table(table)
    if file is not None:
        file.close()


def measure(setting: Setting, rows: int) -> dict[str, float]:
    """One run, in a process of its own whose time and memory are those of no other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "predictions.csv", rows, setting)
        call = [sys.executable, "-m", "experiments.calibrate", "--out", str(folder / "run")]
        started = time.perf_counter()
        child = subprocess.Popen(
            [*call, "--predictions", str(folder / "predictions.csv")], stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return {
        "seconds": round(wall, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),  # kilobytes on Linux
    }


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a million rows, nothing written")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = 1_000_000 if arguments.smoke else arguments.rows
    result = {
        "benchmark": "million_rows",
        "rows": rows,
        **{name: measure(setting, rows) for name, setting in SETTINGS.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    if not arguments.smoke:
        arguments.out.mkdir(parents=True, exist_ok=True)
        files.write(arguments.out / "million_rows.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
