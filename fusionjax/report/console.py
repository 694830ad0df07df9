"""The result of a run for the terminal: a table of models, the headline, where the page is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fusionjax.metrics import Estimate
from fusionjax.report import words
from fusionjax.report.page import Cell, differences, models
from fusionjax.report.run import UNDEFINED

SHOWN = {"accuracy": "Acc.", "auroc": "AUROC", "nll": "NLL", "ece": "ECE"}
NO_RIVAL = Cell(UNDEFINED)


def table(metrics: Mapping[str, Any]) -> Table:
    """Models, the paired 95 % interval of their NLL less the fusion's, and what it says."""
    columns = [list(words.NAMES).index(name) for name in SHOWN]
    gaps = {row.name: row.cells[0] for row in differences(metrics)}
    grid = Table("Model", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in SHOWN.values():
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("ΔNLL to fusion", justify="right", no_wrap=True)
    grid.add_column("Fusion is", no_wrap=True)
    for row in models(metrics):
        numbers = [words.decimal(row.cells[column].estimate.value) for column in columns]
        gap = gaps.get(row.name, NO_RIVAL)
        # As Text, since a name like "[red]" is no markup.
        texts = map(Text, (row.name, *numbers, _gap(gap.estimate), gap.verdict))
        grid.add_row(*texts, style="bold" if row.strong else "")
    return grid


def show(metrics: Mapping[str, Any], report: Path, console: Console | None = None) -> None:
    """Print the table, the headline, the warnings and the path of the report."""
    console = console or Console()
    if metrics.get("models"):
        console.print(table(metrics))
    result = words.headline(metrics)
    console.print(Text(f"\n{result.title}.", style="bold"))
    for sentence in result.sentences:
        console.print(Text(sentence))
    for warning in metrics.get("warnings") or []:
        place = f" in {warning['where']}" if warning["where"] else ""
        console.print(Text(f"\n{warning['kind']}{place}: {warning['message']}"))
    console.print(Text(f"\nReport: {report}"))


def _gap(entry: Estimate) -> str:
    return f"{words.decimal(entry.value)} {words.interval(entry)}".rstrip()
