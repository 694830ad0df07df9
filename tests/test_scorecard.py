"""The values of metrics.json: they are JSON, they add up, and equal what they were made from."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from fusionjax import compare, conformal, scorecard
from fusionjax.compare import Contender
from fusionjax.fitting import log_probs
from fusionjax.metrics import Estimate
from fusionjax.posterior import Certificate
from fusionjax.study import ordered
from fusionjax.triage import Triage
from tests.small_study import CONFIG, Small


@pytest.fixture
def presence(small: Small) -> np.ndarray:
    """Of every record."""
    everyone = np.arange(len(small.study.label))
    parts = [np.asarray(b.presence) for b in ordered(small.study, everyone)]
    return np.concatenate(parts)[: len(everyone)]


def strict(value: object) -> str:
    """JSON, which knows neither NaN nor NumPy."""
    return json.dumps(value, allow_nan=False)


def test_the_task_counts_records_and_patients(small: Small, presence: np.ndarray) -> None:
    got = scorecard.task(small.study, small.fitted.model, presence)
    strict(got)
    counts = got["records"]
    assert counts["kept"] == 180
    assert counts["train"] + counts["validation"] + counts["test"] == 180
    assert counts["unlabelled"] == 0
    assert got["test_patients"] == counts["test"] / 2
    assert sum(got["prior"]) == pytest.approx(1)
    assert [m["encoder"] for m in got["modalities"]] == ["bag", "mlp"]
    assert [m["present"] for m in got["modalities"]] == pytest.approx(presence.mean(axis=0))


def test_models_are_scored_as_scikit_learn_does_and_held_against_the_first(small: Small) -> None:
    study, rows = small.study, small.study.split.test
    label, group = study.label[rows], study.group[rows]
    best = compare.fusion(small.fitted, study, rows)
    flat = Contender("flat", "baseline", np.full((len(rows), 3), -np.log(3)), "a note")
    first, second = scorecard.models((best, flat), label, group, 0)
    strict([first, second])
    assert "difference" not in first
    assert (second["name"], second["role"], second["note"]) == ("flat", "baseline", "a note")
    prob = np.exp(best.log_prob.astype(float))
    prob /= prob.sum(axis=1, keepdims=True)
    nll = log_loss(label, prob)
    assert first["metrics"]["nll"]["value"] == pytest.approx(nll, rel=1e-5)
    right = accuracy_score(label, prob.argmax(axis=1))
    assert first["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert second["difference"]["nll"]["value"] == pytest.approx(np.log(3) - nll, rel=1e-5)
    assert set(second["difference"]) == set(scorecard.COMPARED)


def test_patterns_hide_what_they_say_they_hide(small: Small, presence: np.ndarray) -> None:
    study, model, rows = small.study, small.fitted.model, small.study.split.test
    found = scorecard.by_pattern(model, study, rows, presence[rows], 0)
    strict(found)
    assert [one["present"] for one in found] == [["note", "labs"], ["note"], ["labs"]]
    has = presence[rows]
    assert [one["records"] for one in found] == [has.all(axis=1).sum(), *has.sum(axis=0)]
    alone = [(has == pattern).all(axis=1).sum() for pattern in ([1, 1], [1, 0], [0, 1])]
    assert [one["natural"] for one in found] == alone
    able = rows[has[:, 1]]
    log_prob = log_probs(model, study, able, np.array([False, True]))
    nll = -log_prob[np.arange(len(able)), study.label[able]].mean()
    assert found[2]["metrics"]["nll"]["value"] == pytest.approx(nll, rel=1e-5)


def test_a_pattern_that_nobody_has_is_left_out(small: Small) -> None:
    study, rows = small.study, small.study.split.test
    only = np.tile([True, False], (len(rows), 1))
    found = scorecard.by_pattern(small.fitted.model, study, rows, only, 0)
    assert [one["present"] for one in found] == [["note"]]


def test_many_modalities_show_only_the_patterns_that_occur() -> None:
    presence = np.zeros((3, 6), bool)
    presence[0, 0] = presence[1, :3] = True
    got = {tuple(row) for row in scorecard._shown(presence).tolist()}
    assert got == {tuple(row) for row in presence[:2].tolist()}


def test_the_posterior_is_told_with_its_certificate(small: Small) -> None:
    got = scorecard.posterior(small.fitted.model)
    strict(got)
    assert set(Certificate._fields) < set(got)
    tau = np.asarray(small.fitted.model.tau)
    for i, scale in enumerate(got["scales"]):
        assert scale["low"] <= scale["value"] <= scale["high"]
        assert scale["value"] == pytest.approx(tau[:, i].mean(), rel=1e-5)


def test_each_modalitys_worth_is_that_of_the_records_as_they_were(small: Small) -> None:
    """Not of rows under dropout: the evidence of no modality is that of the labels alone."""
    study, fitted = small.study, small.fitted
    got = scorecard.worth(fitted, study, replace(CONFIG, worth=True))
    assert got is not None
    strict(got)
    assert got["records"] == len(study.split.train)
    assert [one["modality"] for one in got["worth"]] == ["note", "labs"]
    nothing = next(one for one in got["subsets"] if not one["modalities"])
    bias = np.asarray(fitted.model.bias, float)
    exact = float(np.sum(bias[study.label[study.split.train]] - np.log(np.exp(bias).sum())))
    assert nothing["log_evidence"]["value"] == pytest.approx(exact, rel=1e-5)
    assert scorecard.worth(fitted, study, CONFIG) is None


def test_history_is_that_of_the_first_fold(small: Small) -> None:
    got = scorecard.history(small.fitted)
    assert got is not None
    strict(got)
    training = small.fitted.folds[0].training
    assert training is not None
    assert got["validation"] == training.validation_nll.tolist()
    assert got["step"] == [4, 8]
    untrained = small.fitted._replace(folds=(small.fitted.folds[0]._replace(training=None),))
    assert scorecard.history(untrained) is None


def test_an_undefined_estimate_is_null() -> None:
    got = scorecard.plain(Estimate(0.5, np.nan, np.inf))
    assert got == {"value": 0.5, "low": None, "high": None}


def test_the_reliability_diagram_counts_every_record() -> None:
    prob = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    got = scorecard.reliability(prob, np.array([0, 1, 1]))
    strict(got)
    assert sum(got["count"]) == 3


def test_calibration_is_told_by_pattern_and_modality(small: Small) -> None:
    got, model = scorecard.calibration(small.fitted.model), small.fitted.model
    strict(got)
    assert got["name"] in {trial["name"] for trial in got["trials"]}
    assert [one["present"] for one in got["patterns"]] == [["note", "labs"], ["note"], ["labs"]]
    for i, one in enumerate(got["patterns"]):
        assert one["records"] >= one["natural"] > 0
        assert one["scale"]["low"] <= one["scale"]["value"] <= one["scale"]["high"]
        assert one["scale"]["value"] == pytest.approx(model.calibration.scale[:, i].mean())
    for one in got["shift"]:
        total = sum(nats["value"] for nats in one["nats"].values())
        assert total == pytest.approx(0, abs=1e-5)


def test_a_pattern_without_a_promise_of_its_own_is_not_told_as_pooled(small: Small) -> None:
    limits = conformal.Limits(
        0.9,
        {"11": 0.5, "10": 0.6, "01": 0.7},
        0.5,
        {"11": 60, "10": 55, "01": 9},
        pooled=(),
        marginal=("01",),
        helped=("10",),
    )
    got = scorecard.calibration(small.fitted.model._replace(limits=limits))["patterns"]
    told = {"".join(one["present"]): one for one in got}
    assert [told[name]["pooled"] for name in ("notelabs", "note", "labs")] == [False] * 3
    assert [told[name]["marginal"] for name in ("notelabs", "note", "labs")] == [False, False, True]
    assert [told[name]["helped"] for name in ("notelabs", "note", "labs")] == [False, True, False]


def test_advice_is_counted_by_action() -> None:
    given = Triage(np.array([0, 0, 3, 2]), np.array([-1, -1, -1, 1]))
    got = scorecard.advice(given, np.array([0, 1, 1, 0]), np.array([0, 0, -1, 0]))
    assert [row["records"] for row in got] == [2, 0, 1, 1]
    assert [row["accuracy"] for row in got] == [0.5, None, 1.0, None]
    strict(got)
