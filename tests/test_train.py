"""Training: it learns, keeps what is not trained, and resumes bit for bit after SIGKILL."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from fusionjax import train
from fusionjax.errors import ModelError
from tests import train_child


def test_learns_and_keeps_the_best() -> None:
    trained = train_child.fit(None)
    assert trained.validation_nll[0] > trained.validation_nll.min() + 0.05
    assert trained.validation_nll.min() < 0.5
    assert np.isfinite(trained.train_nll).all()


def test_an_untrained_encoder_is_left_alone() -> None:
    seen, _ = train_child.loaders()
    sample = next(iter(seen.ordered()))
    start = train.init(jax.random.key(train_child.CONFIG.seed), train_child.network(), sample)
    trained = train_child.fit(None)
    for before, after in zip(
        jax.tree.leaves(start.encoders[1]),
        jax.tree.leaves(trained.weights.encoders[1]),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
    first = zip(
        jax.tree.leaves(start.encoders[0]),
        jax.tree.leaves(trained.weights.encoders[0]),
        strict=True,
    )
    assert any(not np.array_equal(before, after) for before, after in first)


def test_killed_and_resumed_equals_never_killed(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _start(whole).wait() == 0
    child = _start(killed)
    _wait_for_checkpoints(killed, 3, child)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (killed / "weights.npz").exists()
    assert _start(killed).wait() == 0
    with np.load(whole / "weights.npz") as a, np.load(killed / "weights.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])


def test_checkpoints_of_another_configuration_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = dataclasses.replace(train_child.CONFIG, epochs=1)
    monkeypatch.setattr(train_child, "CONFIG", short)
    train_child.fit(tmp_path)
    monkeypatch.setattr(train_child, "CONFIG", dataclasses.replace(short, learning_rate=1e-4))
    with pytest.raises(ModelError, match="another configuration"):
        train_child.fit(tmp_path)


def _start(folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    root = Path(__file__).parents[1]
    return subprocess.Popen([sys.executable, "-m", "tests.train_child", str(folder)], cwd=root)


def _wait_for_checkpoints(folder: Path, count: int, child: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        steps = [p for p in (folder / "checkpoints" / "states").glob("*") if p.name.isdigit()]
        if steps and max(int(p.name) for p in steps) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint was written in time")
