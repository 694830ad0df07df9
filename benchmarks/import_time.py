"""`import fusionjax` costs at most 1.3 times `import jax`.

    python -m benchmarks.import_time [--smoke]

Each import runs in a fresh process, the two in turn, after one of each that is not counted.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from statistics import median


def seconds(module: str) -> float:
    """Wall time of a fresh interpreter that imports `module`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="three runs of each, not fifteen")
    runs = 3 if parser.parse_args().smoke else 15
    pairs = [(seconds("jax"), seconds("fusionjax")) for _ in range(runs + 1)][1:]
    peer, ours = (median(times) for times in zip(*pairs, strict=True))
    result = {
        "benchmark": "import_time",
        "runs": runs,
        "import_jax_s": round(peer, 3),
        "import_fusionjax_s": round(ours, 3),
        "ratio": round(median(b / a for a, b in pairs), 3),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
