"""Runs every benchmark in turn; its arguments are passed on to each.

    python -m benchmarks --smoke

Without `--smoke` each takes the size that its claim is about, and the whole takes hours.
"""

import subprocess
import sys
from pathlib import Path


def names() -> list[str]:
    """The modules that are run: each knows `--smoke`."""
    return [path.stem for path in sorted(Path(__file__).parent.glob("[!_]*.py"))]


def main() -> None:
    """Stops at the first benchmark that fails."""
    for name in names():
        print(f"benchmarks.{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
