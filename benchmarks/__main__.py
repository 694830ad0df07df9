"""Runs every benchmark in turn; its arguments are passed on to each.

    python -m benchmarks --smoke

Without `--smoke` each takes the size that its claim is about, and the whole takes hours.
"""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Stops at the first benchmark that fails."""
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        print(f"benchmarks.{path.stem}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{path.stem}", *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
