"""The comparison of fusions: its statistics by hand, and a small one from records to page."""

import re
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from benchmarks import fusion_variants as runner
from benchmarks.variants import cells, heads, page, published, scores, summary
from benchmarks.variants.features import Data, Rows, read
from benchmarks.variants.heads import Budget, Cost, Hyper, Outcome
from benchmarks.variants.scores import Gap, Scored
from experiments.progress import reporter
from fusionjax import calibrate, metrics
from fusionjax.fusion.log_linear import log_linear
from fusionjax.fusion.variants import Variant
from fusionjax.types import Features, Fusion

BUDGET = Budget(trials=2, steps=60, batch_size=32, evaluations=3)
COST = Cost(12, 3.0, 0.5, 1.5, 0.1, 400.0)


def data(seeds: int = 2, records: int = 120) -> Data:
    """Two modalities that both know the label; some of them missing."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=records)
    presence = rng.random((records, 2)) < 0.9
    features = []
    for _ in range(2):
        shift = (2 * label - 1)[None, :, None]
        vector = shift + rng.normal(size=(seeds, records, 3))
        vector[:, :, 0] = 1
        one = vector[:, :, None, 1:], np.ones((seeds, records, 1), bool)
        features.append(Features(*(np.asarray(a) for a in (vector.astype(np.float32), *one))))
    parts = np.split(rng.permutation(records), [records // 2, 3 * records // 4])
    rows = [Rows(np.tile(p, (seeds, 1)), np.ones((seeds, len(p)), bool)) for p in parts]
    return Data(
        "toy",
        ("film", "note"),
        ("no", "yes"),
        tuple(features),
        presence,
        label,
        np.arange(records) // 2,
        np.full((seeds, 2), -np.log(2), np.float32),
        *rows,
        "toy",
    )


def scored(loss: np.ndarray, validation: list[float]) -> Scored:
    """Losses [seed, record] for every metric."""
    return Scored(
        np.asarray(validation),
        np.zeros((len(loss), 1, 1, 2)),
        np.ones(len(loss)),
        np.repeat(loss[:, :, None], 3, axis=2),
        {"nll": loss.mean(axis=1, keepdims=True)},
    )


def test_holm_by_hand() -> None:
    """.01·3, then .03·2, then max(.06, .04·1)."""
    np.testing.assert_allclose(scores.holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(scores.holm(np.array([0.6, 0.7])), [1.0, 1.0])


def test_aurc_by_hand() -> None:
    """By confidence right, wrong, right: errors 0, 1/2, 1/3 of the surest 1, 2, 3."""
    prob = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_allclose(scores.aurc(prob, np.array([0, 0, 0])), (0 + 1 / 2 + 1 / 3) / 3)


def test_the_mean_and_the_interval_are_of_one_loss() -> None:
    """A record that was given a probability of e^-700 costs 36 nats in both, as in the metrics."""
    toy = data(1, 40)
    label = toy.label[toy.test.index[0]]
    plain = np.tile(np.log([0.3, 0.7]), (1, 10, 1))
    shown = plain[:, None].copy()
    shown[0, 0, 0] = np.where(np.arange(2) == label[0], -700, 0)
    outcome = Outcome(plain, shown, Hyper(*np.ones((3, 1))), np.ones((1, 1)), COST)
    found = scores.score(outcome, toy)
    assert found.test[0, 0, 0, label[0]] < -50
    in_metrics = metrics.nll(np.exp(found.test[0, 0]), label)
    np.testing.assert_allclose(found.values["nll"][0, 0], in_metrics)
    np.testing.assert_allclose(np.nanmean(found.losses[:, :, 0]), in_metrics)


def test_few_records_that_are_all_right_do_not_sharpen_without_end() -> None:
    toy = data(1, 40)
    label = toy.label[toy.validation.index[0]]
    right = np.log(np.where(np.arange(2) == label[:, None], 0.9, 0.1))[None]
    shown = np.tile(np.log([0.9, 0.1]), (1, 1, 10, 1))
    outcome = Outcome(right, shown, Hyper(*np.ones((3, 1))), np.ones((1, 1)), COST)
    assert 1 < scores.score(outcome, toy).scale[0] < 4
    likeliest = calibrate.temperature(right[0], label, np.array([0.5, 0.5]))
    assert likeliest > 15


def test_paired_test_holds_its_level_and_needs_the_patients() -> None:
    """Two records a patient that move together: taking them as independent rejects too often."""
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(40), 2)
    p = np.array(
        [
            [scores.gap(d[None], np.zeros((1, 80)), g).p for g in (patient, np.arange(80))]
            for d in np.repeat(rng.normal(size=(200, 40)), 2, axis=1)
        ]
    )
    rejected = (p < 0.05).mean(axis=0)
    assert 0.02 < rejected[0] < 0.1
    assert rejected[1] > 0.12


def test_gap_of_the_same_contender_is_nothing_and_of_a_better_one_is_found() -> None:
    loss = np.random.default_rng(0).random((2, 60))
    group = np.arange(60)
    same = scores.gap(loss, loss, group)
    assert (same.value, same.p) == (0.0, 1.0)
    noise = np.random.default_rng(1).normal(size=(2, 60)) / 10
    worse = scores.gap(loss + 0.1 + noise, loss, group)
    assert worse.low < 0.1 < worse.high
    assert worse.p < 1e-3


def test_cliques_join_those_that_do_not_differ() -> None:
    """Two alike, one far away."""
    rng = np.random.default_rng(0)
    base = rng.random((1, 200))
    each = {
        "a": scored(base, [0]),
        "b": scored(base + rng.normal(size=(1, 200)) / 10, [0]),
        "c": scored(base + 1, [0]),
    }
    assert scores.cliques(["a", "b", "c"], each, 0, np.arange(200)) == [(0, 1)]
    assert list(scores.ranks(each, 0).values())[2] == 3


def test_validation_chooses_in_each_seed_and_the_test_does_not() -> None:
    losses = np.stack([np.zeros(4), np.ones(4)])
    each = {"a": scored(losses, [0.2, 0.5]), "b": scored(1 - losses, [0.3, 0.1])}
    found, picks = scores.chosen(each, ["a", "b"])
    assert picks == ["a", "b"]
    np.testing.assert_array_equal(found.losses[:, :, 0], [losses[0], 1 - losses[1]])


@pytest.mark.parametrize(
    ("value", "p", "said"),
    [(0.1, 0.01, "worse"), (-0.1, 0.01, "better"), (-0.1, 0.05, "no difference")],
)
def test_only_who_loses_more_is_worse(value: float, p: float, said: str) -> None:
    assert summary.verdict(Gap(value, value - 0.05, value + 0.05, p), p) == said
    assert summary.verdict(None, 1.0) == "best"


def test_a_choice_that_beats_the_best_variant_is_called_better() -> None:
    """Each of two is right in one of two seeds, and validation knows which."""
    toy, noise = data(), np.random.default_rng(0).normal(size=(2, 120)) / 10
    good, bad = np.full(120, 0.1), np.full(120, 2.0)
    each = {
        "log-linear": scored(noise + np.stack([good, bad]), [0, 1]),
        "sum": scored(noise + np.stack([bad, good]), [1, 0]),
    }
    said = np.full((*toy.test.there.shape, 2), np.log(0.5))[:, None]
    each = {name: one._replace(test=said) for name, one in each.items()}
    content = summary.summarise(toy, ["as they are"], {}, each, "nll")
    first = content["rows"][0]
    assert (first["name"], first["verdict"]) == ("chosen by validation", "better")
    assert first["differs"]


def test_every_trial_and_seed_is_trained_by_one_program() -> None:
    traces = []

    def build(bias: Array, modalities: int) -> Fusion:
        traces.append(bias)
        return log_linear(bias)

    few, more = (traces_of(build, traces, seeds, trials) for seeds, trials in ((1, 1), (2, 3)))
    assert few == more


def traces_of(build, traces: list, seeds: int, trials: int) -> int:
    traces.clear()
    toy, budget = data(seeds), replace(BUDGET, trials=trials, steps=3)
    heads.run(Variant("toy", "toy", build), toy, runner.scenarios(toy)[1], budget)
    return len(traces)


def test_cells_are_read_as_written(tmp_path: Path) -> None:
    outcome = Outcome(
        np.zeros((2, 3, 2)),
        np.ones((2, 1, 4, 2)),
        Hyper(*np.ones((3, 2))),
        np.ones((2, 5)),
        COST,
    )
    path = cells.place(tmp_path / "cells", "log-linear", "digest", BUDGET)
    assert path != cells.place(tmp_path / "cells", "log-linear", "digest", replace(BUDGET, steps=1))
    assert path != cells.place(tmp_path / "cells", "log-linear", "another", BUDGET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "__version__", "another")
        assert path != cells.place(tmp_path / "cells", "log-linear", "digest", BUDGET)
    cells.write(path, outcome)
    found = cells.read(path)
    assert found.cost == outcome.cost
    for one, other in zip(found[:2], outcome[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_comparison_from_features_to_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = data()
    config = runner.Config(out=tmp_path, budget=BUDGET, only=("log-linear", "gradient boosting"))
    names, shown = runner.scenarios(toy)
    assert names[:3] == ["as they are", "without film", "film alone"]
    with reporter() as progress:
        first = runner.contend(config, toy, shown, progress)
        monkeypatch.setattr(cells, "write", lambda *_: pytest.fail("computed again"))
        outcomes = runner.contend(config, toy, shown, progress)
    assert list(outcomes) == [
        *("film alone", "note alone", "log-linear", "logistic regression", "gradient boosting")
    ]
    np.testing.assert_array_equal(first["log-linear"].test, outcomes["log-linear"].test)
    each = {name: scores.score(outcome, toy) for name, outcome in outcomes.items()}
    content = summary.summarise(toy, names, outcomes, each, "nll")
    row = {row["name"]: row for row in content["rows"]}
    assert row["log-linear"]["means"]["accuracy"] > 0.85
    assert row["log-linear"]["means"]["nll"] < row["film alone"]["means"]["nll"]
    assert row["log-linear"]["cost"]["parameters"] == 12
    assert row["log-linear"]["cost"]["peak_bytes"] > 0
    assert row["gradient boosting"]["cost"]["peak_bytes"] is None
    assert row["gradient boosting"]["cost"]["flops"] is None
    assert row["chosen by validation"]["means"] == row["log-linear"]["means"]
    line = runner.told({**content, "provenance": {"seconds": 1.0}})
    assert line["chosen_by_validation"] == row["log-linear"]["means"]
    table = summary.tidy(each, names)
    assert len(table) == len(outcomes) * 2 * len(names) * len(scores.METRICS)
    html = page.render({**content, "data": "<toy>", "config": {}, "provenance": {}})
    assert "&lt;toy&gt;" in html
    assert html.count("no difference") >= len(content["no_difference_from_best"])
    assert html.count("<svg") == 5
    assert "not by our protocol" not in html
    others = {"published": published.on("rosmap"), "config": {}, "provenance": {}}
    apart = page.render({**content, **others}).split("not by our protocol")[1]
    assert re.search(r"MOGONET.*AUROC.*\n.*0\.874", apart)


def test_an_unknown_contender_is_refused_by_name() -> None:
    config, toy = runner.Config(only=("log-lineer",)), data()
    with pytest.raises(SystemExit, match="log-lineer"):
        runner.contenders(config, list(runner.fits(config, toy)), toy.modalities)


@pytest.mark.slow
def test_padded_seeds_see_no_padding() -> None:
    """Predictions do not depend on how far the rows of a split were padded."""
    toy = data(1)
    padded = toy._replace(
        train=Rows(
            np.pad(toy.train.index, ((0, 0), (0, 9))), np.pad(toy.train.there, ((0, 0), (0, 9)))
        )
    )
    shown = np.ones((1, *toy.presence.shape), bool)
    variant = Variant("toy", "toy", lambda bias, modalities: log_linear(bias))
    plain, other = (heads.run(variant, one, shown, BUDGET) for one in (toy, padded))
    np.testing.assert_allclose(plain.test, other.test, atol=1e-5)


@pytest.mark.slow
def test_features_of_a_card_are_kept_and_differ_by_seed(tmp_path: Path) -> None:
    card = runner.clinic(tmp_path / "clinic", 80)
    found = read(card, tmp_path / "cache", 2, "linear", 8)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("features-*")}
    again = read(card, tmp_path / "cache", 2, "linear", 8)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("features-*")} == kept
    assert found.digest == again.digest
    assert found.digest != read(card, tmp_path / "cache", 2, "linear", 9).digest
    assert not np.array_equal(found.test.index[0], found.test.index[1])
    for one in found.features:
        assert np.isfinite(one.vector).all()
        assert (one.vector[:, :, 0] == 1).all()
    assert set(found.train.index[0]).isdisjoint(found.test.index[0])
    assert jnp.isfinite(found.bias).all()
