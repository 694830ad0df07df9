"""Ten million rows of predictions are calibrated and measured within 60 s and 4 GB.

    python -m benchmarks.million_rows [--smoke]

Writes a CSV of random predictions of three classes, with patients and a split, and runs
`experiments.calibrate` on it in a process of its own: both readings, the choice among eleven
calibrators, the calibrated CSV and the page are in the time. `--smoke` takes a million rows.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

CLASSES = ("flu", "heart", "well")
BLOCK = 500_000


def write(path: Path, rows: int) -> None:
    """Overconfident predictions of patients with three records each."""
    rng, file = np.random.default_rng(0), None
    for start in range(0, rows, BLOCK):
        number = np.arange(start, min(start + BLOCK, rows))
        score = 1.2 * rng.normal(size=(len(number), 3))
        true, said = (np.exp(s * score) for s in (1.0, 1.8))
        true, said = (e / e.sum(axis=1, keepdims=True) for e in (true, said))
        drawn = rng.random(len(number))[:, None] > true.cumsum(axis=1)[:, :-1]
        side = (rng.random(len(number)) < 0.9).astype(int)
        columns = {
            "id": pa.array(number).cast(pa.string()),
            "label": pa.array(CLASSES).take(pa.array(drawn.sum(axis=1))),
            "group": pa.array(number // 3).cast(pa.string()),
            "split": pa.array(("validation", "test")).take(pa.array(side)),
            **{f"p_{name}": said[:, k].round(6) for k, name in enumerate(CLASSES)},
        }
        table = pa.table(columns)
        file = file or csv.CSVWriter(path, table.schema)
        file.write_table(table)
    if file is not None:
        file.close()


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a million rows, not ten")
    rows = 1_000_000 if parser.parse_args().smoke else 10_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "predictions.csv", rows)
        call = [sys.executable, "-m", "experiments.calibrate", "--out", str(folder / "run")]
        started = time.perf_counter()
        subprocess.run(
            [*call, "--predictions", str(folder / "predictions.csv")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "benchmark": "million_rows",
        "rows": rows,
        "seconds": round(wall, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),  # kilobytes on Linux
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
