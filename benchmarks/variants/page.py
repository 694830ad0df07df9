"""One HTML page of a comparison, self-contained, and the same ranking for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Console
from rich.table import Table

import fusionjax.report
from benchmarks.variants import figures
from benchmarks.variants.scores import METRICS
from fusionjax.baselines import STRENGTHS
from fusionjax.report import palette


def render(content: Mapping[str, Any]) -> str:
    """The page; names from a card are escaped."""
    folders = [Path(__file__).parent, Path(fusionjax.report.__file__).parent]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "times": times}
    return environment.get_template("page.html.j2").render(
        content=content,
        metrics=METRICS,
        penalties=len(STRENGTHS),
        headline=headline(content),
        colours={name: value for name, value in vars(palette).items() if name.isupper()},
        ranking=figures.ranking(content),
        ranks=figures.ranks(content),
        cost=figures.cost(content),
        reliability=figures.reliability(content),
        robustness=figures.robustness(content),
    )


def headline(content: Mapping[str, Any]) -> str:
    """What can be said, and that there is no difference where there is none."""
    name, same = content["best"], content["no_difference_from_best"]
    best = name[:1].upper() + name[1:]
    others = sum(r["family"] != "chosen" for r in content["rows"]) - 1
    if len(same) == others:
        return f"No difference: none of {others} contenders is worse than {name} beyond chance."
    if not same:
        return f"{best} is better than all of {others} other contenders."
    return (
        f"{best} has the least test {content['rank_by']}; {len(same)} of {others} others do not "
        "differ from it."
    )


def show(content: Mapping[str, Any]) -> None:
    """The ranking on the terminal."""
    table = Table(title=f"{content['data']}: {headline(content)}", box=None, pad_edge=False)
    table.add_column("contender", no_wrap=True)
    for column in (*METRICS[:-1], "p (Holm)"):
        table.add_column(column, justify="right")
    for row in content["rows"]:
        cells = [number(row["means"][m]) for m in METRICS[:-1]]
        p = "best" if row["name"] == content["best"] else number(row["p_holm"])
        table.add_row(row["name"], *cells, p)
    Console().print(table)


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def times(value: float | None, unit: float = 1.0) -> str:
    """A large number in three digits, in units of `unit`."""
    return "–" if value is None else f"{value / unit:,.3g}"
