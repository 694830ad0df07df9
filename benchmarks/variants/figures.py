"""The figures of a comparison, each a function from `result.json` to one inline SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionjax.report.palette import AGAINST, FOR, INK, QUIET, RULE
from fusionjax.report.svg import draw, fit

ROW = 17
MARKS = ("o", "s", "^", "D", "v", "P")
SHADES = (FOR, AGAINST, INK, QUIET, "#7a9cb8", "#c99a6b")


def ranking(content: Mapping[str, Any]) -> Markup:
    """The mean loss of each contender with its interval; grey where it is worse than the best."""
    rows, metric = content["rows"], content["rank_by"]

    def paint(figure: Figure) -> None:
        axes = _listed(figure, [row["name"] for row in rows], left=0.42)
        for place, row in enumerate(rows):
            value, low, high = row["intervals"][metric]
            colour = QUIET if row["verdict"] == "worse" else FOR
            axes.plot([low, high], [place, place], color=colour, linewidth=1.6, alpha=0.6)
            axes.plot(value, place, "o", color=colour, markersize=4.5)
        axes.set_xlabel(f"test {metric}, 95 % interval over patients")

    said = f"Ranking by test {metric}, best first: " + ", ".join(r["name"] for r in rows)
    return draw("ranking", said, 430, _height(rows), paint)


def ranks(content: Mapping[str, Any]) -> Markup:
    """Mean ranks over seeds; a bar joins neighbours among whom no pair differs."""
    names = content["by_rank"]
    found = {row["name"]: row["mean_rank"] for row in content["rows"]}

    def paint(figure: Figure) -> None:
        axes = _listed(figure, names, left=0.42)
        axes.plot([found[n] for n in names], range(len(names)), "o", color=FOR, markersize=4.5)
        edge = len(names) + 1.0
        for number, (first, last) in enumerate(content["cliques"]):
            x = edge + number * len(names) / 40
            axes.plot([x, x], [first - 0.2, last + 0.2], color=INK, linewidth=2.2)
        axes.set_xlabel("mean rank over seeds; bars: no difference")

    return draw("ranks", "Mean ranks, best first: " + ", ".join(names), 430, _height(names), paint)


def cost(content: Mapping[str, Any]) -> Markup:
    """Accuracy against operations a prediction; those that nothing beats on both have names."""
    rows = [r for r in content["rows"] if r["cost"] and r["cost"]["flops"]]

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.14, 0.16, 0.8, 0.8))
        best = -1.0
        for row in sorted(rows, key=lambda r: (r["cost"]["flops"], -r["means"]["accuracy"])):
            x, y = row["cost"]["flops"], row["means"]["accuracy"]
            front = y > best
            best = max(best, y)
            axes.plot(x, y, "o", color=FOR if front else RULE, markersize=5)
            if front:
                axes.annotate(row["name"], (x, y), (4, 4), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.set_xlabel("operations a prediction")
        axes.set_ylabel("accuracy")

    return draw("cost", "Accuracy against operations a prediction.", 430, 300, paint)


def reliability(content: Mapping[str, Any]) -> Markup:
    """How often a stated confidence comes true, of the contenders shown."""

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.14, 0.16, 0.8, 0.8))
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        for number, row in enumerate(shown(content)):
            curve = row["reliability"]
            _line(axes, number, row["name"], curve["confidence"], curve["accuracy"])
        axes.set_xlabel("stated confidence")
        axes.set_ylabel("comes true")
        axes.legend(frameon=False, fontsize=8)

    return draw("reliability", "Reliability of the contenders shown.", 430, 320, paint)


def robustness(content: Mapping[str, Any], metric: str = "nll") -> Markup:
    """The loss as modalities are lost at random, of the contenders shown."""
    lost = [0, *(k for k, name in enumerate(content["scenarios"]) if name.endswith("% lost"))]
    shares = [0.0, *(float(content["scenarios"][k].split("%")[0]) for k in lost[1:])]

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.14, 0.16, 0.8, 0.8))
        for number, row in enumerate(shown(content)):
            values = [row["scenarios"][metric][k] for k in lost]
            _line(axes, number, row["name"], shares, values)
        axes.set_xlabel("% of modalities lost at random")
        axes.set_ylabel(f"test {metric}")
        axes.legend(frameon=False, fontsize=8)

    return draw("robustness", f"Test {metric} as modalities are lost.", 430, 320, paint)


def shown(content: Mapping[str, Any], most: int = 6) -> list[Mapping[str, Any]]:
    """The log-linear model, the MLP and the simple baseline, then the best of the rest."""
    wanted = ("log-linear", "concatenation, MLP", "logistic regression")
    first = [row for row in content["rows"] if row["name"] in wanted]
    rest = [r for r in content["rows"] if r not in first and r["family"] != "chosen"]
    return [*first, *rest][:most]


def _line(axes: Axes, number: int, name: str, xs: Sequence[float], ys: Sequence[Any]) -> None:
    colour, mark = SHADES[number % len(SHADES)], MARKS[number % len(MARKS)]
    axes.plot(xs, ys, color=colour, marker=mark, markersize=4, linewidth=1.3, label=name)


def _listed(figure: Figure, names: Sequence[str], left: float) -> Axes:
    """Axes with a name beside each row, the first at the top."""
    bottom = 42 / _height(names)
    axes = figure.add_axes((left, bottom, 0.96 - left, 0.99 - bottom))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [fit(name, 26) for name in names], fontsize=9, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=RULE, linewidth=0.4)
    return axes


def _height(rows: Sequence[Any]) -> int:
    return ROW * len(rows) + 50
