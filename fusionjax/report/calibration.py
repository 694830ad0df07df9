"""The report of a calibration run: one page, and every number on it as CSV, from `metrics.json`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fusionjax import files
from fusionjax.metrics import Estimate
from fusionjax.report import drawn, figures, page, palette, words
from fusionjax.report.page import Cell, Row
from fusionjax.report.run import content, estimate, number
from fusionjax.report.tracks import tracks

SIDES = {"before": "as given", "after": "calibrated"}
NAMES = words.NAMES | {
    "spiegelhalter_z": "Spiegelhalter’s z",
    "auroc_pairs": "AUROC, one against one",
    "auprc": "Average precision",
    "sensitivity_at": "Sensitivity at 90 % specificity",
    "ece_equal_width": "ECE, equal width, not debiased",
    "ece_top_label": "ECE, top label",
    "ece_classwise": "ECE, classwise",
    "smooth_ece": "Smooth ECE",
    "brier_reliability": "Brier: reliability",
    "brier_resolution": "Brier: resolution",
    "aurc": "AURC",
    "augrc": "AUGRC",
}
CALIBRATORS = {
    "none": "No calibration",
    "temperature": "One temperature",
    "bayesian": "A Bayesian temperature",
    "platt": "Platt scaling",
    "beta": "Beta calibration",
    "vector": "Vector scaling",
    "matrix": "Structured matrix scaling",
    "dirichlet": "Dirichlet calibration",
    "isotonic": "Isotonic regression",
    "venn_abers": "Venn–Abers",
    "histogram": "Histogram binning",
}
COLUMNS = ("accuracy", "auroc", "ece", "nll")
MOST_NAMES = 20


def write(run: Path) -> Path:
    """Render `report.html` and the tables under `drawn/` from a run's `metrics.json`."""
    found = content(run / "metrics.json")
    drawn.write(run, tables(found))
    path = run / "report.html"
    files.write(path, render(found))
    return path


def render(found: Mapping[str, Any]) -> str:
    """The whole page as HTML; every name from a user's file is escaped."""
    html = page.environment().get_template("calibration.html.j2").render(_context(found))
    return html.encode("utf-8", "replace").decode("utf-8")


def summary(found: Mapping[str, Any]) -> str:
    """The result in a few lines for the terminal."""
    lines = [f"{title(found)}."]
    for name in ("nll", "ece", "accuracy"):
        before, after = (estimate(found["metrics"][side].get(name)) for side in SIDES)
        lines.append(
            f"{NAMES[name]:9} {words.decimal(before.value)} {words.interval(before)} → "
            f"{words.decimal(after.value)} {words.interval(after)}"
        )
    return "\n".join([*lines, *_left_out(found).values()])


def title(found: Mapping[str, Any]) -> str:
    """The result in one line, no stronger than its interval."""
    name = CALIBRATORS.get(found["calibrator"]["name"], found["calibrator"]["name"])
    if found["calibrator"]["name"] == "none":
        return "These probabilities were left as they are: no calibrator was better"
    by = ", one for each pattern," if found["calibrator"]["stratified"] else ""
    gain = estimate((found["metrics"].get("difference") or {}).get("nll"))
    if not math.isfinite(gain.low):
        return f"{name}{by} was chosen"
    verdict = words.verdict("nll", gain)
    said = {
        # The words are for a rival minus the fusion: here calibrated minus as given.
        "worse": "made them better on test records",
        "better": "made them worse on test records",
    }.get(verdict, "made no difference that test records can show")
    return f"{name}{by} {said}"


def tables(found: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Every number that the page draws, as tables by file name."""
    rows = [
        {"records": side, "metric": key, **value}
        for side, values in found["metrics"].items()
        for key, value in values.items()
    ]
    every = {"metrics": pd.DataFrame(rows)}
    for kind in ("reliability", "risk_coverage"):
        parts = [pd.DataFrame(curve).assign(records=side) for side, curve in found[kind].items()]
        every[kind] = pd.concat(parts, ignore_index=True)
    every["strata"] = pd.json_normalize(list(found["strata"]), sep="_")
    every["choice"] = pd.DataFrame(found["calibrator"]["trials"])
    if found.get("against"):
        gaps = found["against"]["difference"]
        every["against"] = pd.DataFrame([{"metric": key, **gap} for key, gap in gaps.items()])
    if found.get("net_benefit"):
        table = pd.DataFrame(found["net_benefit"])
        classes = found["task"]["classes"]
        every["net_benefit"] = table.assign(**{"class": [classes[k] for k in table["class"]]})
    return every


def _context(found: Mapping[str, Any]) -> dict[str, Any]:
    strata, left_out = found["strata"], _left_out(found)
    kinds = list(dict.fromkeys(row["column"] for row in strata))
    return {
        "task": found["task"],
        "colours": {name: value for name, value in vars(palette).items() if name.isupper()},
        "title": title(found),
        "calibrator": found["calibrator"],
        "name": CALIBRATORS.get(found["calibrator"]["name"], found["calibrator"]["name"]),
        "sets": {
            **found["sets"],
            **{kind: _listed(found["sets"][kind]) for kind in ("pooled", "marginal")},
        },
        "metrics": _metrics(found["metrics"]),
        "paired": bool(found["metrics"].get("difference")),
        "against": _against(found.get("against") or {}),
        "other": (found.get("against") or {}).get("name", ""),
        "tests": _tests(found.get("tests") or {}),
        "reliability": [
            (SIDES[side], figures.reliability(curve, f"reliability-{side}"))
            for side, curve in found["reliability"].items()
        ],
        "risk": figures.risk_coverage(found["risk_coverage"], SIDES),
        "strata": [
            (
                kind,
                _strata([r for r in strata if r["column"] == kind]),
                left_out.get(kind, ""),
            )
            for kind in kinds[1:]
        ],
        "coverage": _coverage(strata),
        "trials": _trials(found["calibrator"]),
        "provenance": page.provenance(found.get("provenance") or {}),
    }


def _metrics(found: Mapping[str, Any]) -> list[Row]:
    gaps = found.get("difference") or {}
    rows = []
    for key in found["before"]:
        cells = [Cell(estimate(found[side].get(key))) for side in SIDES]
        if gaps:
            gap = estimate(gaps.get(key))
            cells.append(Cell(gap, verdict=_verdict(key, gap)))
        rows.append(Row(str(NAMES.get(key, key)), "", tuple(cells)))
    return rows


def _against(found: Mapping[str, Any]) -> list[Row]:
    rows = []
    for key, entry in (found.get("difference") or {}).items():
        gap, p_value = estimate(entry), number(entry.get("p_value"))
        test = "McNemar" if key == "accuracy" else "DeLong"
        note = f"{test}, p = {words.decimal(p_value, 4)}" if math.isfinite(p_value) else ""
        sides = (Cell(estimate(found[side].get(key))) for side in ("after", "other"))
        rows.append(Row(NAMES[key], note, (*sides, Cell(gap, verdict=_verdict(key, gap)))))
    return rows


def _verdict(key: str, gap: Estimate) -> str:
    if not math.isfinite(gap.low):
        return ""
    if gap.low <= 0 <= gap.high:
        return "no difference"
    lower = key not in ("accuracy", "auroc")
    return "better" if (gap.high < 0) == lower else "worse"


def _tests(found: Mapping[str, Any]) -> list[tuple[str, list[float]]]:
    names = {"spiegelhalter": "Spiegelhalter", "kuiper": "Kuiper"}
    return [
        (text, [number(found[side][key]["p_value"]) for side in SIDES])
        for key, text in names.items()
        if found
    ]


def _strata(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    columns = [[estimate(row["metrics"].get(name)) for row in rows] for name in COLUMNS]
    drawn = tracks(columns[-1])
    return [
        Row(
            row["name"] or "(empty)",
            row["warning"],
            (*(Cell(column[i]) for column in columns), Cell(columns[-1][i], drawn[i])),
            counts=(row["records"],),
        )
        for i, row in enumerate(rows)
    ]


def _coverage(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    found = [row for row in rows if row["coverage"]["covered"] is not None]
    shares = [
        Estimate(*(number(row["coverage"][k]) for k in ("covered", "low", "high"))) for row in found
    ]
    sizes = [Estimate(number(r["coverage"]["size"]), math.nan, math.nan) for r in found]
    return [
        Row(
            _stratum(row),
            words.kept(share),
            (Cell(share, track), Cell(size)),
            strong=not row["name"] and row["column"] == "all records",
            counts=(row["records"],),
        )
        for row, share, size, track in zip(found, shares, sizes, tracks(shares), strict=True)
    ]


def _left_out(found: Mapping[str, Any]) -> dict[str, str]:
    """What is said of each column that has more strata than are shown."""
    return {
        column: f"{words.count(records, 'record')} are not shown by {column}: "
        "it has too many values. Group them into bands."
        for column, records in (found.get("strata_left_out") or {}).items()
    }


def _listed(names: Sequence[str]) -> str:
    """Names joined by commas; how many others where they are many."""
    rest = f" and {words.thousands(len(names) - MOST_NAMES)} others"
    return ", ".join(names[:MOST_NAMES]) + (rest if len(names) > MOST_NAMES else "")


def _stratum(row: Mapping[str, Any]) -> str:
    return row["column"] if row["column"] == "all records" else f"{row['column']}: {row['name']}"


def _trials(calibrator: Mapping[str, Any]) -> list[tuple[str, Estimate, bool]]:
    rows = []
    for trial in calibrator["trials"]:
        behind, half = trial["behind"], 1.959964 * trial["error"]
        name = CALIBRATORS.get(trial["name"], trial["name"])
        text = f"{name}, by pattern" if trial["stratified"] else name
        taken = all(trial[key] == calibrator[key] for key in ("name", "stratified"))
        rows.append((text, Estimate(behind, behind - half, behind + half), taken))
    return rows
