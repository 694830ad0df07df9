"""Evidence ledgers: for a few patients, what each modality said and how loudly.

A ledger adds up the log-odds of the likeliest diagnosis against the runner-up: the prior's, then
each modality's weight of evidence in nats (Good, 1950), with its 95 % credible interval. That is
an identity of the log-linear model; a modality's part is its log likelihood ratio only if
modalities are independent given the diagnosis.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionjax.metrics import Estimate
from fusionjax.predictions import spreadsheet_safe
from fusionjax.report.figures import BESIDE, WIDTH, label
from fusionjax.report.palette import AGAINST, FOR, INK, QUIET, RULE
from fusionjax.report.run import INTERVAL, Run, number
from fusionjax.report.svg import draw, fit
from fusionjax.report.words import decimal, odds, percent, spoken

ROW = 34
MARGINS = 62
LIKELIEST = 4


class Entry(NamedTuple):
    """One line of a ledger: nats for the top class against the runner-up, and P(reliable).

    `share` is the modality's part of all the evidence, for or against.
    """

    name: str
    nats: Estimate
    present: bool = True
    reliable: float = math.nan
    share: float = math.nan


class Ledger(NamedTuple):
    """One patient's ledger; `truth` is empty where the diagnosis is unknown.

    `chosen` is the prediction set, `advice` what triage says, `nearest` the ids of training cases,
    `decision` the cheapest one, expected to cost `cost`; each is empty where the run says nothing.
    `distance` is the share of training records that lie nearer to the middle of them.
    """

    title: str
    patient: str
    truth: str
    probabilities: tuple[tuple[str, float], ...]
    uncertainty: Mapping[str, float]
    entries: tuple[Entry, ...]
    chosen: tuple[str, ...] = ()
    advice: str = ""
    distance: float = math.nan
    nearest: tuple[str, ...] = ()
    decision: str = ""
    cost: float = math.nan

    @property
    def top(self) -> str:
        """The likeliest class."""
        return self.probabilities[0][0]

    @property
    def runner_up(self) -> str:
        """The second likeliest class."""
        return self.probabilities[1][0]

    @property
    def sum(self) -> float:
        """Prior and evidence together, in nats; parts that are not known are left out."""
        return sum(entry.nats.value for entry in self.entries if math.isfinite(entry.nats.value))


def ledgers(run: Run) -> tuple[Ledger, ...]:
    """Ledgers of the patients that were asked for, else of those that `chosen` picks.

    None where a run holds no predictions.
    """
    if len(run.classes) < 2 or not _complete(run):
        return ()
    rows = asked(run) or chosen(run).items()
    return tuple(_ledger(run, row, title) for title, row in rows)


def asked(run: Run) -> tuple[tuple[str, int], ...]:
    """Titles and rows of the patients that the run's configuration asks for, in its order."""
    row = {name: i for i, name in enumerate(run.predictions["id"])}
    names = [spreadsheet_safe(name) for name in run.config.get("patients") or ()]
    return tuple(("As asked for", row[name]) for name in names if name in row)


def chosen(run: Run) -> dict[str, int]:
    """Rows of the predictions worth reading, each once: sure and right, sure and wrong, most
    uncertain, most conflicting (the loser of evidence for and against is largest)."""
    table = run.predictions
    probability = table[_columns("p_", run.classes)].to_numpy(float)
    confidence = np.nan_to_num(probability.max(1), nan=0.0)
    guess = np.asarray(run.classes, object)[np.nan_to_num(probability, nan=-1.0).argmax(1)]
    truth = table["label"].to_numpy(object) if "label" in table else np.full(len(table), "")
    known = np.isin(truth.astype(str), run.classes)
    scores = {
        "Most sure and right": np.where(known & (guess == truth), confidence, -1.0),
        "Most sure and wrong": np.where(known & (guess != truth), confidence, -1.0),
        "Most sure": np.where(known.any(), -1.0, confidence),
        "Most uncertain": _total(table),
        "Modalities in most conflict": _conflict(run),
    }
    return _first_of_each(scores)


def figure(ledger: Ledger, name: str) -> Markup:
    """A ledger as horizontal bars from zero: right for the top class, left for the runner-up."""
    said = "; ".join(map(_said, ledger.entries))
    question = f"Evidence for {ledger.top} against {ledger.runner_up}, in nats"
    text = f"{question}. {said}; together {decimal(ledger.sum, 1)}."
    height = ROW * (len(ledger.entries) + 1) + MARGINS
    return draw(name, text, WIDTH, height, lambda canvas: _paint(canvas, ledger, height))


def _said(entry: Entry) -> str:
    if not entry.present:
        return f"{entry.name} missing"
    value, low, high = entry.nats
    text = f"{entry.name} {spoken(entry.nats, 1)}, odds {odds(value)}"
    text += f" ({odds(low)} to {odds(high)})" if math.isfinite(low + high) else ""
    sure = math.isfinite(entry.reliable)
    return f"{text}, P(reliable) {decimal(entry.reliable, 2)}" if sure else text


def _complete(run: Run) -> bool:
    needed = {"id", *_columns("p_", run.classes)}
    return len(run.predictions) > 0 and needed <= set(run.predictions.columns)


def _columns(prefix: str, names: Sequence[str]) -> list[str]:
    return [prefix + name for name in names]


def _total(table: pd.DataFrame) -> np.ndarray:
    if "total" not in table:
        return np.full(len(table), -1.0)
    return np.nan_to_num(table["total"].to_numpy(float), nan=-1.0)


def _conflict(run: Run) -> np.ndarray:
    names = [name for name in _columns("evidence_", run.modalities) if name in run.predictions]
    nats = np.nan_to_num(run.predictions[names].to_numpy(float))
    loser = np.minimum(nats.clip(min=0).sum(1), (-nats).clip(min=0).sum(1))
    return np.where(loser > 0, loser, -1.0)


def _first_of_each(scores: Mapping[str, np.ndarray]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for title, score in scores.items():
        free = np.where(np.isin(np.arange(len(score)), list(rows.values())), -1.0, score)
        best = int(free.argmax())
        if free[best] >= 0:
            rows[title] = best
    return rows


def _ledger(run: Run, row: int, title: str) -> Ledger:
    record = run.predictions.iloc[row]
    probabilities = [(name, number(record[f"p_{name}"])) for name in run.classes]
    ranked = sorted(probabilities, key=lambda pair: -np.nan_to_num(pair[1], nan=-1.0))
    truth = str(record.get("label", ""))
    (top, _), (runner_up, _), *_ = ranked
    contrasts = _contrasts(run, record, top, runner_up)
    parts = [_entry(contrasts, record, name) for name in run.modalities]
    return Ledger(
        title,
        str(record["id"]),
        truth if truth in run.classes else "",
        tuple(ranked),
        {name: number(record.get(name)) for name in ("total", "aleatoric", "epistemic")},
        (*_prior(run, top, runner_up), *parts),
        _listed(record, "prediction_set"),
        " ".join(filter(None, (str(record.get("triage", "")), str(record.get("acquire", ""))))),
        number(record.get("distance")),
        _listed(record, "nearest"),
        str(record.get("decision", "")),
        number(record.get("expected_cost")),
    )


def _listed(record: pd.Series, column: str) -> tuple[str, ...]:
    return tuple(name for name in str(record.get(column, "")).split(";") if name)


def _prior(run: Run, top: str, runner_up: str) -> tuple[Entry, ...]:
    prior: Any = run.metrics["task"].get("prior")
    if not prior or len(prior) != len(run.classes):
        return ()
    chance = dict(zip(run.classes, map(number, prior), strict=True))
    if not (chance[top] > 0 and chance[runner_up] > 0):
        return ()
    nats = math.log(chance[top] / chance[runner_up])
    return (Entry("prior", Estimate(nats, math.nan, math.nan)),)


def _contrasts(run: Run, record: pd.Series, top: str, runner_up: str) -> dict[str, Estimate]:
    """Evidence with intervals by modality, where it was kept for this very pair of classes."""
    table = run.contrasts.to_dict("records")
    wanted = {"id": record["id"], "top": top, "runner_up": runner_up}
    rows = [row for row in table if wanted.items() <= row.items()]
    return {row["modality"]: Estimate(*(number(row[part]) for part in INTERVAL)) for row in rows}


def _entry(contrasts: Mapping[str, Estimate], record: pd.Series, name: str) -> Entry:
    present = str(record.get(f"present_{name}", "True")).lower() in ("true", "1", "1.0")
    plain = Estimate(number(record.get(f"evidence_{name}")), math.nan, math.nan)
    reliable, share = (number(record.get(f"{about}_{name}")) for about in ("reliable", "share"))
    return Entry(name, contrasts.get(name, plain), present, reliable, share)


def _paint(canvas: Figure, ledger: Ledger, height: int) -> None:
    rows = len(ledger.entries) + 1
    axes = canvas.add_axes((0.29, 34 / height, 0.42, ROW * rows / height))
    axes.set(ylim=(rows - 0.5, -0.5), yticks=[], xlabel="nats")
    axes.spines["left"].set_visible(False)
    reach = _reach(ledger)
    axes.set_xlim(-reach, reach)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for row, entry in enumerate(ledger.entries):
        _bar(axes, row, entry)
    _total_row(axes, rows - 1, ledger.sum)
    _directions(axes, ledger)


def _bar(axes: Axes, row: int, entry: Entry) -> None:
    if not entry.present:
        label(axes, -0.06, row, fit(entry.name, 14), QUIET, "right")
        axes.annotate("missing", (0, row), **BESIDE, color=QUIET, style="italic")
        return
    sure = math.isfinite(entry.reliable)
    label(axes, -0.06, row - (0.2 if sure else 0), fit(entry.name, 14), ha="right")
    if sure:
        _small(axes, row + 0.24, f"P(reliable) {decimal(entry.reliable, 2)}")
    value, low, high = entry.nats
    colour = FOR if value >= 0 else AGAINST
    axes.barh(row, np.nan_to_num(value), 0.5, color=colour, alpha=0.7)
    axes.plot([low, high], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
    known = math.isfinite(low) and math.isfinite(high)
    label(axes, 1.04, row - (0.2 if known else 0), odds(value), colour)
    if known:
        _small(axes, row + 0.24, f"{odds(low)} to {odds(high)}", 1.04)


def _small(axes: Axes, y: int | float, text: str, x: float = -0.06) -> None:
    ha, place = "right" if x < 0 else "left", axes.get_yaxis_transform()
    axes.text(x, y, text, color=QUIET, fontsize=9, ha=ha, va="center", transform=place)


def _total_row(axes: Axes, row: int, nats: float) -> None:
    axes.axhline(row - 0.5, -0.5, 1.4, color=RULE, linewidth=0.8, clip_on=False)
    label(axes, -0.06, row, "together", ha="right")
    axes.plot(nats, row, "D", color=INK, markersize=6)
    label(axes, 1.04, row, odds(nats))


def _directions(axes: Axes, ledger: Ledger) -> None:
    """Name the two directions above the bars; 0 stands in the middle of the axes."""
    place = axes.get_xaxis_transform()
    top = 1 + 10 / (ROW * (len(ledger.entries) + 1))
    for shift, ha, text, colour in (
        (-7, "right", f"← {fit(ledger.runner_up, 20)}", AGAINST),
        (7, "left", f"{fit(ledger.top, 20)} →", FOR),
    ):
        axes.annotate(
            text, (0, top), (shift, 0), place, "offset points", color=colour, ha=ha, va="bottom"
        )


def _reach(ledger: Ledger) -> float:
    ends = [abs(end) for entry in ledger.entries if entry.present for end in entry.nats]
    finite = [end for end in (*ends, abs(ledger.sum)) if math.isfinite(end)]
    return 1.08 * max([*finite, 0.5])


def probabilities(ledger: Ledger) -> str:
    """The likeliest classes with their probabilities, and how much is left for the others."""
    shown = ledger.probabilities[:LIKELIEST]
    words = [f"{name} {_chance(chance)}" for name, chance in shown]
    rest = sum(np.nan_to_num(chance) for _, chance in ledger.probabilities[LIKELIEST:])
    return ", ".join(words + ([f"others {_chance(float(rest))}"] if rest else []))


def shares(ledger: Ledger) -> str:
    """How much of the evidence each modality carries, the most first; empty where not known."""
    known = [entry for entry in ledger.entries if math.isfinite(entry.share)]
    known.sort(key=lambda entry: -entry.share)
    return ", ".join(f"{entry.name} {percent(entry.share)}" for entry in known)


def _chance(probability: float) -> str:
    """A probability as a percentage that is never rounded to certainty."""
    if probability > 0.999:
        return "above 99.9\u202f%"
    return "below 0.1\u202f%" if probability < 0.001 else percent(probability)
