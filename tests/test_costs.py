"""Costs as their user states them: the file, what is wrong with it, and the decisions."""

from pathlib import Path

import numpy as np
import pytest

from fusionjax import costs, metrics, triage
from fusionjax.errors import CardError

CLASSES = ("embolism", "angina", "healthy")
FILE = """
refer = 1.0
wrong = 5
[of.embolism]
healthy = 100.0
embolism = 0.5
"""


def load(folder: Path, text: str) -> costs.Costs:
    (folder / "costs.toml").write_text(text)
    return costs.load(folder / "costs.toml", CLASSES)


def test_what_is_not_named_costs_what_wrong_ones_do(tmp_path: Path) -> None:
    found = load(tmp_path, FILE)
    assert found.refer == 1
    np.testing.assert_array_equal(found.cost, [[0.5, 5, 100], [5, 0, 5], [5, 5, 0]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wrong = 1", "refer: is missing"),
        ("refer = 1", "of.embolism.angina: has no cost. Say wrong"),
        ("refer = -1\nwrong = 1", "refer: found -1"),
        ("refer = nan\nwrong = 1", "refer: found nan"),
        ("refer = 1\nwrong = true", "wrong: found true"),
        ("refer = 1\nwrong = 1\n[of.embolsim]\nangina = 1", "'embolsim'.*mean 'embolism'"),
        ("refer = 1\nwrong = 1\n[of.embolism]\nflu = 1", "'flu' is not known. Known here"),
        ("refer = 1\nwrong = 1\nembolism = 1", "embolism: unknown key"),
        ("refer = ", "costs: is not TOML"),
    ],
)
def test_a_bad_file_is_told_how_to_mend(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CardError, match=said):
        load(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"none\.toml: costs: cannot be read"):
        costs.load(tmp_path / "none.toml", CLASSES)


def test_a_class_that_would_read_as_a_referral_is_refused(tmp_path: Path) -> None:
    (tmp_path / "costs.toml").write_text("refer = 1\nwrong = 5")
    with pytest.raises(CardError, match="Rename it on the card"):
        costs.load(tmp_path / "costs.toml", ("ill", "refer"))


def test_a_dear_mistake_is_avoided_where_the_likeliest_diagnosis_makes_it(tmp_path: Path) -> None:
    stated = load(tmp_path, FILE)
    prob = np.array([[0.02, 0.0, 0.98], [0.001, 0.0, 0.999], [0.95, 0.05, 0.0], [0.4, 0.6, 0.0]])
    decision = costs.decide(stated, prob)
    np.testing.assert_array_equal(decision.decided, [-1, 2, 0, -1])
    np.testing.assert_allclose(decision.cost, [1, 0.1, 0.725, 1])


def test_what_was_paid_is_triages_mean_cost_with_paired_intervals(tmp_path: Path) -> None:
    stated, rng = load(tmp_path, FILE), np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(3), 500)
    label = (rng.random(500)[:, None] > prob.cumsum(axis=1)[:, :-1]).sum(axis=1)
    paid = costs.scored(stated, prob, label, np.arange(500))
    decided = costs.decide(stated, prob).decided
    assert paid["cheapest"].value == triage.mean_cost(decided, label, stated.cost, stated.refer)
    everyone = triage.mean_cost(prob.argmax(axis=1), label, stated.cost, stated.refer)
    assert paid["likeliest"].value == everyone
    assert paid["difference"].low > 0
    none = costs.scored(stated, prob[:0], label[:0], np.arange(0))
    assert all(np.isnan(value) for one in none.values() for value in one)


def test_json_counts_each_decision(tmp_path: Path) -> None:
    stated = load(tmp_path, FILE)
    decision = costs.Decision(np.array([-1, 0, 2, -1]), np.ones(4))
    unknown = metrics.Estimate(np.nan, np.nan, np.nan)
    found = costs.as_json(stated, decision, {"cheapest": unknown}, CLASSES)
    counts = {one["decision"]: one["records"] for one in found["decisions"]}
    assert counts == {"embolism": 1, "angina": 0, "healthy": 1, "refer": 2}
    assert found["of"]["embolism"] == {"embolism": 0.5, "angina": 5, "healthy": 100}
    assert found["paid"]["cheapest"] == {"value": None, "low": None, "high": None}
