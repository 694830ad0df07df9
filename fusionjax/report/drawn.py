"""Every number that a page draws, as CSV under `drawn/`; no cell is a formula."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fusionjax import files
from fusionjax.predictions import spreadsheet_safe
from fusionjax.report import page
from fusionjax.report.ledgers import Ledger, ledgers
from fusionjax.report.run import UNCERTAINTIES, Run, estimate

CURVES = ("reliability", "risk_coverage", "history")
LISTS = ("patterns", "triage", "subgroups", "elsewhere")


def write(run: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write each table as `drawn/NAME.csv`."""
    folder = run / "drawn"
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        files.write(folder / f"{name}.csv", _safe(table).to_csv(index=False))


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """What the report of a diagnosis draws, by file name; what the run lacks is left out."""
    found = run.metrics
    posterior, calibration = found.get("posterior") or {}, found.get("calibration") or {}
    costs, truth = found.get("costs") or {}, found.get("truth") or {}
    every = {
        "models": _estimates(found, "metrics"),
        "differences": _estimates(found, "difference"),
        **{name: _flat(found.get(name)) for name in LISTS},
        "calibration": _flat(calibration.get("patterns")),
        "shifts": _flat(
            {"modality": one["modality"], "class": name, **estimate(nats)._asdict()}
            for one in calibration.get("shift") or []
            for name, nats in one["nats"].items()
        ),
        "costs": _flat(costs.get("decisions")),
        "paid": _named(costs.get("paid"), "by"),
        "truth_kl": _named(truth.get("kl"), "pattern"),
        "truth_calibration": _flat(
            {"pattern": name, **gap} for name, gap in (truth.get("calibration") or {}).items()
        ),
        "scales": _flat(posterior.get("scales")),
        "uncertainty": _flat(
            {"prediction": name, "records": count, **dict(zip(UNCERTAINTIES, means, strict=True))}
            for name, count, means in page.uncertainty(run).get("rows", [])
        ),
        **{name: pd.DataFrame(found.get(name) or {}) for name in CURVES},
        "ledgers": _flat(line for one in ledgers(run) for line in _lines(one)),
    }
    return {name: table for name, table in every.items() if len(table)}


def _estimates(found: Mapping[str, Any], part: str) -> pd.DataFrame:
    """A row for each model and metric."""
    return _flat(
        {"model": one["name"], "metric": metric, **estimate(entry)._asdict()}
        for one in found.get("models") or []
        for metric, entry in (one.get(part) or {}).items()
    )


def _named(found: Mapping[str, Any] | None, column: str) -> pd.DataFrame:
    """A row for each estimate, its name in `column`."""
    return _flat(
        {column: name, **estimate(entry)._asdict()} for name, entry in (found or {}).items()
    )


def _lines(ledger: Ledger) -> list[dict[str, Any]]:
    """A row for each line of a ledger, in nats for `top` against `runner_up`."""
    whose = {
        "ledger": ledger.title,
        "id": ledger.patient,
        "label": ledger.truth,
        "top": ledger.top,
        "runner_up": ledger.runner_up,
    }
    return [
        {
            **whose,
            "modality": entry.name,
            "present": entry.present,
            **entry.nats._asdict(),
            "share": entry.share,
            "reliable": entry.reliable,
        }
        for entry in ledger.entries
    ]


def _flat(entries: Iterable[dict[str, Any]] | None) -> pd.DataFrame:
    """Entries as rows: what is nested gets a column of its own, a list is joined by ";"."""
    table = pd.json_normalize(list(entries or []), sep="_")
    return table.map(lambda cell: ";".join(map(str, cell)) if isinstance(cell, list) else cell)


def _safe(table: pd.DataFrame) -> pd.DataFrame:
    texts = table.select_dtypes(include=["object", "string"]).columns
    return table.assign(
        **{c: [spreadsheet_safe(v) if isinstance(v, str) else v for v in table[c]] for c in texts}
    )
