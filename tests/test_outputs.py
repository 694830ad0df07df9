"""The tables of a run: what stands in them, where, and that no cell is a formula."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fusionjax import conformal, outputs
from fusionjax import model as models
from fusionjax.calibrate.shown import spelled
from fusionjax.model import Diagnosis, Model
from fusionjax.study import ordered
from fusionjax.triage import ACTIONS, Limits
from tests.small_study import Small

ROWS = np.arange(100, 180)
Frames = tuple[Model, pd.DataFrame, np.ndarray, Diagnosis]


def predictions(frames: Frames) -> pd.DataFrame:
    return outputs.predictions(*frames, outputs.advise(frames[0], frames[3], Limits()))


@pytest.fixture
def frames(small: Small) -> Frames:
    """The last records, two of which have no modality; one is unlabelled, one has a hostile id."""
    (batch,) = ordered(small.study, ROWS)
    found = models.diagnose(small.fitted.model, batch)
    found = found._replace(
        predictive=found.predictive._replace(
            **{name: np.asarray(v)[:80] for name, v in found.predictive._asdict().items()}
        ),
        **{
            name: np.asarray(value)[:80]
            for name, value in found._asdict().items()
            if name != "predictive"
        },
    )
    table = small.study.table.copy()
    table.loc[100, "label"] = -1
    table.loc[101, "id"] = "=1+1"
    return small.fitted.model, table, ROWS, found


def test_predictions_have_the_columns_of_the_contract(frames: Frames) -> None:
    got = predictions(frames)
    assert list(got) == [
        *("id", "label", "prediction", "runner_up", "p_flu", "p_heart", "p_well"),
        *("total", "aleatoric", "epistemic", "prediction_set"),
        *("triage", "acquire", "conflict", "distance", "nearest"),
        *("present_note", "reliable_note", "evidence_note", "share_note", "distance_note"),
        *("present_labs", "reliable_labs", "evidence_labs", "share_labs", "distance_labs"),
    ]
    assert len(got) == len(ROWS)
    assert got["label"][0] == ""
    assert set(got["label"][1:]) == {"flu", "heart", "well"}


def test_predictions_hold_what_was_found(frames: Frames) -> None:
    model, _, _, found = frames
    got = predictions(frames)
    prob = got[["p_flu", "p_heart", "p_well"]].to_numpy()
    np.testing.assert_allclose(prob, found.predictive.prob, rtol=1e-6)
    names = np.asarray(model.card.classes)
    np.testing.assert_array_equal(got["prediction"], names[prob.argmax(axis=1)])
    np.testing.assert_array_equal(got["runner_up"], names[prob.argsort(axis=1)[:, -2]])
    np.testing.assert_allclose(got["total"], got["aleatoric"] + got["epistemic"], atol=1e-5)
    most = conformal.limits_of(model.limits, spelled(found.presence))
    for cell, row, limit in zip(got["prediction_set"], prob, most, strict=True):
        named = [name in cell.split(";") for name in model.card.classes]
        assert named[row.argmax()]
        np.testing.assert_array_equal(named, (1 - row <= limit + 1e-12) | (row == row.max()))


def test_advice_and_nearest_cases_stand_in_their_columns(frames: Frames) -> None:
    model, _, _, found = frames
    got = predictions(frames)
    assert set(got["triage"]) <= set(ACTIONS)
    acquired = got["acquire"] != ""
    np.testing.assert_array_equal(acquired, got["triage"] == "acquire")
    for name in ("note", "labs"):
        assert not got[f"present_{name}"][got["acquire"] == name].any()
    assert model.cases is not None
    training = set(model.cases.id)
    for cell, here in zip(got["nearest"], found.presence, strict=True):
        ids = cell.split(";") if cell else []
        assert len(ids) == (5 if here.any() else 0)
        assert set(ids) <= training
    none = predictions((model._replace(cases=None), *frames[1:]))
    assert (none["nearest"] == "").all()


def test_a_missing_modality_has_empty_cells(frames: Frames) -> None:
    got, found = predictions(frames), frames[3]
    for i, name in enumerate(("note", "labs")):
        here = found.presence[:, i]
        assert 0 < here.sum() < len(here)
        np.testing.assert_array_equal(got[f"present_{name}"], here)
        for column in ("reliable", "evidence", "share", "distance"):
            np.testing.assert_array_equal(got[f"{column}_{name}"].notna(), here)
    assert ((got["reliable_note"] > 0) | got["reliable_note"].isna()).all()


def test_shares_are_of_all_the_evidence(frames: Frames) -> None:
    got, some = predictions(frames), frames[3].presence.any(axis=1)
    nats = got[["evidence_note", "evidence_labs"]].abs()
    share = got[["share_note", "share_labs"]]
    np.testing.assert_allclose(share.sum(axis=1)[some], 1, rtol=1e-5)
    expected = nats.div(nats.sum(axis=1), axis=0).to_numpy()
    np.testing.assert_allclose(share, expected, rtol=1e-5)


def test_evidence_stands_only_where_a_modality_is_present(frames: Frames) -> None:
    model, table, rows, found = frames
    got = outputs.evidence(*frames)
    assert list(got) == ["id", "modality", "class", "mean", "low", "high"]
    assert len(got) == found.presence.sum() * 3
    ids = [outputs.spreadsheet_safe(name) for name in table["id"].iloc[rows]]
    for i, modality in enumerate(("note", "labs")):
        mine = got[got["modality"] == modality]
        there = [name for name, here in zip(ids, found.presence[:, i], strict=True) if here]
        assert mine["id"].tolist() == [name for name in there for _ in range(3)]
        expected = np.asarray(found.predictive.evidence_mean)[found.presence[:, i], i]
        np.testing.assert_array_equal(mine["mean"].to_numpy().reshape(-1, 3), expected)
    assert got["class"].tolist() == list(model.card.classes) * int(found.presence.sum())
    assert (got["low"] <= got["high"]).all()
    np.testing.assert_allclose(got.groupby(["id", "modality"])["mean"].sum(), 0, atol=1e-4)


def test_contrasts_are_differences_of_evidence(frames: Frames) -> None:
    got, evidence = outputs.contrasts(*frames), outputs.evidence(*frames)
    assert list(got) == ["id", "modality", "top", "runner_up", "mean", "low", "high"]
    nats = evidence.set_index(["id", "modality", "class"])["mean"]
    for row in got.itertuples():
        gap = nats[row.id, row.modality, row.top] - nats[row.id, row.modality, row.runner_up]
        assert row.mean == pytest.approx(gap, abs=1e-5)
        assert row.top != row.runner_up
    table = predictions(frames).set_index("id")
    for row in got.itertuples():
        here = table.loc[row.id]
        assert here[f"p_{row.top}"] >= here[f"p_{row.runner_up}"]
        assert here[f"evidence_{row.modality}"] == row.mean


def test_an_id_like_a_formula_is_made_safe_in_every_table(frames: Frames) -> None:
    hostile, plain = frames[1]["id"].iloc[101], "'=1+1"
    for table in (predictions(frames), outputs.evidence(*frames), outputs.contrasts(*frames)):
        ids = set(table["id"])
        assert plain in ids
        assert hostile not in ids


def test_a_class_like_a_formula_is_made_safe_and_a_number_is_left(frames: Frames) -> None:
    model, *rest = frames
    names = ("=cmd()", "-1", "well")
    got = predictions((model._replace(card=replace(model.card, classes=names)), *rest))
    cells = {*got["label"], *got["prediction"], *got["runner_up"]}
    assert cells <= {"'=cmd()", "-1", "well", ""}
    assert {"'=cmd()", "-1"} <= cells
    assert "p_=cmd()" in got
    assert not got["prediction_set"].str.startswith("=").any()


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@a", "\ta", "\ra"])
def test_formulas_are_told_from_names(cell: str) -> None:
    assert outputs.spreadsheet_safe(cell) == "'" + cell
    for name in ("a=1", "1-2", "", "'=1", "心"):
        assert outputs.spreadsheet_safe(name) == name
