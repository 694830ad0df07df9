"""The page: what the template shows, gathered from a run as plain values."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd

from fusionjax.metrics import Estimate
from fusionjax.report import figures, ledgers, palette, words
from fusionjax.report.run import UNCERTAINTIES, Run, estimate, number
from fusionjax.report.tracks import Track, tracks

REFUSED_SHOWN = 100


class Cell(NamedTuple):
    """An estimate in a table, drawn beside its number where there is a track."""

    estimate: Estimate
    track: Track | None = None
    verdict: str = ""


class Row(NamedTuple):
    """A row of estimates: whose, a remark below the name, counts, and the cells."""

    name: str
    note: str
    cells: tuple[Cell, ...]
    strong: bool = False
    present: tuple[bool, ...] = ()
    counts: tuple[int, ...] = ()


def render(run: Run) -> str:
    """The whole page as HTML; every name from a user's file is escaped."""
    html = environment().get_template("page.html.j2").render(_context(run))
    return html.encode("utf-8", "replace").decode("utf-8")


def environment() -> jinja2.Environment:
    """Templates of this package with the filters that print numbers; what they show is escaped."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("fusionjax.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "thousands": words.thousands,
        "decimal": words.decimal,
        "percent": words.percent,
        "interval": words.interval,
        "spoken": words.spoken,
        "number": number,
    }
    return found


def _context(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    patients = ledgers.ledgers(run)
    return {
        "task": metrics["task"],
        "records": metrics["task"]["records"],
        "colours": {name: value for name, value in vars(palette).items() if name.isupper()},
        "headline": words.headline(metrics),
        "names": words.NAMES,
        "models": models(metrics),
        "differences": differences(metrics),
        "patterns": patterns(run),
        "truth": truth(metrics),
        "uncertainty": uncertainty(run),
        "reliability": _figure(figures.reliability, metrics.get("reliability"), "confidence"),
        "risk": _risk(metrics.get("risk_coverage")),
        "calibration": metrics.get("calibration") or {},
        "coverage": coverage(metrics),
        "shifts": shifts(metrics),
        "advice": advice(metrics),
        "costs": costs(metrics.get("costs") or {}),
        "subgroups": subgroups(metrics),
        "elsewhere": elsewhere(metrics),
        "posterior": metrics.get("posterior") or {},
        "certificate": certificate(metrics.get("posterior") or {}),
        "scales": _scales(metrics.get("posterior") or {}),
        "worth": worth(metrics.get("posterior") or {}),
        "asked": bool(run.config.get("patients")),
        "ledgers": [_ledger(patient, f"ledger{n}") for n, patient in enumerate(patients)],
        "refused": (metrics.get("refused") or [])[:REFUSED_SHOWN],
        "refused_total": len(metrics.get("refused") or []),
        "warnings": metrics.get("warnings") or [],
        "history": _figure(figures.history, metrics.get("history"), "step"),
        "provenance": provenance(metrics.get("provenance") or {}),
        "config": json.dumps(run.config, indent=2, ensure_ascii=False) if run.config else "",
    }


def models(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """Every model's metrics: the fusion first, then single modalities, then baselines."""
    return tuple(
        Row(
            model["name"],
            model.get("note") or "",
            tuple(Cell(estimate(_of(model, "metrics").get(name))) for name in words.NAMES),
            strong=model.get("role") == "fusion",
        )
        for model in _ordered(metrics)
    )


def differences(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """Each rival minus the fusion, with what the interval says of the fusion."""
    rivals = [model for model in _ordered(metrics) if _of(model, "difference")]
    columns = []
    for metric in words.COMPARED:
        entries = [estimate(model["difference"].get(metric)) for model in rivals]
        verdicts = [words.verdict(metric, entry) for entry in entries]
        columns.append(map(Cell, entries, tracks(entries, zero=True), verdicts))
    cells = zip(*columns, strict=True)
    return tuple(Row(model["name"], "", cell) for model, cell in zip(rivals, cells, strict=True))


def patterns(run: Run) -> tuple[Row, ...]:
    """Metrics by which modalities the model was shown."""
    entries = run.metrics.get("patterns") or []
    nll, accuracy, auroc, ece = (
        [estimate(_of(entry, "metrics").get(name)) for entry in entries]
        for name in ("nll", "accuracy", "auroc", "ece")
    )
    columns = zip(accuracy, auroc, ece, nll, tracks(nll), strict=True)
    return tuple(
        Row(
            words.enumerate_words(entry["present"]),
            "",
            (*(Cell(number) for number in plain), Cell(drawn, track)),
            strong=len(entry["present"]) == len(run.modalities),
            present=tuple(name in entry["present"] for name in run.modalities),
            counts=(entry.get("records") or 0, entry.get("natural") or 0),
        )
        for entry, (*plain, drawn, track) in zip(entries, columns, strict=True)
    )


def coverage(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """What calibration did to each pattern, and how its prediction sets fared on test records."""
    known = {
        tuple(entry["present"]): entry
        for entry in (metrics.get("calibration") or {}).get("patterns") or []
    }
    tested = {tuple(e["present"]): _of(e, "coverage") for e in metrics.get("patterns") or []}
    parts = [(name, known[name], tested.get(name) or {}) for name in known]
    shares = [
        Estimate(*(number(found.get(k)) for k in ("covered", "low", "high")))
        for _, _, found in parts
    ]
    return tuple(
        Row(
            words.enumerate_words(name),
            words.promise(entry, share),
            (
                Cell(estimate(entry.get("scale"))),
                Cell(share, track),
                Cell(Estimate(number(found.get("size")), math.nan, math.nan)),
            ),
            counts=(entry.get("records") or 0, entry.get("natural") or 0),
        )
        for (name, entry, found), share, track in zip(parts, shares, tracks(shares), strict=True)
    )


def shifts(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """Nats that calibration adds to each modality's evidence; none where it adds nothing."""
    entries = (metrics.get("calibration") or {}).get("shift") or []
    rows = [
        Row(str(one["modality"]), "", tuple(Cell(estimate(e)) for e in one["nats"].values()))
        for one in entries
    ]
    added = any(abs(cell.estimate.value) > 1e-9 for row in rows for cell in row.cells)
    return tuple(rows) if added else ()


def advice(metrics: Mapping[str, Any]) -> tuple[tuple[str, int, float, float], ...]:
    """Each action of triage: for how many records, which share, and the accuracy among them."""
    entries = metrics.get("triage") or []
    total = sum(entry["records"] for entry in entries)
    return tuple(
        (
            entry["action"],
            entry["records"],
            entry["records"] / max(total, 1),
            number(entry["accuracy"]),
        )
        for entry in entries
    )


def costs(found: Mapping[str, Any]) -> dict[str, Any]:
    """How many records get each decision at the user's costs, and what a patient then costs."""
    if not found:
        return {}
    total = sum(one["records"] for one in found["decisions"])
    rows = [(one["decision"], one["records"], one["records"] / total) for one in found["decisions"]]
    paid = {name: Cell(estimate(entry)) for name, entry in found["paid"].items()}
    return {"rows": rows, "refer": number(found["refer"]), **paid}


def subgroups(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """Metrics and coverage by site and subgroup."""
    entries = metrics.get("subgroups") or []
    nll, accuracy, auroc, ece = (
        [estimate(_of(entry, "metrics").get(name)) for entry in entries]
        for name in ("nll", "accuracy", "auroc", "ece")
    )
    columns = zip(entries, accuracy, auroc, ece, nll, tracks(nll), strict=True)
    return tuple(
        Row(
            f"{entry['column']}: {entry['name'] or '(empty)'}",
            entry.get("warning") or "",
            (
                *(Cell(value) for value in plain),
                Cell(Estimate(number(entry.get("covered")), math.nan, math.nan)),
                Cell(drawn, track),
            ),
            counts=(entry["records"],),
        )
        for entry, *plain, drawn, track in columns
    )


def elsewhere(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """How well each uncertainty tells records of unseen sites; none where no site was held out."""
    return tuple(
        Row(one["uncertainty"], "", tuple(Cell(estimate(one.get(k))) for k in ("auroc", "fpr95")))
        for one in metrics.get("elsewhere") or []
    )


def truth(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """KL from the true posterior, and the calibration error to it, calibrated, before and if it
    were perfect, by pattern, where the world that made the data knows it."""
    found = metrics.get("truth") or {}
    known, gaps = found.get("kl") or {}, found.get("calibration") or {}
    entries = [estimate(entry) for entry in known.values()]
    rows = []
    for name, entry, track in zip(known, entries, tracks(entries, zero=True), strict=True):
        gap = gaps.get(name) or {}
        parts = (estimate(gap.get(key)) for key in ("value", "before", "floor"))
        rows.append(Row(name, "", (Cell(entry, track), *map(Cell, parts))))
    return tuple(rows)


def uncertainty(run: Run) -> dict[str, Any]:
    """Mean uncertainty of right and wrong predictions, and how the prediction sets fare."""
    table, columns = run.predictions, [f"p_{name}" for name in run.classes]
    if not len(table) or not {"label", *columns} <= set(table.columns):
        return {}
    label, probability = np.asarray(table["label"]), np.asarray(table[columns], float)
    right = np.asarray(run.classes, object)[np.nan_to_num(probability).argmax(1)] == label
    known = np.isin(label.astype(str), run.classes)
    groups = {"right": known & right, "wrong": known & ~right}
    rows = [(name, int(rows.sum()), _means(table, rows)) for name, rows in groups.items()]
    return {"rows": rows, **_sets(table, known)} if known.any() else {}


def certificate(posterior: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The posterior's diagnostics that were computed, with the values that count as good."""
    shown = (
        ("R̂, at most 1.01", "r_hat", 3),
        ("Effective draws, bulk", "ess_bulk", 0),
        ("Effective draws, tail", "ess_tail", 0),
        ("Divergences, none", "divergences", 0),
        ("Acceptance", "accept", 2),
        ("Pareto k̂", "k_hat", 2),
        ("Weights squared per record", "d2_over_n", 2),
        ("Likelihood evaluations", "likelihood_evaluations", 0),
        ("Seconds", "seconds", 1),
    )
    values = [(name, number(posterior.get(key)), digits) for name, key, digits in shown]
    return [
        (name, words.decimal(value, digits))
        for name, value, digits in values
        if math.isfinite(value)
    ]


def worth(posterior: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence a modality: whether it is worth having, and what it adds to the others."""
    found = posterior.get("worth") or {}
    return tuple(words.worth(one, int(found["records"])) for one in found.get("worth") or [])


def provenance(entries: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the run came from, with the versions of packages on one line."""
    plain = {name: value for name, value in entries.items() if value not in (None, "", {})}
    if isinstance(plain.get("versions"), dict):
        plain["versions"] = ", ".join(f"{name} {v}" for name, v in plain["versions"].items())
    return [(name.replace("_", " "), str(value)) for name, value in plain.items()]


def _ordered(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    order = ("fusion", "single", "baseline")
    given = metrics.get("models") or []
    return sorted(given, key=lambda model: order.index(model.get("role", "baseline")))


def _of(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return entry.get(name) or {}


def _figure(paint: Any, curve: Mapping[str, Any] | None, needs: str) -> Any:
    return paint(curve) if curve and curve.get(needs) else ""


def _risk(curve: Mapping[str, Any] | None) -> Any:
    if not curve or not curve.get("coverage"):
        return ""
    return figures.risk_coverage({"fusion": curve}, {"fusion": "fusion"})


def _scales(posterior: Mapping[str, Any]) -> Any:
    entries = [(str(entry["modality"]), estimate(entry)) for entry in posterior.get("scales") or []]
    return figures.scales(entries) if entries else ""


def _ledger(patient: ledgers.Ledger, name: str) -> dict[str, Any]:
    return {
        "ledger": patient,
        "figure": ledgers.figure(patient, name),
        "probabilities": ledgers.probabilities(patient),
        "shares": ledgers.shares(patient),
    }


def _means(table: pd.DataFrame, rows: np.ndarray) -> list[float]:
    if not rows.any():
        return [math.nan] * len(UNCERTAINTIES)
    return [float(np.mean(np.asarray(table[name])[rows])) for name in UNCERTAINTIES]


def _sets(table: pd.DataFrame, rows: np.ndarray) -> dict[str, float]:
    """Coverage and mean size of prediction sets; nothing where none were made."""
    if "prediction_set" not in table or not any(table["prediction_set"]):
        return {}
    members = [set(cell.split(";")) - {""} for cell in np.asarray(table["prediction_set"])[rows]]
    held = [a in names for a, names in zip(np.asarray(table["label"])[rows], members, strict=True)]
    return {"coverage": float(np.mean(held)), "size": float(np.mean([*map(len, members)]))}
