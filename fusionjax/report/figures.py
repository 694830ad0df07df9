"""The figures of the page: each a function from numbers of the run to one inline SVG.

All are 360 units wide at most, so that they keep their size on a telephone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionjax.metrics import Estimate
from fusionjax.report.palette import FOR, INK, PAPER, QUIET, RULE
from fusionjax.report.run import numbers
from fusionjax.report.svg import draw, fit
from fusionjax.report.words import decimal, percent, spoken

WIDTH = 360
ROW = 26
LINES = {"train": QUIET, "validation": FOR}
DOT: dict[str, Any] = {"color": FOR, "markersize": 6, "markeredgecolor": PAPER}
BESIDE: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}


def reliability(curve: Mapping[str, Any], name: str = "reliability") -> Markup:
    """How often a stated confidence comes true, bin by bin, and how many records each bin holds.

    `name` sets one diagram apart from another on the same page.
    """
    columns = ("confidence", "accuracy", "low", "high", "count")
    bins = [numbers(curve.get(column)) for column in columns]
    points = [point for point in zip(*bins, strict=False) if all(map(math.isfinite, point[:2]))]
    said = "; ".join(
        f"stated {decimal(point[0], 2)}, true in {decimal(point[1], 2)}" for point in points
    )
    return draw(
        name,
        f"Reliability diagram. {said}.",
        WIDTH,
        390,
        lambda figure: _reliability(figure, points),
    )


def risk_coverage(curves: Mapping[str, Any], names: Mapping[str, str]) -> Markup:
    """Error among the surest share of patients, with the 95 % band of the last curve.

    `names` says what each curve is called.
    """
    said = []
    for side, curve in curves.items():
        pairs = list(zip(numbers(curve["coverage"]), numbers(curve["risk"]), strict=True))
        if pairs:
            half = min(pairs, key=lambda pair: abs(pair[0] - 0.5))
            said.append(
                f"{names[side]}: {percent(half[1])} wrong among the surest half, "
                f"{percent(pairs[-1][1])} among all"
            )
    return draw(
        "risk",
        f"Risk by coverage. {'; '.join(said)}.",
        WIDTH,
        260,
        lambda figure: _risk(figure, curves, names),
    )


def history(curve: Mapping[str, Any]) -> Markup:
    """Training and validation loss by step, each named at its end."""
    steps = numbers(curve.get("step"))
    lines = {name: _finite(steps, numbers(curve.get(name))) for name in LINES if curve.get(name)}
    lines = {name: line for name, line in lines.items() if line}
    ends = ", ".join(f"{name} ends at {decimal(line[-1][1])}" for name, line in lines.items())
    return draw(
        "history",
        f"Loss in nats by training step: {ends}.",
        WIDTH,
        230,
        lambda figure: _history(figure, lines),
    )


def scales(entries: Sequence[tuple[str, Estimate]]) -> Markup:
    """The scale τ of each modality's weights with its interval: how much the modality is worth."""
    said = "; ".join(f"{name} {spoken(entry, 2)}" for name, entry in entries)
    return draw(
        "scales",
        f"Scale of each modality's weights. {said}.",
        WIDTH,
        ROW * len(entries) + 40,
        lambda figure: _scales(figure, entries),
    )


def _reliability(figure: Figure, points: Sequence[Sequence[float]]) -> None:
    axes = figure.add_axes((0.12, 0.27, 0.84, 0.71))
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="is right, fraction")
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
    for text, x, y in (("too cautious", 0.03, 0.94), ("too sure", 0.80, 0.05)):
        axes.text(x, y, text, color=QUIET)
    for confidence, accuracy, low, high, _ in points:
        axes.plot([confidence] * 2, [low, high], color=FOR, linewidth=1.5, alpha=0.55)
        axes.plot(confidence, accuracy, "o", **DOT, clip_on=False)
    counts = figure.add_axes((0.12, 0.11, 0.84, 0.1), sharex=axes)
    counts.bar([point[0] for point in points], [point[4] for point in points], 0.02, color=RULE)
    largest = max((point[4] for point in points if math.isfinite(point[4])), default=1.0)
    counts.set(xlabel="stated confidence", ylim=(0, largest))
    counts.set_yticks([largest], [f"{largest:.0f}"])
    counts.spines["left"].set_visible(False)
    axes.tick_params(labelbottom=False)
    _quarters(axes)


def _quarters(axes: Axes) -> None:
    ticks = (0, 0.25, 0.5, 0.75, 1)
    labels = ["0", ".25", ".50", ".75", "1"]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)


def _risk(figure: Figure, curves: Mapping[str, Any], names: Mapping[str, str]) -> None:
    axes = figure.add_axes((0.14, 0.17, 0.82, 0.78))
    axes.set(
        xlabel="share of patients decided, surest first", ylabel="wrong, fraction", xlim=(0, 1)
    )
    last = list(curves)[-1]
    for side, curve in curves.items():
        x, y, low, high = (numbers(curve[k]) for k in ("coverage", "risk", "low", "high"))
        colour, style = (FOR, "-") if side == last else (QUIET, "--")
        if side == last:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, y, style, color=colour, linewidth=1.5, label=names[side])
    axes.set_ylim(0, None)
    if len(curves) > 1:
        axes.legend(frameon=False, loc="upper left")


def _history(figure: Figure, lines: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    axes = figure.add_axes((0.12, 0.18, 0.65, 0.76))
    axes.set(xlabel="step")
    for name, line in lines.items():
        axes.plot(*zip(*line, strict=True), color=LINES[name], linewidth=1.5)
    _name_ends(axes, lines)
    best = min(lines.get("validation", ()), key=lambda point: point[1], default=None)
    if best:
        axes.plot(*best, "o", **DOT)


def _name_ends(axes: Axes, lines: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Write each line's name where it ends, moved apart where two lines end together."""
    bottom, top = axes.get_ylim()
    gap, floor = 0.09 * (top - bottom), -math.inf
    ends = [(line[-1], name) for name, line in lines.items()]
    for (x, y), name in sorted(ends, key=lambda end: end[0][1]):
        floor = max(y, floor + gap)
        axes.annotate(name, (x, floor), **BESIDE, color=LINES[name])


def _scales(figure: Figure, entries: Sequence[tuple[str, Estimate]]) -> None:
    height = ROW * len(entries) + 40
    axes = figure.add_axes((0.3, 34 / height, 0.56, (height - 38) / height))
    axes.set(ylim=(len(entries) - 0.5, -0.5), yticks=[], xlabel="scale τ")
    axes.spines["left"].set_visible(False)
    for row, (name, entry) in enumerate(entries):
        axes.plot([entry.low, entry.high], [row, row], color=FOR, linewidth=2, alpha=0.55)
        axes.plot(entry.value, row, "o", **DOT)
        label(axes, -0.04, row, fit(name, 15), ha="right")
        label(axes, 1.04, row, decimal(entry.value, 2), color=QUIET)
    axes.set_xlim(0, None)


def label(
    axes: Axes, x: float, y: int | float, text: str, color: str = INK, ha: str = "left"
) -> None:
    """Write beside a row: x as a fraction of the axes' width, y in data."""
    axes.text(x, y, text, color=color, ha=ha, va="center", transform=axes.get_yaxis_transform())


def _finite(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    pairs = zip(xs, ys, strict=False)
    return [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
