"""One sampler or solver in a process of its own, asked for one run after another.

The process that asks writes a line and gets a line of JSON: so that two of them run in turn, each
with its own memory. Standard library only.
"""

import contextlib
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Worker:
    """`python -m module *arguments` in the background; `run()` has it do one run."""

    def __init__(self, python: str, module: str, *arguments: str) -> None:
        call = [python, "-W", "ignore", "-m", module, *arguments]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(call, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def run(self) -> dict[str, Any]:
        """What the worker says of one run; RuntimeError if it ended instead."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Waits for the worker to end."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def serve(run: Callable[[], dict[str, Any] | None]) -> None:
    """Does `run` for every line that comes in; answers with its time, memory, and what it says.

    `peak_mib` is what the process held at most during the run above what it held before.
    """
    for _ in sys.stdin:
        with contextlib.suppress(OSError, AttributeError):
            # Linux: freed memory is given back, and the mark of the highest set back.
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _memory("VmRSS")
        started = time.perf_counter()
        said = run()
        seconds = time.perf_counter() - started
        peak = (_memory("VmHWM") - before) / 1024
        measured = {"seconds": seconds, "peak_mib": round(peak, 1)}
        print(json.dumps({**measured, **(said or {})}), flush=True)


def _memory(field: str) -> float:
    """In KiB; not a number where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("nan")
    return next(float(line.split()[1]) for line in lines if line.startswith(field))
