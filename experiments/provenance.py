"""Where a result comes from: command, commit, versions, device, seed, time."""

import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("fusionjax", "jax", "flax", "optax", "numpyro", "tensorflow-datasets", "numpy")


def describe(config: dict[str, Any], card_sha256: str, started: float) -> dict[str, Any]:
    """The provenance of a run that began at `started`, in seconds since the epoch."""
    import jax

    return {
        "command": "python -m " + " ".join([_module(), *sys.argv[1:]]),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "device": f"{jax.devices()[0].device_kind}, {platform.machine()}",
        "seed": config.get("fit", {}).get("seed"),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "card_sha256": card_sha256,
    }


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).name


def _commit() -> str | None:
    here = Path(__file__).parent
    try:
        call = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(
            call, cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
