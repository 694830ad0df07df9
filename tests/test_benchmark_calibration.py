"""What a study's result says of the fusion against its rivals."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import calibration
from benchmarks.variants import packages


def found(low: float, high: float, rivals: tuple[str, ...] = calibration.RIVALS) -> dict:
    gap = {m: {"value": (low + high) / 2, "low": low, "high": high} for m in calibration.JUDGED}
    fusion = {"name": "log-linear fusion", "role": "fusion", "metrics": gap, "difference": {}}
    others = [{"name": r, "role": "baseline", "metrics": gap, "difference": gap} for r in rivals]
    return {
        "models": [fusion, *others],
        "records": 80,
        "provenance": {"commit": "0"},
        "config": {"ensemble": 5, "seeds": 2},
    }


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.03, "better"), (-0.03, -0.01, "worse"), (-0.01, 0.03, "no difference")],
)
def test_a_rival_that_loses_more_makes_the_fusion_better(low: float, high: float, said: str):
    judged = calibration.judged(found(low, high))
    assert judged["deep ensemble"]["nll"]["fusion_is"] == said
    assert calibration.tally({"one": judged, "two": judged})["nll against deep ensemble"] == {
        said: 2
    }


def test_of_several_hospitals_all_are_judged_together() -> None:
    whole = found(0.01, 0.03)
    all_ = {"models": whole["models"], "records": 920}
    nested = {"all": all_, "provenance": whole["provenance"], "config": whole["config"]}
    assert calibration.judged(nested)["test_records"] == 920


def test_a_study_without_an_ensemble_is_left_out_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "oncology.json").write_text(json.dumps(found(0.01, 0.03, calibration.RIVALS[:1])))
    (tmp_path / "neurology.json").write_text(json.dumps(found(0.01, 0.03)))
    arguments = ["--read", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["calibration", *arguments])
    calibration.main()
    said = capsys.readouterr()
    assert "oncology: has no deep ensemble: run it with --ensemble 5" in said.err
    assert json.loads(said.out)["skipped"][0] == "breast cancer"
    assert list(json.loads(said.out)["cards"]) == ["rosmap"]


def test_only_keeps_what_was_measured_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("oncology", "neurology"):
        (tmp_path / f"{name}.json").write_text(json.dumps(found(0.01, 0.03)))
        arguments = ["--only", name, "--read", str(tmp_path), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["calibration", *arguments])
        calibration.main()
    kept = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert list(kept["cards"]) == ["breast cancer", "rosmap"]
    assert kept["fusion_is"]["ece against deep ensemble"] == {"better": 2}


def test_a_python_without_the_packages_has_none_of_their_fusions() -> None:
    assert packages.fits(sys.executable) == {}
