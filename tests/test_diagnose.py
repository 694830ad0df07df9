"""From a folder of records to a run, and on to new records, as the command line does it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import diagnose
from experiments.diagnose import Config
from experiments.progress import reporter
from fusionjax.clinic import world
from fusionjax.clinic.write import write
from fusionjax.crossfit import FitConfig
from fusionjax.errors import CardError, ModelError, RecordError
from fusionjax.study import restrict
from fusionjax.train import TrainConfig
from fusionjax.triage import ACTIONS
from tests.small_study import Small

FIT = FitConfig(
    TrainConfig(epochs=1, batch_size=64, least_steps=2), width=4, projection=24, draws=60
)
RUN = (
    "config.json",
    "contrasts.parquet",
    "evidence.parquet",
    "metrics.json",
    "model.json",
    "model.safetensors",
    "predictions.csv",
    "report.html",
)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic of image and sound in which one image is broken."""
    folder = tmp_path_factory.mktemp("clinic")
    write(folder, world.Dials(missing=0.2), 240, 0)
    head, image, _, sound, _ = (folder / "dataset.toml").read_text().split("[modalities.")
    parts = (part.rstrip() + '\nencoder = "linear"\n' for part in (image, sound))
    (folder / "dataset.toml").write_text("\n[modalities.".join([head, *parts]))
    first = pd.read_csv(folder / "records.csv")["image"].dropna().iloc[0]
    (folder / first).write_bytes((folder / first).read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def run(clinic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that skipped the broken image."""
    out = tmp_path_factory.mktemp("run")
    config = Config(
        out, clinic / "dataset.toml", on_bad_record="skip", ensemble=2, keep_cases=True, fit=FIT
    )
    diagnose.fit_run(config)
    return out


@pytest.fixture
def new(clinic: Path, tmp_path: Path) -> Path:
    """Ten new patients without sound or label, with their files beside the table."""
    table = pd.read_csv(clinic / "records.csv").iloc[1:60]
    table = table[table["image"].notna()].iloc[:10].drop(columns=["sound", "diagnosis"])
    (tmp_path / "new").mkdir()
    shutil.copytree(clinic / "images", tmp_path / "new" / "images")
    table.to_csv(tmp_path / "new" / "new.csv", index=False)
    return tmp_path / "new" / "new.csv"


def test_every_file_of_the_contract_is_written(run: Path) -> None:
    assert not [name for name in RUN if not (run / name).is_file()]
    assert not (run / "checkpoints").exists()
    assert not list(run.glob("*.draft"))
    metrics = json.loads((run / "metrics.json").read_text())
    names = [one["name"] for one in metrics["models"]]
    alone = [f"{m} alone" for m in ("image", "sound")]
    rivals = ["concatenating MLP", "logistic regression", "deep ensemble"]
    assert names == ["log-linear fusion", *alone, *rivals]
    assert len(metrics["patterns"]) == 3
    assert [p["coverage"]["records"] for p in metrics["patterns"]] == [
        p["records"] for p in metrics["patterns"]
    ]
    assert {s["column"] for s in metrics["subgroups"]} == {"site", "sex", "age_band"}
    assert sum(a["records"] for a in metrics["triage"]) == metrics["task"]["records"]["test"]
    assert metrics["provenance"]["seed"] == 0
    assert json.loads((run / "config.json").read_text())["fit"] == asdict(FIT)
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_predictions_are_of_the_test_records(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    found = pd.read_csv(run / "predictions.csv")
    assert len(found) == metrics["task"]["records"]["test"]
    prob = found[[f"p_{name}" for name in world.CLASSES]]
    np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-5)
    right = prob.to_numpy().argmax(axis=1) == found["label"].map(world.CLASSES.index)
    accuracy = metrics["models"][0]["metrics"]["accuracy"]["value"]
    assert right.mean() == pytest.approx(accuracy)
    evidence = pd.read_parquet(run / "evidence.parquet")
    assert set(evidence["id"]) <= set(found["id"])


def test_a_site_held_out_is_told_from_the_others_by_each_uncertainty(small: Small) -> None:
    study, model = small.study, small.fitted.model
    found = diagnose._diagnosed(Config(small.folder), model, study, study.split.test)
    rows = diagnose._strangers(Config(small.folder), model, study, found)
    names = ["total", "aleatoric", "epistemic", "distance", "conflict", "unreliable"]
    assert [row["uncertainty"] for row in rows] == names
    for row in rows:
        for name in ("auroc", "fpr95"):
            assert 0 <= row[name]["low"] <= row[name]["value"] <= row[name]["high"] <= 1


def test_a_skipped_record_is_counted_and_named(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["task"]["records"]["kept"] == 239
    assert metrics["task"]["records"]["refused"] == 1
    (refused,) = metrics["refused"]
    assert refused["column"] == "image"
    assert refused["row"] >= 2


def test_the_broken_record_stops_a_run_that_skips_none(clinic: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="image"):
        diagnose.fit_run(Config(tmp_path / "out", clinic / "dataset.toml", fit=FIT))


def test_new_records_may_lack_a_modality_and_the_label(
    run: Path, new: Path, tmp_path: Path
) -> None:
    diagnose.predict_run(Config(tmp_path / "out", model=run, table=new))
    found = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert found["id"].tolist() == pd.read_csv(new)["id"].tolist()
    assert found["label"].isna().all()
    assert not found["present_sound"].any()
    assert found[["reliable_sound", "evidence_sound"]].isna().all(axis=None)
    assert found["present_image"].all()
    assert found["triage"].isin(ACTIONS).all()
    assert found["nearest"].str.split(";").map(len).eq(5).all()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "models" not in metrics
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_stated_prior_moves_every_patient(run: Path, new: Path, tmp_path: Path) -> None:
    stated = (0.01, 0.01, 0.97, 0.01)
    diagnose.predict_run(Config(tmp_path / "plain", model=run, table=new))
    diagnose.predict_run(Config(tmp_path / "stated", model=run, table=new, prior=stated))
    plain, moved = (
        pd.read_csv(tmp_path / name / "predictions.csv")["p_pulmonary_embolism"]
        for name in ("plain", "stated")
    )
    assert (moved > plain).all()
    metrics = json.loads((tmp_path / "stated" / "metrics.json").read_text())
    assert metrics["task"]["prior"] == list(stated)


def test_costs_are_decided_by_and_patients_asked_for_are_told_of(
    run: Path, clinic: Path, tmp_path: Path
) -> None:
    (tmp_path / "costs.toml").write_text("refer = 0.3\nwrong = 1\n")
    known = Config(
        tmp_path / "out",
        clinic / "dataset.toml",
        model=run,
        on_bad_record="skip",
        costs=tmp_path / "costs.toml",
        patients=tuple(pd.read_csv(clinic / "records.csv")["id"].iloc[[7, 3]].astype(str)),
    )
    diagnose.predict_run(known)
    found = pd.read_csv(tmp_path / "out" / "predictions.csv")
    ledgers = pd.read_csv(tmp_path / "out" / "drawn" / "ledgers.csv", dtype={"id": str})
    assert tuple(ledgers["id"].unique()) == known.patients
    prob = found[[f"p_{name}" for name in world.CLASSES]].max(axis=1)
    likeliest = np.where(1 - prob > 0.3, "refer", found["prediction"])
    np.testing.assert_array_equal(found["decision"], likeliest)
    np.testing.assert_allclose(found["expected_cost"], np.minimum(1 - prob, 0.3), atol=1e-6)
    paid = json.loads((tmp_path / "out" / "metrics.json").read_text())["costs"]["paid"]
    wrong = np.where(found["decision"] == "refer", 0.3, found["decision"] != found["label"])
    assert paid["cheapest"]["value"] == pytest.approx(wrong.mean())
    said = (tmp_path / "out" / "report.html").read_text()
    assert "What to decide at your costs" in said
    assert "At your costs: " in said


def test_a_patient_of_whom_the_run_does_not_tell_is_refused(
    clinic: Path, run: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Config(tmp_path / "out", model=run, table=new, patients=("nobody",))
    with pytest.raises(CardError, match="'nobody' is not among the records"):
        diagnose.predict_run(asked)
    monkeypatch.setattr(diagnose, "contend", lambda *_: pytest.fail("fitted"))
    tested = set(pd.read_csv(run / "predictions.csv", dtype=str)["id"])
    kept = pd.read_csv(clinic / "records.csv", dtype=str).iloc[5:]["id"]
    trained = next(name for name in kept if name not in tested)
    asked = Config(tmp_path / "fit", clinic, on_bad_record="skip", patients=(trained,), fit=FIT)
    with pytest.raises(CardError, match="is no test record"):
        diagnose.fit_run(asked)


def test_bad_costs_are_refused_before_the_folder_is_taken(
    run: Path, new: Path, tmp_path: Path
) -> None:
    (tmp_path / "costs.toml").write_text("refer = 0.3\n")
    config = Config(tmp_path / "out", model=run, table=new, costs=tmp_path / "costs.toml")
    with pytest.raises(CardError, match="has no cost"):
        diagnose.predict_run(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.4, 0.4, 0.4, 0.4), (1.0, 0.0, 0.0, 0.0)])
def test_a_wrong_prior_is_refused_before_the_folder_is_taken(
    run: Path, new: Path, tmp_path: Path, prior: tuple[float, ...]
) -> None:
    with pytest.raises(CardError, match="--prior"):
        diagnose.predict_run(Config(tmp_path / "out", model=run, table=new, prior=prior))
    assert not (tmp_path / "out").exists()


def test_a_wrong_prior_is_refused_before_anything_is_fitted(
    clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnose, "contend", lambda *_: pytest.fail("fitted"))
    config = Config(tmp_path / "out", clinic, prior=(0.5, 0.5), on_bad_record="skip", fit=FIT)
    with pytest.raises(CardError, match="--prior"):
        diagnose.fit_run(config)


def test_a_folder_of_another_configuration_is_left_alone(clinic: Path, run: Path) -> None:
    before = (run / "predictions.csv").read_bytes()
    other = Config(
        run, clinic / "dataset.toml", on_bad_record="skip", fit=replace(FIT, seed=FIT.seed + 1)
    )
    with pytest.raises(ModelError, match="another configuration"):
        diagnose.fit_run(other)
    assert (run / "predictions.csv").read_bytes() == before


def test_a_card_error_is_one_line_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dataset.toml").write_text('name = "small"\ntabel = "records.csv"\n')
    arguments = ["--card", str(tmp_path / "dataset.toml"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["diagnose", *arguments])
    with pytest.raises(SystemExit) as stopped:
        diagnose.main()
    message = stopped.value.code
    assert isinstance(message, str), "which the interpreter prints, and exits with 1"
    assert message.startswith("error: ")
    assert "tabel" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_the_command_needs_records(tmp_path: Path, run: Path) -> None:
    with pytest.raises(CardError, match="nothing to do"):
        diagnose.fit_run(Config(tmp_path / "out"))
    with pytest.raises(CardError, match="no records"):
        diagnose.predict_run(Config(tmp_path / "out", model=run))


@pytest.mark.slow
def test_killed_and_run_again_equals_never_killed(clinic: Path, tmp_path: Path) -> None:
    """With trained encoders, of which each fold's and the fusion's training can be cut short."""
    clinic = Path(shutil.copytree(clinic, tmp_path / "clinic"))
    with (clinic / "dataset.toml").open("a") as card:
        card.write('\n[modalities.labs]\nkind = "tabular"\ncolumns = ["bnp", "crp", "sodium"]\n')
        card.write('encoder = "mlp"\n')
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(clinic, whole).wait() == 0
    child = start(clinic, killed)
    wait_for_checkpoint(killed, child)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (killed / "predictions.csv").exists()
    assert start(clinic, killed).wait() == 0
    for name in ("predictions.csv", "model.safetensors", "evidence.parquet"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def start(clinic: Path, out: Path) -> subprocess.Popen:
    options = {
        "--card": clinic / "dataset.toml",
        "--out": out,
        "--on-bad-record": "skip",
        "--fit.train.epochs": 4,
        "--fit.train.least-steps": 5,
        "--fit.width": 4,
        "--fit.projection": 24,
        "--fit.draws": 60,
    }
    words = [str(word) for pair in options.items() for word in pair]
    call = [sys.executable, "-m", "experiments.diagnose", *words]
    return subprocess.Popen(call, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)


def wait_for_checkpoint(out: Path, child: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if any(p.name.isdigit() for p in out.glob("checkpoints/**/fold-0/states/*")):
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint was written in time")


def test_checkpoints_belong_to_their_records_and_card(small: Small) -> None:
    study = small.study
    changed = study.table.copy()
    changed.loc[0, "digest"] = "another file"
    cut = replace(study.card, modalities=study.card.modalities[:1])
    names = {
        diagnose._identity(study),
        diagnose._identity(study._replace(table=changed)),
        diagnose._identity(study._replace(card=cut)),
    }
    assert len(names) == 3
    assert diagnose._identity(study) == diagnose._identity(study._replace(table=study.table.copy()))


def test_a_modality_that_has_no_company_is_not_compared_with_itself(
    small: Small, tmp_path: Path
) -> None:
    config = Config(tmp_path, fit=replace(FIT, folds=2))
    with reporter() as tell:
        outcome = diagnose.contend(restrict(small.study, (1,)), config, tell)
    assert [c.role for c in outcome.contenders] == ["fusion", "baseline", "baseline"]
