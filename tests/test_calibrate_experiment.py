"""experiments.calibrate: from any model's CSV to calibrated predictions and a page."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from experiments import calibrate
from fusionjax import evaluation
from fusionjax.errors import FusionError, ModelError, RecordError
from fusionjax.report import calibration as page
from tests.test_metrics import softmax

CLASSES = ("flu", "heart", "=well")
NAMES = ("none", "temperature", "platt")


def table(n, seed=0, sharpen=2.0):
    """Overconfident predictions with patients of two records, sites, patterns and a subgroup."""
    rng = np.random.default_rng(seed)
    score = 1.2 * rng.normal(size=(n, 3))
    true, said = softmax(score), softmax(sharpen * score)
    label = (rng.random(n)[:, None] > true.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "label": np.array(CLASSES, object)[label],
            "group": [f"p{i // 2}" for i in range(n)],
            "site": rng.choice(["north", "<b>south</b>"], n),
            "pattern": rng.choice(["image+note", "note"], n, p=[0.7, 0.3]),
            "sex": rng.choice(["f", "m"], n),
            **{f"p_{c}": said[:, k] for k, c in enumerate(CLASSES)},
        }
    )


def config(folder, frame, **options):
    path = folder / "given.csv"
    frame.to_csv(path, index=False)
    given = {"subgroups": ("sex",), "calibrators": NAMES} | options
    return calibrate.Config(path, folder / "run", **given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    frame = table(1200)
    frame.loc[0, "id"] = "=cmd()"
    frame.loc[3, "label"] = ""
    given = config(folder, frame)
    return given, frame, calibrate.run(given)


def test_a_run_leaves_every_file(whole):
    given, *_ = whole
    names = {path.relative_to(given.out).as_posix() for path in given.out.rglob("*.*")}
    drawn = {"metrics", "reliability", "risk_coverage", "strata", "choice", "net_benefit"}
    assert names == {
        *("predictions.csv", "calibrator.json", "metrics.json", "config.json", "report.html"),
        *(f"drawn/{name}.csv" for name in drawn),
    }


def test_calibration_is_found_and_measured_on_test_patients(whole):
    _, _, found = whole
    before, after = (found["metrics"][side] for side in ("before", "after"))
    assert found["calibrator"]["name"] in ("temperature", "platt")
    assert before["ece"]["value"] > 0.08
    assert abs(after["ece"]["value"]) < 0.05
    assert found["metrics"]["difference"]["nll"]["high"] < 0
    kept = found["task"]["records"]
    assert kept["validation"] + kept["test"] + kept["unlabelled"] == kept["kept"] == 1200
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_calibrated_predictions_are_safe_and_probabilities(whole):
    given, frame, found = whole
    with (given.out / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert not any(cell.startswith(("=", "+", "@", "-")) for row in rows for cell in row)
    got = pd.DataFrame(rows, columns=header)
    assert got["id"].tolist() == ["'=cmd()", *frame["id"][1:]]
    prob = got[[f"p_{c}" for c in CLASSES]].astype(float).to_numpy()
    np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-5)
    sides = got.groupby("group")["split"].nunique()
    assert (sides == 1).all(), "a patient is on both sides"
    names = np.array(["flu", "heart", "'=well"])
    np.testing.assert_array_equal(got["prediction"], names[prob.argmax(axis=1)])
    test = (got["split"] == "test") & (got["label"] != "")
    held = [
        label.removeprefix("'") in cell.removeprefix("'").split(";")
        for label, cell in zip(got["label"][test], got["prediction_set"][test], strict=True)
    ]
    overall = found["strata"][0]
    assert np.mean(held) == pytest.approx(overall["coverage"]["covered"])
    assert overall["records"] == test.sum()


def test_what_validation_did_not_see_stays_out_of_it(whole, tmp_path, monkeypatch):
    """Test labels choose nothing: shuffled, they leave the calibrator as it was."""
    monkeypatch.setattr(evaluation, "MOST", 10)
    given, frame, _ = whole
    splits = pd.read_csv(given.out / "predictions.csv")["split"]
    rng = np.random.default_rng(1)
    frame = frame.assign(split=splits)
    test = frame.index[frame["split"] == "test"]
    frame.loc[test, "label"] = rng.permutation(frame.loc[test, "label"].to_numpy())
    again = config(tmp_path, frame)
    calibrate.run(again)
    same = [json.loads((c.out / "calibrator.json").read_text()) for c in (given, again)]
    assert same[0] == same[1]


def test_strata_are_shown_with_coverage_and_warnings(whole):
    found = whole[2]
    columns = [row["column"] for row in found["strata"]]
    assert columns == ["all records", "site", "site", "pattern", "pattern", "sex", "sex"]
    assert (
        sum(r["records"] for r in found["strata"] if r["column"] == "pattern")
        == (found["strata"][0]["records"])
    )
    for row in found["strata"]:
        band = row["coverage"]
        if row["column"] == "pattern":
            assert band["low"] < 0.9 < band["high"]
        else:
            assert band["covered"] > 0.8
            assert band["low"] is band["high"] is None, "a mixture of two laws has no band"
    assert found["sets"]["within"] == "pattern"


@pytest.mark.parametrize("most", [10, evaluation.MOST])
def test_a_column_of_too_many_values_is_cut_and_said_to_be(tmp_path, monkeypatch, most):
    monkeypatch.setattr(evaluation, "MOST", most)
    monkeypatch.setattr(evaluation, "MOST_STRATA", 4)
    frame = table(400)
    frame = frame.assign(age=[str(i) for i in range(400)])
    found = calibrate.run(config(tmp_path, frame, subgroups=("age", "sex")))
    rows = [row["column"] for row in found["strata"]]
    assert (rows.count("age"), rows.count("sex"), rows.count("site")) == (4, 2, 2)
    assert found["strata_left_out"] == {"age": found["task"]["records"]["test"] - 4}
    assert "not shown by age" in page.summary(found)
    assert "not shown by age" in (tmp_path / "run" / "report.html").read_text()


def test_a_stream_warns_as_memory_does_and_that_it_is_rough(tmp_path, monkeypatch):
    frame = table(300)
    frame.loc[frame["site"] == "north", "label"] = "flu"
    exact = calibrate.run(config(tmp_path, frame))
    monkeypatch.setattr(evaluation, "MOST", 10)
    streamed = calibrate.run(config(tmp_path, frame))
    warned = [
        {(r["column"], r["name"]): r["warning"] for r in c["strata"]} for c in (exact, streamed)
    ]
    assert (
        warned[0]["site", "north"]
        == warned[1]["site", "north"]
        == ("one class only: nothing can be ranked")
    )
    assert warned[0]["all records", ""] == ""
    assert "rough" in warned[1]["all records", ""]


def test_a_streamed_band_is_not_of_no_width_where_all_are_right():
    label = np.zeros(200, int)
    prob = np.tile([0.9, 0.1], (200, 1))
    sums = evaluation.streaming.collect(prob, label, np.arange(200) % 50)
    tally = evaluation.Tally(
        sums, {evaluation.OVERALL: sums}, {evaluation.OVERALL: np.zeros(3)}, {}
    )
    curve = evaluation.streamed(tally, None, "")["reliability"]["after"]
    assert curve["accuracy"] == [1.0]
    assert 0.97 < curve["low"][0] < 0.99


def test_the_streamed_run_is_the_exact_one(whole, tmp_path, monkeypatch):
    given, frame, exact = whole
    monkeypatch.setattr(evaluation, "MOST", 10)
    monkeypatch.setattr("fusionjax.predictions.read.BLOCK_BYTES", 20_000)
    streamed = calibrate.run(config(tmp_path, frame))
    one, other = ((c.out / "predictions.csv").read_text() for c in (given, config(tmp_path, frame)))
    assert one == other
    for side in ("before", "after"):
        for name in ("accuracy", "nll", "brier", "balanced_accuracy"):
            values = [run["metrics"][side][name]["value"] for run in (exact, streamed)]
            assert values[0] == pytest.approx(values[1], rel=1e-9), name
        for name in ("auroc", "aurc"):
            values = [run["metrics"][side][name]["value"] for run in (exact, streamed)]
            assert values[0] == pytest.approx(values[1], abs=3e-3), name
    pairs = zip(
        sorted(exact["strata"], key=lambda r: (r["column"], r["name"])),
        sorted(streamed["strata"], key=lambda r: (r["column"], r["name"])),
        strict=True,
    )
    for a, b in pairs:
        assert (a["name"], a["records"]) == (b["name"], b["records"])
        assert a["coverage"] == pytest.approx(b["coverage"])
    assert "nll" in page.summary(streamed).lower()


class Parsed(HTMLParser):
    """Tags, ids and images of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.images, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        if attrs.get("role") == "img":
            self.images.append(attrs.get("aria-label", ""))


def test_the_page_is_whole_self_contained_and_says_its_figures_in_words(whole):
    text = (whole[0].out / "report.html").read_text()
    parsed = Parsed(text)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert all(parsed.images)
    assert any("Reliability diagram" in label for label in parsed.images)
    assert any("surest half" in label for label in parsed.images)
    assert not {"script", "img", "link", "iframe"} & set(parsed.tags)
    assert not re.search(r"""(src|href)=["'](?!#)""", text)
    assert "&lt;b&gt;south" in text
    assert "<b>south" not in text
    for heading in ("Before and after", "keep their promise", "Calibrated, by pattern"):
        assert heading in text


def test_every_number_drawn_is_in_a_table(whole):
    given, _, found = whole
    curve = pd.read_csv(given.out / "drawn" / "reliability.csv")
    drawn = curve[curve["records"] == "after"]["accuracy"].tolist()
    assert drawn == pytest.approx(found["reliability"]["after"]["accuracy"])
    metrics = pd.read_csv(given.out / "drawn" / "metrics.csv").set_index(["records", "metric"])
    assert metrics.loc[("after", "nll"), "value"] == pytest.approx(
        found["metrics"]["after"]["nll"]["value"]
    )
    assert len(pd.read_csv(given.out / "drawn" / "strata.csv")) == len(found["strata"])


def test_too_few_validation_records_promise_no_sets(tmp_path):
    frame = table(60).assign(split=["validation"] * 6 + ["test"] * 54)
    found = calibrate.run(config(tmp_path, frame))
    assert not found["sets"]["promised"]
    assert found["calibrator"]["name"] == "none"
    text = (tmp_path / "run" / "report.html").read_text()
    assert "cannot be promised" in text
    written = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert written["prediction_set"].isna().all()


def test_one_class_and_certain_predictions_are_handled(tmp_path):
    frame = table(80).assign(label="flu")
    frame.loc[:, [f"p_{c}" for c in CLASSES]] = [1.0, 0.0, 0.0]
    found = calibrate.run(config(tmp_path, frame))
    assert found["metrics"]["after"]["auroc"]["value"] is None
    assert found["metrics"]["after"]["nll"]["value"] >= 0


@pytest.mark.parametrize("sets", ["aps", "raps"])
def test_adaptive_sets_cover_too(tmp_path, monkeypatch, sets):
    monkeypatch.setattr(evaluation, "MOST", 10)
    found = calibrate.run(config(tmp_path, table(2000, seed=3), sets=sets, within="everyone"))
    overall = found["strata"][0]["coverage"]
    assert overall["low"] - 0.01 < overall["covered"] < overall["high"] + 0.03
    assert found["sets"]["within"] == "everyone"


@pytest.mark.parametrize("most", [10, evaluation.MOST])
def test_those_who_have_each_class_are_covered_if_asked(tmp_path, monkeypatch, most):
    """The model underrates hearts, so that one limit for all leaves more of them out."""
    monkeypatch.setattr(evaluation, "MOST", most)
    frame, columns = table(2000, seed=4), [f"p_{c}" for c in CLASSES]
    frame["p_heart"] *= 0.2
    frame[columns] = frame[columns].div(frame[columns].sum(axis=1), axis=0)
    shares = {}
    for within in ("everyone", "label"):
        given = config(tmp_path, frame, within=within, subgroups=("label",), calibrators=("none",))
        found = calibrate.run(given)
        rows = {r["name"]: r["coverage"] for r in found["strata"] if r["column"] == "label"}
        shares[within] = {name: row["covered"] for name, row in rows.items()}
    assert shares["everyone"]["heart"] < 0.85
    for row in rows.values():
        assert row["low"] - 0.02 < row["covered"]
    assert "whichever class they have" in (given.out / "report.html").read_text()
    new = config(
        tmp_path, frame.drop(columns="label").iloc[:50], calibrator=given.out, subgroups=()
    )
    calibrate.run(new)
    assert pd.read_csv(new.out / "predictions.csv")["prediction_set"].notna().all()


def test_a_class_too_rare_for_a_promise_leaves_all_without_sets(tmp_path):
    frame = table(300)
    rare = frame.index[frame["label"] == "heart"][8:]
    found = calibrate.run(config(tmp_path, frame.drop(index=rare), within="label"))
    assert not found["sets"]["promised"]
    assert "validation records of each class" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("frame", "options", "says"),
    [
        (table(20).assign(split="test"), {}, "left for validation"),
        (table(20).assign(label=""), {}, "left for validation"),
        (table(20), {"prior": (0.5, 0.5)}, "3 positive"),
        (table(20), {"prior": (np.nan, np.nan, np.nan)}, "3 positive"),
        *((table(20), {"coverage": c}, "between 0 and 1") for c in (0.0, 1.0, 1.5, np.nan)),
        (table(20), {"calibrators": ("nope",)}, "no 'nope'. Choose from none, temperature"),
        (table(20), {"calibrators": ()}, "none is given"),
        (table(20), {"seed": -1}, "0 or a positive"),
        (table(20), {"subgroups": ("group",)}, "no subgroup"),
        (table(20), {"subgroups": ("age",)}, "no such column"),
        (table(20).drop(columns="site"), {"within": "site"}, "no such column"),
        (pd.concat([table(20), table(3)]), {}, "same id"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, frame, options, says):
    with pytest.raises((RecordError, FusionError), match=says):
        calibrate.run(config(tmp_path, frame, **options))
    assert not (tmp_path / "run" / "predictions.csv").exists()


def test_a_calibrator_is_applied_to_new_predictions(whole, tmp_path):
    """Classes in another order, no split; as if the records had been in the first file."""
    given, frame, content = whole
    old = pd.read_csv(given.out / "predictions.csv", dtype={"id": str}).set_index("id")
    columns = [name for name in frame if not name.startswith("p_")]
    moved = frame[[*columns, *(f"p_{name}" for name in reversed(CLASSES))]].iloc[5:205]
    new = config(tmp_path, moved, calibrator=given.out)
    found = calibrate.run(new)
    assert found["task"]["records"]["test"] == 200
    assert found["calibrator"] == {**content["calibrator"], "trials": []}
    got = pd.read_csv(new.out / "predictions.csv", dtype={"id": str}).set_index("id")
    same = old.loc[got.index]
    for name in CLASSES:
        np.testing.assert_allclose(got[f"p_{name}"], same[f"p_{name}"], rtol=1e-9)
    assert got["prediction_set"].tolist() == same["prediction_set"].tolist()
    assert (new.out / "report.html").is_file()


def test_new_predictions_need_no_label(whole, tmp_path, capsys):
    given, frame, _ = whole
    new = config(tmp_path, frame.drop(columns="label").iloc[:50], calibrator=given.out)
    found = calibrate.run(new)
    assert found["task"]["records"] | {"kept": 50, "test": 0} == found["task"]["records"]
    assert len(pd.read_csv(new.out / "predictions.csv")) == 50
    assert not (new.out / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.rename(columns={"p_flu": "p_cold"}), "other classes"),
        (lambda frame: frame.drop(columns="pattern"), "pattern"),
    ],
)
def test_new_predictions_that_do_not_fit_the_calibrator_are_refused(whole, tmp_path, change, said):
    given, frame, _ = whole
    with pytest.raises(RecordError, match=said):
        calibrate.run(config(tmp_path, change(frame.assign(label="")), calibrator=given.out))
    assert not (tmp_path / "run").exists()


def rivals(folder, frame):
    path = folder / "other.csv"
    frame.to_csv(path, index=False)
    return path


def test_two_models_are_compared_on_the_same_records(whole, tmp_path):
    """A shuffled file of worse predictions, classes in another order: worse by every metric."""
    _, frame, _ = whole
    prob = frame[[f"p_{c}" for c in CLASSES]].to_numpy()
    noise = np.random.default_rng(0).dirichlet(np.ones(3), len(frame))
    worse = pd.DataFrame(0.2 * prob + 0.8 * noise, columns=[f"p_{c}" for c in CLASSES])
    other = pd.concat([frame[["id", "label"]], worse[worse.columns[::-1]]], axis=1)
    path = rivals(tmp_path, other.sample(frac=1, random_state=0))
    found = calibrate.run(config(tmp_path, frame, against=path))
    gaps = found["against"]["difference"]
    assert gaps["accuracy"]["low"] > 0 > gaps["nll"]["high"]
    assert gaps["auroc"]["low"] > 0
    assert gaps["accuracy"]["p_value"] < 0.01
    for key, gap in gaps.items():
        own, their = (found["against"][side][key]["value"] for side in ("after", "other"))
        assert gap["value"] == pytest.approx(own - their)
    assert "Against other.csv" in (tmp_path / "run" / "report.html").read_text()
    assert len(pd.read_csv(tmp_path / "run" / "drawn" / "against.csv")) == len(gaps)


def test_two_classes_are_compared_by_delong_and_a_model_with_itself_is_no_different(tmp_path):
    frame = table(300).drop(columns="p_=well")
    frame = frame[frame["label"] != "=well"]
    columns = ["p_flu", "p_heart"]
    frame[columns] = frame[columns].div(frame[columns].sum(axis=1), axis=0)
    path = rivals(tmp_path, frame)
    given = config(tmp_path, frame, against=path, calibrators=("none",), within="everyone")
    gaps = calibrate.run(given)["against"]["difference"]
    assert gaps["auroc"] == {"value": 0, "low": 0, "high": 0, "p_value": 1}
    assert gaps["accuracy"] == {"value": 0, "low": 0, "high": 0, "p_value": 1}


@pytest.mark.parametrize(
    ("change", "most", "says"),
    [
        (lambda frame: frame.iloc[:90], 10**5, "no record with the id of row"),
        (lambda frame: frame.assign(label="flu"), 10**5, "column 'label': is another than in row"),
        (lambda frame: frame.drop(columns="label"), 10**5, "is another than in row"),
        (lambda frame: frame.rename(columns={"p_flu": "p_cold"}), 10**5, "other classes"),
        (lambda frame: pd.concat([frame, frame]), 10**5, "same id"),
        (lambda frame: frame, 10, "It compares 1 to 10"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, monkeypatch, change, most, says):
    monkeypatch.setattr(evaluation, "MOST", most)
    path = rivals(tmp_path, change(table(100)))
    with pytest.raises(FusionError, match=says):
        calibrate.run(config(tmp_path, table(100), against=path, calibrators=("none",)))
    assert not (tmp_path / "run" / "predictions.csv").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "none"}'])
def test_what_is_no_calibrator_is_refused(whole, tmp_path, text):
    _, frame, _ = whole
    (tmp_path / "calibrator.json").write_text(text)
    with pytest.raises(ModelError, match="not the calibrator"):
        calibrate.run(config(tmp_path, frame, calibrator=tmp_path))
