"""Ranks of families over cards, from the files of a comparison."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import across_cards

NLL = {"log-linear": [0.4, 0.4, 0.4], "sum": [0.5, 0.3, 0.5], "mean": [0.3, 0.5, 0.3]}
FAMILY = {"log-linear": "log-linear", "sum": "representation", "mean": "representation"}
VALID = {"log-linear": 0.4, "sum": 0.45, "mean": 0.5}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [
        {
            "name": name,
            "family": FAMILY[name],
            "intervals": {"nll": [float(np.mean(values)), 0.2, 0.6]},
            "means": {},
            "spread": {},
            "validation_nll": VALID[name],
            "mean_rank": None,
            "differs": False,
            "verdict": "no difference",
            "cost": {"parameters": 6},
            "scenarios": {m: [VALID[name], 1.0] for m in across_cards.UNDER_LOSS},
        }
        for name, values in NLL.items()
    ]
    rows.append(rows[0] | {"name": "chosen by validation", "family": "chosen"})
    content = {
        "data": "few",
        "scenarios": ["as they are", "without image"],
        "records": {},
        "seeds": 3,
        "best": "mean",
        "chosen": ["log-linear"] * 3,
        "config": {"budget": {"steps": 5}, "encoders": "linear"},
        "provenance": {"commit": "0"},
        "rows": rows,
    }
    (tmp_path / "result.json").write_text(json.dumps(content))
    lines = [
        {"contender": name, "seed": seed, "scenario": scenario, "metric": metric, "value": value}
        for name, values in NLL.items()
        for seed, value in enumerate(values)
        for scenario in content["scenarios"]
        for metric in ("nll", "accuracy")
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path


def test_a_family_is_spoken_for_by_the_variant_that_validation_likes_best(run: Path) -> None:
    found = across_cards.read(run)
    assert found["contenders"] == 3
    assert set(found["families"]) == {"log-linear", "representation"}
    assert found["families"]["representation"]["variant"] == "sum"
    assert found["families"]["representation"]["rank"] == pytest.approx((3 + 1 + 3) / 3, abs=0.01)
    whole = found["families"]["log-linear"]
    assert (whole["rank"], whole["low"], whole["high"]) == (2, 2, 2)
    assert found["chosen_once"] == "log-linear"
    rows = {row["name"]: row for row in found["rows"]}
    value, low, high = rows["mean"]["intervals"]["rank"]
    assert low < value < high
    assert "rank" not in rows["chosen by validation"]["intervals"]
    assert rows["mean"]["cost"] == {"parameters": 6}
    assert rows["mean"]["under_loss"]["auroc"] == [0.5, 1.0]
    json.dumps(found, allow_nan=False)


def test_costs_and_places_are_told_of_every_family_and_scenario(run: Path) -> None:
    found = across_cards.read(run)
    assert across_cards.costs(found)["parameters"].to_dict() == {
        "log-linear": 6.0,
        "representation": 6.0,
    }
    told = across_cards.under_loss(found).loc["as they are"]
    assert (told["best"], told["log-linear"]) == ("log-linear 0.400", "0.400 (1.)")


def test_cards_that_were_not_run_again_stay(run: Path, tmp_path: Path) -> None:
    out, found = tmp_path / "results", across_cards.read(run)
    across_cards.keep([{"data": "many"}, found | {"seeds": 1}], out, None)
    many, few = across_cards.merged(out, [found])
    assert many == {"data": "many"}
    assert (few["data"], few["seeds"]) == ("few", 3)


def test_the_figure_is_drawn(run: Path, tmp_path: Path) -> None:
    across_cards.draw([across_cards.read(run)] * 5, tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 1000


def test_other_encoders_make_another_card(run: Path) -> None:
    path = run / "result.json"
    path.write_text(path.read_text().replace('"linear"', '"kernel"'))
    assert across_cards.read(run)["data"] == "few, kernel"
