"""Where each family of fusions stands on every card that was compared.

    python -m benchmarks.across_cards [RUN ...] [--out FOLDER] [--figure FILE.png] [--smoke]

Reads the folders that `benchmarks.fusion_variants` wrote; without one, or with `--smoke`, it tells
what the committed result says and writes nothing. A family is spoken for by the variant of
the least mean validation NLL, which test records had no part in. Its rank by test NLL among all
contenders is averaged over seeds, with a 95 % interval that resamples seeds: seeds share patients,
so it says how far other splits might move the rank and not how far other patients would. The same
validation means choose one fusion for all seeds, beside the choice that each seed makes for itself;
where splits are drawn anew, one seed's validation records are partly another's test records. Every
row keeps what it cost and its scores as modalities go missing, one a scenario; told are the medians
of each family's costs, and in every scenario the best fusion and the places of a few. Writes
`variants.json` in FOLDER, benchmarks/results unless given, where cards that no RUN is of stay as
they were, and a card with other encoders than linear ones is one more; draws the ranks, and ends
with one line.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.stats import rankdata

from benchmarks.variants import published
from fusionjax import files
from fusionjax.report.palette import FOR, QUIET

RESULTS = Path(__file__).parent / "results"
KEPT = (
    *("name", "family", "intervals", "means", "spread"),
    *("validation_nll", "mean_rank", "differs", "verdict", "cost"),
)
UNDER_LOSS = ("accuracy", "auroc", "nll")
"""Scores that are kept for every scenario."""
FOLLOWED = ("log opinion pool, class", "log-linear", "concatenation, MLP")
"""Whose places are told in every scenario."""
UNCHOSEN = ("chosen", "single", "baseline")
"""What is no fusion, and so no choice of validation's."""
RESAMPLES = 2000
ABREAST = 4
"""Panels in a row of the figure."""


def read(run: Path) -> dict[str, Any]:
    """What one comparison found: its rows without curves, and the rank of every family."""
    content = json.loads((run / "result.json").read_text())
    scores = pd.read_csv(run / "scores.csv")
    scores = scores[(scores["metric"] == "nll") & (scores["scenario"] == content["scenarios"][0])]
    table = scores.pivot(index="contender", columns="seed", values="value")
    rank = pd.DataFrame(rankdata(table.to_numpy(), axis=0), index=table.index)
    rows = [kept(row, rank) for row in content["rows"]]
    about = {key: content[key] for key in ("records", "seeds", "best", "chosen", "scenarios")}
    budget = content["config"]["budget"] | {"encoders": content["config"]["encoders"]}
    return {
        "data": titled(content),
        "contenders": len(table),
        **about,
        "budget": budget,
        "commit": content["provenance"]["commit"],
        "families": {family: ranked(family, rows) for family in families(rows)},
        "chosen_once": least([row for row in rows if row["family"] not in UNCHOSEN])["name"],
        "rows": rows,
        "published": published.on(content["data"]),
    }


def titled(content: dict[str, Any]) -> str:
    """The card, and its features where they are not the linear ones."""
    encoders = content["config"]["encoders"]
    return content["data"] if encoders == "linear" else f"{content['data']}, {encoders}"


def families(rows: list[dict[str, Any]]) -> list[str]:
    """Names of the families; what validation chose among them is none."""
    return sorted({row["family"] for row in rows} - {"chosen"})


def kept(row: dict[str, Any], rank: pd.DataFrame) -> dict[str, Any]:
    """A row without curves; its rank has an interval too, unless it is a choice."""
    found = {key: row[key] for key in KEPT}
    found["under_loss"] = {m: row["scenarios"][m] for m in UNDER_LOSS}
    if row["name"] in rank.index:
        over_seeds = interval(rank.loc[row["name"]].to_numpy(float))
        found["intervals"] = row["intervals"] | {"rank": [round(x, 2) for x in over_seeds]}
    return found


def ranked(family: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Who speaks for the family, and its mean rank over seeds with its interval."""
    members = [row for row in rows if row["family"] == family]
    best = least(members)
    return {
        "variant": best["name"],
        **dict(zip(("rank", "low", "high"), best["intervals"]["rank"], strict=True)),
        "nll": best["intervals"]["nll"],
        "differs_from_best": best["differs"],
    }


def least(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the least mean validation NLL; a missing one is the worst."""
    return min(rows, key=lambda row: known(row["validation_nll"]))


def known(value: float | None) -> float:
    """The value, or infinity where there is none."""
    return float("inf") if value is None else value


def interval(rank: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    """The mean over seeds and the central 95 % of the means of resampled seeds."""
    rng = np.random.default_rng(0)
    means = rng.choice(rank, (RESAMPLES, len(rank))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(rank.mean()), float(low), float(high)


def costs(card: dict[str, Any]) -> pd.DataFrame:
    """Medians of what the variants of each family cost."""
    counted = [row for row in card["rows"] if row.get("cost") and row["family"] not in UNCHOSEN]
    table = pd.DataFrame([row["cost"] | {"family": row["family"]} for row in counted], dtype=object)
    return table.set_index("family").astype(float).groupby("family").median()


def under_loss(card: dict[str, Any]) -> pd.DataFrame:
    """NLL in each scenario, and the place among fusions, of the best and of those followed."""
    fusions = [row for row in card["rows"] if row["family"] not in UNCHOSEN]
    every = {row["name"]: row["under_loss"]["nll"] for row in fusions}
    nll = pd.DataFrame(every, index=card["scenarios"], dtype=float)
    text, place = nll.map("{:.3f}".format), nll.rank(axis=1).map(" ({:g}.)".format)
    best = nll.idxmin(axis=1) + nll.min(axis=1).map(" {:.3f}".format)
    return (text + place).reindex(columns=FOLLOWED).assign(best=best)


def draw(cards: list[dict[str, Any]], file: Path) -> None:
    """A panel a card: each family's rank, the log-linear one in colour."""
    order = sorted({family for card in cards for family in card["families"]})
    abreast, below = min(ABREAST, len(cards)), -(-len(cards) // ABREAST)
    size = 2.0 + 1.9 * abreast, below * (0.6 + 0.27 * len(order))
    figure = Figure(figsize=size, layout="constrained")
    panels = np.ravel(figure.subplots(below, abreast, sharey=True, squeeze=False))
    for axes in panels[len(cards) :]:
        axes.remove()
    for axes, card in zip(panels[: len(cards)], cards, strict=True):
        for place, family in enumerate(order):
            found = card["families"].get(family)
            if found:
                colour = FOR if family == "log-linear" else QUIET
                axes.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=2)
                axes.plot(found["rank"], place, "o", color=colour, markersize=5)
        axes.set(title=card["data"], xlim=(0, card["contenders"] + 1), xlabel="rank by NLL")
        axes.set_yticks(range(len(order)), order)
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.savefig(file, dpi=150)


def merged(out: Path, read_now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cards of the result in `out`, each replaced by what was read of it now; new ones last."""
    now = {card["data"]: card for card in read_now}
    file = out / "variants.json"
    before = json.loads(file.read_text())["cards"] if file.exists() else []
    return list(({card["data"]: card for card in before} | now).values())


def keep(cards: list[dict[str, Any]], out: Path, figure: Path | None) -> None:
    """Writes the result, and the figure if it is asked for."""
    content = {"benchmark": "across_cards", "cards": cards}
    out.mkdir(parents=True, exist_ok=True)
    files.write(out / "variants.json", json.dumps(content, indent=1) + "\n")
    if figure:
        draw(cards, figure)


def main() -> None:
    """Prints a table, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--smoke", action="store_true", help="tell the committed result")
    arguments = parser.parse_args()
    if arguments.smoke or not arguments.runs:
        cards = json.loads((RESULTS / "variants.json").read_text())["cards"]
    else:
        cards = merged(arguments.out, [read(run) for run in arguments.runs])
        keep(cards, arguments.out, arguments.figure)
    for card in cards:
        for family, one in sorted(card["families"].items(), key=lambda each: each[1]["rank"]):
            where = f"{one['rank']:.1f} [{one['low']:.1f}, {one['high']:.1f}]"
            who = f"{card['data']:12} {family:15} {one['variant']:26}"
            print(f"{who} {where} of {card['contenders']}")
        if "scenarios" in card:
            for table in (costs(card).round(8), under_loss(card)):
                print(f"\n{table.to_string()}\n")
    line = {card["data"]: card["families"]["log-linear"]["rank"] for card in cards}
    print(json.dumps({"benchmark": "across_cards", "rank_of_log_linear": line}))


if __name__ == "__main__":
    main()
