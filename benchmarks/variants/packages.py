"""Others' fusions in PyTorch on the same features, fitted in a Python of their own."""

import json
import math
import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.variants.baselines import Fit
from benchmarks.variants.features import Data
from benchmarks.variants.heads import Budget, Cost, Hyper, Outcome, draw

ROOT = Path(__file__).parents[2]
MODULE = "benchmarks.peers.packages_torch"


def known(python: str) -> dict[str, str]:
    """Method → package and version, of what that Python has."""
    said = subprocess.run(
        [python, "-m", MODULE], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return json.loads(said.stdout)


def fits(python: str) -> dict[str, Fit]:
    """Every method that this Python has."""
    return {method: partial(_fit, python, method) for method in known(python)}


def _fit(python: str, method: str, data: Data, scenarios: np.ndarray, budget: Budget) -> Outcome:
    """The packages search learning rates alone, as many and the same as the variants."""
    rates = np.asarray(draw(budget.trials).learning_rate, np.float64)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "given.npz", **_given(data, scenarios, budget), rates=rates)
        call = [python, "-W", "ignore", "-m", MODULE, folder, method]
        subprocess.run(call, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        with np.load(Path(folder) / "said.npz") as said:
            found = {name: said[name] for name in said.files}
    losses, seconds = found["validation_nll"], found["seconds"].sum(axis=0)
    asked = data.test.index.size * len(scenarios) + data.validation.index.size
    train, predict = round(float(seconds[0]), 2), float(seconds[1]) / asked
    cost = Cost(int(found["parameters"].mean()), math.nan, 0.0, train, predict, math.nan)
    unknown = np.full(len(losses), np.nan)
    hyper = Hyper(rates[losses.argmin(axis=1)], unknown, unknown)
    return Outcome(found["validation"], found["test"], hyper, losses, cost)


def _given(data: Data, scenarios: np.ndarray, budget: Budget) -> dict[str, Any]:
    """Features without their constant, who is whose, and the budget."""
    views = {
        f"view{i}": np.ascontiguousarray(f.vector[..., 1:], np.float32)
        for i, f in enumerate(data.features)
    }
    rows = {
        "train": data.train.index,
        "trains": data.train.there,
        "validation": data.validation.index,
        "validates": data.validation.there,
        "test": data.test.index,
    }
    numbers = {
        "classes": len(data.classes),
        "steps": budget.steps,
        "batch_size": budget.batch_size,
        "evaluations": budget.evaluations,
    }
    return {
        **views,
        **rows,
        "presence": data.presence,
        "shown": scenarios,
        "label": data.label.astype(np.int64),
        **{name: np.asarray(value) for name, value in numbers.items()},
    }
