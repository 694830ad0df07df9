"""A run as the report reads it from its JSON and its tables.

Names in these files come from users. They are cleaned once, here, of what no page can show; the
template escapes the rest.
"""

import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fusionjax.errors import ModelError
from fusionjax.metrics import Estimate

UNDEFINED = Estimate(math.nan, math.nan, math.nan)
NUMBERS = ("p_", "evidence_", "share_", "reliable_", "distance", "expected_cost")
UNCERTAINTIES = ("total", "aleatoric", "epistemic")
TASK = {"name": "", "description": "", "classes": [], "modalities": [], "records": {}}
MODALITY = {"kind": "", "encoder": "", "present": None}
INTERVAL = ("mean", "low", "high")
NAMING = ("label", "prediction", "runner_up", "prediction_set")


class Run(NamedTuple):
    """`metrics.json`, `predictions.csv`, `contrasts.parquet` and `config.json` of a run.

    All but the first may be missing, and are empty then.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame
    contrasts: pd.DataFrame
    config: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the card."""
        return self.metrics["task"]["classes"]

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities, in the order of the card."""
        return [modality["name"] for modality in self.metrics["task"]["modalities"]]


def read(folder: Path) -> Run:
    """Read a run. Raises `ModelError` where `metrics.json` is missing or is no JSON object."""
    metrics = _json(folder / "metrics.json")
    if not isinstance(metrics.get("task"), dict):
        raise ModelError(folder / "metrics.json", "holds no task", "Run experiments.diagnose again")
    task = TASK | metrics["task"]
    task["modalities"] = [MODALITY | modality for modality in task["modalities"]]
    config = folder / "config.json"
    return Run(
        metrics | {"task": task},
        _predictions(folder / "predictions.csv", task["classes"]),
        _contrasts(folder / "contrasts.parquet"),
        _json(config) if config.exists() else {},
    )


def content(path: Path) -> dict[str, Any]:
    """A JSON object with its names cleaned. Raises `ModelError` where the file holds none."""
    return _json(path)


def clean(text: str) -> str:
    """Text without control characters, half surrogates and overrides of the reading direction."""
    return "".join(_printable(character) for character in str(text))


def number(value: object) -> float:
    """A cell as a float: NaN for null, for an empty cell and for what is no number."""
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return math.nan


def estimate(entry: object) -> Estimate:
    """`{"value", "low", "high"}` or a bare number as an `Estimate`; null parts are NaN."""
    if isinstance(entry, dict):
        return Estimate(*(number(entry.get(part)) for part in Estimate._fields))
    return UNDEFINED._replace(value=number(entry))


def numbers(entries: Sequence[object] | None) -> list[float]:
    """A list of numbers, NaN where there is none."""
    return [number(entry) for entry in entries or ()]


def _printable(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069":
        return ""
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {clean(key): _cleaned(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_cleaned(entry) for entry in value]
    return clean(value) if isinstance(value, str) else value


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise ModelError(path, problem, "Run the experiment again") from error
    if not isinstance(value, dict):
        raise ModelError(path, "is no JSON object", "Run the experiment again")
    return _cleaned(value)


def _predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame()
    # As text first: an id or a class may well be called "NA", "None" or "007".
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.columns = [clean(name) for name in table.columns]
    for name in table.columns:
        measured = name.startswith(NUMBERS) or name in UNCERTAINTIES
        table[name] = table[name].map(number if measured else clean)
    # In the file a class such as "+ve" stands behind an apostrophe, lest it be taken for a formula.
    plain = {f"'{name}": str(name) for name in classes if f"'{name}" not in classes}
    for name in table.columns.intersection(NAMING):
        cells = [str(cell).split(";") for cell in table[name]]
        table[name] = [";".join(plain.get(one, one) for one in cell) for cell in cells]
    return table


def _contrasts(path: Path) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=["id", "modality", "top", "runner_up", *INTERVAL])
    table = pd.read_parquet(path)
    for name in ("id", "modality", "top", "runner_up"):
        table[name] = table[name].map(clean)
    return table
