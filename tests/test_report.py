"""The report: whole, honest in words, safe against hostile names, and readable by everyone."""

import io
import json
import math
import re
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fusionjax import report
from fusionjax.errors import ModelError
from fusionjax.metrics import Estimate
from fusionjax.predictions import spreadsheet_safe
from fusionjax.report import console, ledgers, palette, words
from fusionjax.report import page as page_parts
from fusionjax.report.run import clean, read
from fusionjax.report.svg import fit
from fusionjax.report.tracks import MARGIN, WIDTH, tracks

CLASSES = ("no heart disease", "heart failure", "valve disease", "myocarditis")
MODALITIES = ("image", "note", "sound", "biomarkers")
KINDS = ("image", "text", "audio", "tabular")
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" 'name' & $x_1$ {{ 7*7 }}",
    "心力衰竭",
    "a very long name of a disease that nobody can pronounce, type II, variant b",
)
VOID = {"meta", "br", "hr", "img", "link", "input"}


# A run as experiments.diagnose leaves it.


def about(value, spread=0.02):
    return {"value": value, "low": value - spread, "high": value + spread}


def scores(accuracy):
    nll = 1.25 * (1 - accuracy) + 0.22
    return {
        "accuracy": about(accuracy, 0.04),
        "balanced_accuracy": about(accuracy - 0.03, 0.05),
        "auroc": about(0.5 + accuracy / 2 - 0.01),
        "nll": about(nll, 0.06),
        "brier": about(1.4 * (1 - accuracy)),
        "ece": about(0.03, 0.012),
    }


def model(name, role, accuracy, best=0.863):
    drop = best - accuracy
    difference = {
        "nll": about(1.25 * drop, 0.03),
        "auroc": about(-drop / 2, 0.012),
        "accuracy": about(-drop),
    }
    extra = {} if role == "fusion" else {"difference": difference}
    return {"name": name, "role": role, "metrics": scores(accuracy), "note": "", **extra}


ADDED = ((12.3, 8.1, 2.3), (-0.4, 0.2, 1.0), (5.0, -0.1, 0.5), (1.0, -6.0, 2.0), (4.0, -6.0, 2.0))


def worth(modality, nats, gain, se, ok=True, bad=0):
    return {
        "modality": modality,
        "log_bayes_factor": {"value": nats, "mcse": 0.02, "k_hat": 0.3, "ok": ok},
        "elpd_loo_difference": {"value": gain, "se": se, "bad": bad},
        "log_bayes_factor_alone": {"value": nats, "mcse": 0.02, "k_hat": 0.3, "ok": ok},
        "inclusion": 0.9,
    }


def metrics(classes, modalities, records):
    patterns = [s for k in range(len(modalities), 0, -1) for s in combinations(modalities, k)]
    quality = [0.863 * (len(s) / len(modalities)) ** 0.3 for s in patterns]
    confidence = [0.38, 0.55, 0.68, 0.79, 0.88, 0.94, 0.97, 0.985]
    steps = list(range(0, 2000, 50))
    return {
        "task": {
            "name": "clinic",
            "description": "A simulated cardiology clinic.",
            "classes": list(classes),
            "prior": list(np.arange(len(classes), 0, -1) / sum(range(len(classes) + 1))),
            "modalities": [
                {"name": m, "kind": KINDS[i % 4], "encoder": "auto", "present": 0.9}
                for i, m in enumerate(modalities)
            ],
            "records": {
                "kept": 1500,
                "refused": 3,
                "train": 1000,
                "validation": 200,
                "test": records,
                "unlabelled": 0,
            },
            "test_patients": records - 10,
        },
        "models": [
            model("log-linear fusion", "fusion", 0.863),
            *(model(m, "single", 0.52 + 0.02 * i) for i, m in enumerate(modalities)),
            model("concatenating MLP", "baseline", 0.84),
            model("logistic regression", "baseline", 0.858),
        ],
        "patterns": [
            {
                "present": list(s),
                "records": records,
                "natural": 11,
                "metrics": scores(q),
                "coverage": {
                    **{"records": records, "covered": 0.86 + 0.01 * (i % 8), "size": 1.6},
                    **{"low": 0.87, "high": 0.94},
                },
            }
            for i, (s, q) in enumerate(zip(patterns, quality, strict=True))
        ],
        "risk_coverage": {
            "coverage": [0.1, 0.3, 0.5, 0.7, 1.0],
            "risk": [0.01, 0.02, 0.05, 0.09, 0.14],
            "low": [0.0, 0.01, 0.03, 0.06, 0.1],
            "high": [0.03, 0.04, 0.08, 0.12, 0.18],
        },
        "triage": [
            {"action": "accept", "records": 210, "accuracy": 0.94},
            {"action": "look again", "records": 30, "accuracy": 0.7},
            {"action": "acquire", "records": 25, "accuracy": 0.6},
            {"action": "refer", "records": 35, "accuracy": None},
        ],
        "subgroups": [
            {
                **{"column": "sex", "name": name, "records": n, "metrics": scores(0.85)},
                **{"covered": 0.9, "warning": warning},
            }
            for name, n, warning in (("f", 160, ""), ("", 12, "12 patients: too few"))
        ],
        "elsewhere": [
            {"uncertainty": name, "auroc": about(0.6), "fpr95": about(0.83)}
            for name in ("total", "distance")
        ],
        "reliability": {
            "confidence": confidence,
            "accuracy": [0.41, 0.5, 0.7, 0.77, 0.86, 0.95, 0.96, 1.0],
            "count": [37, 38, 37, 38, 37, 38, 37, 38],
            "low": [0.28, 0.38, 0.55, 0.64, 0.73, 0.86, 0.88, 0.93],
            "high": [0.56, 0.66, 0.82, 0.88, 0.94, 0.99, 0.99, 1.0],
        },
        "posterior": {
            "engine": "laplace",
            "ok": True,
            "r_hat": None,
            "ess_bulk": 381.0,
            "ess_tail": None,
            "divergences": None,
            "accept": None,
            "k_hat": 0.21,
            "d2_over_n": 23.6,
            "seconds": 2.31,
            "notes": ["48 points over log τ, weighted by the Laplace evidence."],
            "scales": [
                {"modality": m, **about(0.4 + 0.2 * i, 0.15)} for i, m in enumerate(modalities)
            ],
            "worth": {
                "records": 210,
                "subsets": [],
                "worth": [worth(m, *added) for m, added in zip(modalities, ADDED, strict=False)],
            },
            "overfit": {
                "seen_nll": 0.512,
                "unseen_nll": 0.401,
                "seen_ece": 0.118,
                "unseen_ece": 0.031,
            },
        },
        "calibration": {
            "name": "temperature and intercepts",
            "trials": [],
            "coverage": 0.9,
            "patterns": [
                {
                    **{"present": list(s), "records": 200, "natural": 200 if i == 0 else 40},
                    **{"scale": about(0.94), "limit": None if i == 3 else 0.7, "pooled": i == 2},
                    **{"marginal": i == 4, "helped": i == 5},
                }
                for i, s in enumerate(patterns)
            ],
            "unknown_pattern": about(0.94),
            "shift": [
                {"modality": m, "nats": {c: about(0.1 * (k - 1)) for k, c in enumerate(classes)}}
                for m in modalities
            ],
        },
        "refused": [
            {
                "file": "records.csv",
                "row": 17,
                "column": "image",
                "problem": "truncated image",
                "mend": "Write the file again.",
            }
        ],
        "warnings": [
            {"kind": "giveaway", "where": "column bnp", "message": "gives the label away."}
        ],
        "history": {
            "step": steps,
            "train": [1.1 * math.exp(-s / 300) + 0.3 for s in steps],
            "validation": [
                1.0 * math.exp(-s / 350) + 0.38 + 2e-5 * s if s % 100 == 0 else None for s in steps
            ],
        },
        "truth": {
            "kl": {"+".join(s): about(0.01 + 0.002 * i, 0.004) for i, s in enumerate(patterns)},
            "calibration": {
                "+".join(s): {"value": 0.007, "raw": 0.01, "floor": 0.003, "before": 0.015}
                for s in patterns
            },
        },
        "provenance": {
            "command": "python -m experiments.diagnose --card clinic/dataset.toml --out RUN",
            "commit": "0123abc",
            "versions": {"jax": "0.10.2", "numpyro": "0.22"},
            "device": "cpu",
            "seed": 0,
            "started": "2025-01-01T12:00:00",
            "seconds": 141.2,
            "card_sha256": "ab" * 32,
        },
    }


def tables(rng, classes, modalities, prior, records):
    """Predictions and contrasts that add up: log-odds = prior + evidence of what is present."""
    ids = [f"p{n:04d}" for n in range(records)]
    label = rng.choice(len(classes), records, p=np.asarray(prior))
    present = rng.random((records, len(modalities))) < 0.85
    signal = np.eye(len(classes))[label][:, None] * 1.6
    evidence = rng.normal(0, 1.1, (records, len(modalities), len(classes))) + signal
    energy = np.log(prior) + (evidence * present[:, :, None]).sum(1)
    prob = np.exp(energy - np.logaddexp.reduce(energy, 1)[:, None])
    order = np.argsort(-prob, 1)
    top, second = order[:, 0], order[:, 1]
    rows = np.arange(records)
    gap = (evidence[rows, :, top] - evidence[rows, :, second]) * present
    total = -(prob * np.log(prob)).sum(1)
    frame = {"id": ids, "label": [classes[i] for i in label]}
    frame |= {f"p_{name}": prob[:, k] for k, name in enumerate(classes)}
    frame |= {"total": total, "aleatoric": 0.93 * total, "epistemic": 0.07 * total}
    frame |= {"prediction_set": [";".join(classes[k] for k in o[:2]) for o in order]}
    frame |= {
        "triage": [("accept", "acquire", "refer")[n % 3] for n in rows],
        "acquire": [modalities[0] if n % 3 == 1 else "" for n in rows],
        "conflict": rng.random(records),
        "distance": rng.random(records),
        "nearest": [f"t{n};t{n + 1}" for n in rows],
    }
    size = np.maximum(np.abs(gap).sum(1), 1e-9)
    for i, name in enumerate(modalities):
        frame |= {f"present_{name}": present[:, i], f"reliable_{name}": rng.beta(9, 1, records)}
        frame |= {f"share_{name}": np.where(present[:, i], np.abs(gap[:, i]) / size, np.nan)}
        frame |= {f"evidence_{name}": np.where(present[:, i], gap[:, i], np.nan)}
    contrasts = pd.DataFrame(
        [
            (ids[n], name, classes[top[n]], classes[second[n]], g := gap[n, i], g - 0.7, g + 0.7)
            for n in rows
            for i, name in enumerate(modalities)
            if present[n, i]
        ],
        columns=["id", "modality", "top", "runner_up", "mean", "low", "high"],
    )
    return pd.DataFrame(frame), contrasts


def fake_run(folder, classes=CLASSES, modalities=MODALITIES, records=300, change=None):
    folder.mkdir(exist_ok=True)
    values = metrics(classes, modalities, records)
    predictions, contrasts = tables(
        np.random.default_rng(0), classes, modalities, values["task"]["prior"], records
    )
    predictions.to_csv(folder / "predictions.csv", index=False)
    contrasts.to_parquet(folder / "contrasts.parquet")
    (folder / "config.json").write_text(json.dumps({"seed": 0, "engine": "laplace"}))
    if change:
        change(values)
    (folder / "metrics.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


# What a reader of HTML sees.


class Page(HTMLParser):
    """Elements with their attributes, unclosed ones, and all text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text, self.faults = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


def page(folder):
    return Page(report.write(folder).read_text(encoding="utf-8"))


def text(folder):
    return " ".join(" ".join(page(folder).text).split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return page(fake_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    def change(values):
        values["task"] |= {"name": HOSTILE[0], "description": HOSTILE[1] + "\x00\ud800\u202e"}
        values["warnings"] = [{"kind": HOSTILE[0], "where": HOSTILE[1], "message": HOSTILE[2]}]
        values["refused"] = [dict.fromkeys(values["refused"][0], HOSTILE[0])]
        values["provenance"]["command"] = HOSTILE[0]

    return page(fake_run(tmp_path_factory.mktemp("run"), HOSTILE, HOSTILE, change=change))


def test_every_section_is_there(whole):
    sections = {entry.get("aria-labelledby") for entry in whole.named("section")}
    assert sections == {
        "result",
        "models",
        "differences",
        "calibration",
        "triage",
        "patterns",
        "coverage",
        "subgroups",
        "elsewhere",
        "truth",
        "posterior",
        "ledgers",
        "warnings",
        "refused",
        "training",
        "provenance",
    }
    assert "not for clinical use" in " ".join(whole.text)


@pytest.mark.parametrize("name", ["whole", "hostile"])
def test_page_is_well_formed_and_self_contained(name, request):
    seen = request.getfixturevalue(name)
    assert seen.faults == []
    assert seen.open == []
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, *_ in seen.elements}
    for _, attributes, _ in seen.elements:
        assert not any(key.startswith("on") or key == "src" for key in attributes)
        target = attributes.get("href", attributes.get("xlink:href", "#"))
        assert target.startswith("#")


@pytest.mark.parametrize("name", ["whole", "hostile"])
def test_page_is_accessible(name, request):
    seen = request.getfixturevalue(name)
    assert seen.named("html")[0]["lang"] == "en"
    assert all(entry.get("scope") in ("col", "row") for entry in seen.named("th"))
    pictures = seen.named("svg")
    assert len(pictures) > 20
    assert all(entry["role"] == "img" and entry["aria-label"].strip() for entry in pictures)
    ids = [attributes["id"] for _, attributes, _ in seen.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {v for _, a, _ in seen.elements for k, v in a.items() if k == "aria-labelledby"}
    assert labels <= set(ids)
    levels = [int(tag[1]) for tag, *_ in seen.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("ink", [palette.INK, palette.QUIET, palette.FOR, palette.AGAINST])
def test_text_has_contrast(ink):
    assert contrast(ink, palette.PAPER) >= 4.5
    assert contrast(palette.ALARM, palette.ALARM_SHADE) >= 4.5
    assert contrast(palette.INK, palette.SHADE) >= 4.5


@pytest.mark.parametrize("name", ["whole", "hostile"])
def test_text_in_figures_uses_only_inks_with_contrast(name, request):
    seen = request.getfixturevalue(name)
    texts = [a.get("style", "") for tag, a, _ in seen.elements if tag == "text"]
    fills = {found for style in texts for found in re.findall(r"fill: (#\w+)", style)}
    assert fills
    assert all(contrast(fill, palette.PAPER) >= 4.5 for fill in fills)


def test_the_page_uses_only_colours_of_the_palette():
    css = (Path(report.__file__).parent / "page.css.j2").read_text()
    assert not re.findall(r"#[0-9a-fA-F]{3,6}\b", css)


def test_hostile_names_are_shown_as_they_are(hostile):
    seen = " ".join(hostile.text)
    for name in HOSTILE[:3]:
        assert name in seen
    assert "\u202e" not in seen
    assert "\x00" not in seen


def test_no_table_is_wider_than_its_own_scroll_box(whole):
    wide = ("models", "differences", "patterns", "coverage", "subgroups", "triage", "refused")
    boxes = [e for e in whole.named("div") if "scroll" in (e.get("class") or "")]
    assert set(wide) <= {entry.get("aria-labelledby") for entry in boxes}
    assert all(entry.get("tabindex") == "0" for entry in boxes)


def test_rendering_twice_gives_the_same_page(tmp_path):
    run = fake_run(tmp_path / "run", records=60)
    assert report.write(run).read_bytes() == report.write(run).read_bytes()


# Honest words.


@pytest.mark.parametrize(
    ("metric", "low", "high", "said"),
    [
        ("nll", 0.1, 0.2, "better"),
        ("nll", -0.2, -0.1, "worse"),
        ("nll", -0.1, 0.2, "no difference"),
        ("nll", 0.0, 0.2, "no difference"),
        ("auroc", 0.1, 0.2, "worse"),
        ("auroc", -0.2, -0.1, "better"),
        ("auroc", math.nan, math.nan, "undefined"),
        ("nll", -math.inf, math.nan, "undefined"),
    ],
)
def test_verdict(metric, low, high, said):
    assert words.verdict(metric, Estimate(0.1, low, high)) == said


@given(
    st.sampled_from(words.COMPARED),
    st.floats(-1, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
@settings(deadline=None, max_examples=60)
def test_verdict_is_antisymmetric(metric, value, below, above):
    entry = Estimate(value, value - below, value + above)
    mirrored = Estimate(-value, -entry.high, -entry.low)
    opposite = {"better": "worse", "worse": "better"}
    said = words.verdict(metric, entry)
    assert words.verdict(metric, mirrored) == opposite.get(said, said)


def test_headline_says_no_difference():
    values = metrics(CLASSES, MODALITIES, 300)
    result = words.headline(values)
    assert result.title == "Fusion was not shown to beat every alternative"
    nll = next(sentence for sentence in result.sentences if sentence.startswith("By NLL"))
    assert nll.split("no different from")[1] == " concatenating MLP and logistic regression."
    assert "86.3\u202f%" in result.sentences[0]
    assert any("too good" in sentence for sentence in result.sentences)


def test_headline_says_worse_and_better():
    values = metrics(CLASSES, MODALITIES, 300)
    rival = values["models"][-1]
    rival["difference"]["nll"] = about(-0.2)
    assert words.headline(values).title == "Fusion did worse than logistic regression"
    for entry in values["models"][1:]:
        entry["difference"]["nll"] = about(0.2)
    assert words.headline(values).title.startswith("Fusion beat every")
    rival["difference"]["nll"] = {"value": 0.2, "low": None, "high": math.nan}
    assert words.headline(values).title == "Fusion could not be compared"
    values["models"] = values["models"][:1]
    values["task"]["records"] = {"kept": 50, "unlabelled": 8}
    assert words.headline(values).title == "Nothing to compare the fusion with"
    assert words.headline(values).sentences[0].startswith("On 42 test records")


@pytest.mark.parametrize(
    ("nats", "said"),
    [
        (0.0, "× 1.0"),
        (math.log(8.2), "× 8.2"),
        (-math.log(3.4), "÷ 3.4"),
        (math.log(9.97), "× 10"),
        (math.log(164), "× 160"),
        (-0.01, "× 1.0"),
        (800.0, "× 10\u202f000+"),
        (-math.inf, "–"),
        (math.nan, "–"),
    ],
)
def test_odds(nats, said):
    assert words.odds(nats) == said


def test_numbers():
    assert words.decimal(-0.0004) == "0.000"
    assert words.decimal(-0.25, 2) == "−0.25"
    assert words.decimal(math.nan) == "–"
    assert words.percent(0.863) == "86.3\u202f%"
    assert words.enumerate_words(["a", "b", "c"]) == "a, b and c"
    assert words.enumerate_words([]) == ""


# Ledgers.


def test_ledgers_add_up_to_the_log_odds(tmp_path):
    run = read(fake_run(tmp_path / "run"))
    chosen = ledgers.ledgers(run)
    assert len(chosen) == 4
    assert len({ledger.patient for ledger in chosen}) == 4
    for ledger in chosen:
        (_, first), (_, second), *_ = ledger.probabilities
        assert ledger.sum == pytest.approx(math.log(first / second), abs=1e-9)
        for entry in ledger.entries[1:]:
            assert math.isfinite(entry.nats.low) == entry.present


def test_ledgers_are_of_the_right_patients(tmp_path):
    run = read(fake_run(tmp_path / "run"))
    by_title = {ledger.title: ledger for ledger in ledgers.ledgers(run)}
    right, wrong = by_title["Most sure and right"], by_title["Most sure and wrong"]
    assert right.truth == right.top
    assert wrong.truth not in ("", wrong.top)
    rest = by_title["Modalities in most conflict"].entries[1:]
    values = [entry.nats.value for entry in rest if entry.present]
    assert min(values) < 0 < max(values)


def test_ledgers_are_of_the_patients_asked_for(tmp_path):
    folder = fake_run(tmp_path / "run")
    (folder / "config.json").write_text(json.dumps({"patients": ["p0007", "=1", "p0003"]}))
    table = pd.read_csv(folder / "predictions.csv")
    table.loc[5, "id"] = "'=1"
    table.to_csv(folder / "predictions.csv", index=False)
    found = ledgers.ledgers(read(folder))
    assert [ledger.patient for ledger in found] == ["p0007", "'=1", "p0003"]
    assert "for the patients asked for" in text(folder)


def test_every_number_drawn_stands_in_a_table(tmp_path):
    folder = fake_run(tmp_path / "run")
    report.write(folder)
    found = {path.stem: pd.read_csv(path) for path in (folder / "drawn").iterdir()}
    assert {"models", "differences", "patterns", "calibration", "shifts", "elsewhere"} <= set(found)
    assert {"reliability", "risk_coverage", "history", "scales", "triage"} <= set(found)
    assert {"uncertainty", "truth_kl", "truth_calibration", "ledgers"} <= set(found)
    best = found["models"].query("model == 'log-linear fusion' and metric == 'accuracy'")
    assert best[["value", "low", "high"]].to_numpy()[0] == pytest.approx([0.863, 0.823, 0.903])
    assert found["patterns"]["present"][0] == ";".join(MODALITIES)
    lines = found["ledgers"].set_index(["ledger", "modality"])
    for ledger in ledgers.ledgers(read(folder)):
        for entry in ledger.entries:
            line = lines.loc[(ledger.title, entry.name)]
            assert line[["value", "low", "high"]].tolist() == pytest.approx(
                list(entry.nats), nan_ok=True
            )
            assert line["id"] == ledger.patient


def test_no_table_of_a_hostile_run_holds_a_formula(tmp_path):
    def change(values):
        values["models"][1]["name"] = "=1+1"

    folder = fake_run(tmp_path / "run", change=change)
    report.write(folder)
    names = pd.read_csv(folder / "drawn" / "models.csv")["model"]
    assert "'=1+1" in set(names)
    assert "=1+1" not in set(names)


def test_a_missing_modality_is_said_to_be_missing(tmp_path):
    def hide(folder):
        table = pd.read_csv(folder / "predictions.csv", dtype=str)
        table["present_note"] = "False"
        table.to_csv(folder / "predictions.csv", index=False)
        return folder

    seen = page(hide(fake_run(tmp_path / "run")))
    pictures = [e["aria-label"] for e in seen.named("svg") if "Evidence for" in e["aria-label"]]
    assert len(pictures) == 4
    assert all("note missing" in label for label in pictures)
    assert any("P(reliable) 0." in label for label in pictures)


def test_ledgers_need_no_contrasts_and_no_labels(tmp_path):
    folder = fake_run(tmp_path / "run")
    (folder / "contrasts.parquet").unlink()
    table = pd.read_csv(folder / "predictions.csv")
    table.drop(columns=["label"]).to_csv(folder / "predictions.csv", index=False)
    titles = [ledger.title for ledger in ledgers.ledgers(read(folder))]
    assert titles == ["Most sure", "Most uncertain", "Modalities in most conflict"]
    assert "diagnosis unknown" in text(folder)


# Runs that lack something.


@pytest.mark.parametrize(
    "part",
    [
        *("models", "patterns", "reliability", "posterior", "calibration"),
        *("risk_coverage", "triage", "subgroups", "elsewhere", "costs"),
        *("refused", "warnings", "history", "truth", "provenance"),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_an_optional_part_may_be_missing_or_null(tmp_path, part, gone):
    def change(values):
        values[part] = None
        if gone:
            del values[part]

    seen = page(fake_run(tmp_path / "run", CLASSES, MODALITIES[:2], 40, change))
    assert seen.faults == []
    assert not re.search(r"\b(nan|null)\b|None(?!\.)", " ".join(seen.text))


def test_only_metrics_are_needed(tmp_path):
    task = {"name": "bare", "classes": ["a", "b"], "modalities": [], "records": {"kept": 7}}
    (tmp_path / "metrics.json").write_text(json.dumps({"task": task}))
    seen = text(tmp_path)
    assert "Predictions without a known diagnosis" in seen
    assert "7 records" in seen


def test_intervals_may_be_null_or_nan(tmp_path):
    def blank(value):
        if isinstance(value, dict):
            kept = {"value", "low", "high"} == set(value)
            return (
                {"value": 0.5, "low": None, "high": math.nan}
                if kept
                else {k: blank(v) for k, v in value.items()}
            )
        return [blank(v) for v in value] if isinstance(value, list) else value

    def change(values):
        values |= blank(values)
        values["posterior"]["scales"][0] = {"modality": "image", "value": None}
        values["reliability"]["low"] = [None] * 8

    seen = text(fake_run(tmp_path / "run", records=40, change=change))
    assert "Fusion could not be compared" in seen
    assert not re.search(r"\b(nan|null)\b|None(?!\.)", seen)


@pytest.mark.parametrize(("classes", "modalities"), [(15, 1), (2, 5)])
def test_sizes(tmp_path, classes, modalities):
    folder = fake_run(
        tmp_path / "run",
        [f"class {k}" for k in range(classes)],
        [f"modality {i}" for i in range(modalities)],
        records=60,
    )
    seen = page(folder)
    assert seen.faults == []
    rows = [a for a in seen.named("svg") if a["aria-label"].startswith("NLL with")]
    assert len(rows) == 2**modalities - 1


def test_a_failed_posterior_is_loud(tmp_path):
    def change(values):
        values["posterior"] |= {"ok": False, "r_hat": 1.3}

    seen = page(fake_run(tmp_path / "run", records=40, change=change))
    assert any(entry.get("role") == "alert" for entry in seen.named("p"))
    assert "failed its diagnostics" in " ".join(seen.text)


def test_the_certificate_tells_weights_squared_per_record(whole):
    assert "Weights squared per record 23.60" in " ".join(" ".join(whole.text).split())


def test_each_modality_is_said_to_be_worth_having_or_not(whole):
    seen = " ".join(whole.text)
    assert "Is each modality worth having?" in seen
    assert "It adds 12.3 nats of evidence (odds × 10\u202f000+)" in seen
    assert "8.1 ± 2.3 nats of leave-one-out prediction over 210 records." in seen


def test_worth_is_said_no_stronger_than_both_answers_allow():
    said = [words.worth(worth("x", *added), 210).split(". ")[0] for added in ADDED]
    assert said == [
        "x: worth having",
        "x: not shown to be worth having",
        "x: probably worth having",
        "x: better left out",
        "x: evidence and prediction disagree",
    ]
    unsure = words.worth(worth("x", 12.3, None, None, ok=False, bad=1), 1)
    assert unsure.startswith("x: probably worth having. ")
    assert "– ± – nats of leave-one-out prediction over 1 record" in unsure
    assert "; the evidence is only roughly known; 1 record could" in unsure


def test_names_that_look_like_missing_values_stay_names(tmp_path):
    folder = fake_run(tmp_path / "run", ("NA", "None", "007"), records=60)
    assert len(ledgers.ledgers(read(folder))) == 4
    assert read(folder).predictions["label"].isin(["NA", "None", "007"]).all()


@pytest.mark.parametrize("content", [None, "{", "[1]", "{}", "\x80"])
def test_a_broken_run_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content, encoding="latin-1")
    with pytest.raises(ModelError, match=r"metrics\.json"):
        report.write(tmp_path)


def test_a_class_behind_an_apostrophe_is_the_class(tmp_path):
    """As `outputs.predictions` writes those that a spreadsheet would take for formulas."""
    classes = ("+ve", "-ve", "none")
    plain = read(fake_run(tmp_path, classes=classes))
    table = pd.read_csv(tmp_path / "predictions.csv", dtype=str, keep_default_na=False)
    table["label"] = table["label"].map(spreadsheet_safe)
    sets = table["prediction_set"].str.split(";")
    table["prediction_set"] = [";".join(map(spreadsheet_safe, one)) for one in sets]
    table.to_csv(tmp_path / "predictions.csv", index=False)
    escaped = read(tmp_path)
    assert page_parts.uncertainty(escaped) == page_parts.uncertainty(plain)
    assert sum(rows for _, rows, _ in page_parts.uncertainty(escaped)["rows"]) == len(table)
    assert ledgers.ledgers(escaped) == ledgers.ledgers(plain)


# Parts.


@given(st.text(max_size=30), st.integers(1, 20))
@settings(deadline=None, max_examples=80)
def test_fit_keeps_short_text_and_cuts_long(source, columns):
    cut = fit(source, columns)
    assert cut == source or cut.endswith("…")
    assert len(cut) <= columns


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=80)
def test_clean_is_idempotent_and_encodes(source):
    assert clean(clean(source)) == clean(source)
    clean(source).encode("utf-8")


@given(st.lists(st.floats(allow_subnormal=False, min_value=-1e6, max_value=1e6), max_size=6))
@settings(deadline=None, max_examples=60)
def test_tracks_stay_inside_and_keep_order(values):
    entries = [Estimate(v, v - 1, v + 1) for v in values]
    placed = tracks(entries, zero=True)
    assert all(MARGIN <= end <= WIDTH - MARGIN for track in placed for end in track)
    assert all(track.low <= track.value <= track.high for track in placed)


def test_console_shows_the_table_and_the_path(tmp_path):
    values = metrics(CLASSES, ("[red]image[/]", "note"), 300)
    screen = Console(width=200, record=True, file=io.StringIO())
    console.show(values, tmp_path / "report.html", screen)
    printed = screen.export_text()
    assert "[red]image[/]" in printed
    assert "no difference" in printed
    assert "report.html" in printed.replace("\n", "")
    assert "giveaway in column bnp: gives the label away." in printed


def test_a_patient_is_told_with_set_triage_distance_and_nearest_cases(tmp_path):
    run = read(fake_run(tmp_path))
    said = " ".join(" ".join(page(tmp_path).text).split())
    for ledger in ledgers.ledgers(run):
        row = run.predictions.set_index("id").loc[ledger.patient]
        assert ledger.chosen == tuple(row["prediction_set"].split(";"))
        assert f"Prediction set: {', '.join(ledger.chosen)}." in said
        assert f"Nearest training records: {row['nearest'].replace(';', ', ')}." in said
        assert f"Triage: {' '.join(filter(None, (row['triage'], row['acquire'])))}" in said
        share = words.percent(row["distance"]).replace("\u202f", " ")
        assert f"Farther from the middle than {share}" in said


def test_a_patient_is_told_how_much_each_modality_carries(tmp_path):
    run = read(fake_run(tmp_path))
    said = " ".join(" ".join(page(tmp_path).text).split())
    for ledger in ledgers.ledgers(run):
        present = [entry for entry in ledger.entries[1:] if entry.present]
        assert sum(entry.share for entry in present) == pytest.approx(1)
        first = max(present, key=lambda entry: entry.share)
        told = f"Share of the evidence: {first.name} {words.percent(first.share)}"
        assert told.replace("\u202f", " ") in said


def test_coverage_says_whose_promise_it_is(tmp_path):
    said = text(fake_run(tmp_path))
    for part in (
        "too few records to promise anything",
        "one promise for all such patterns",
        "no promise of its own",
        "if what is missing is missing at random",
        "below the band",
    ):
        assert part in said
    assert "outside the band" not in said
    # Judged by its own records alone, however many others were shown under it.
    own = {"limit": 0.7, "natural": 60, "records": 200}
    assert words.promise(own, Estimate(0.9, 0.85, 0.95)) == ""


@pytest.mark.parametrize(
    ("covered", "said"),
    [(0.86, "below the band"), (0.9, ""), (0.97, "above the band: more than promised")],
)
def test_more_than_promised_is_no_broken_promise(covered, said):
    assert words.kept(Estimate(covered, 0.873, 0.925)) == said
    assert words.kept(Estimate(covered, math.nan, math.nan)) == ""


def test_a_stated_prior_voids_the_promise_and_is_said_to(tmp_path):
    assert "need not hold" not in text(fake_run(tmp_path / "plain"))

    def change(values):
        values["task"]["stated_prior"] = True

    assert "need not hold" in text(fake_run(tmp_path / "stated", change=change))


def test_a_run_without_calibration_says_so(tmp_path):
    def change(values):
        values["calibration"] |= {"name": "none"}
        values["calibration"]["shift"] = [
            {"modality": "image", "nats": dict.fromkeys(CLASSES, about(0.0, 0.0))}
        ]

    said = text(fake_run(tmp_path, change=change))
    assert "Evidence was left as it is" in said
    assert "What calibration adds" not in said
