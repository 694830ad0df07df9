"""A model predicts the same after it was saved, and a file that was spoiled is never loaded."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax import model as models
from fusionjax.errors import ModelError
from fusionjax.model import Model
from fusionjax.study import ordered
from fusionjax.types import Batch
from tests.small_study import ENCODERS, Small


@pytest.fixture
def model(small: Small) -> Model:
    return small.fitted.model


@pytest.fixture
def batch(small: Small) -> Batch:
    return next(ordered(small.study, np.arange(40)))


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    models.save(model, tmp_path, keep_cases=True)
    return tmp_path


def bits(tree: object) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_a_loaded_model_gives_the_same_diagnoses_bit_for_bit(
    model: Model, batch: Batch, saved: Path
) -> None:
    again = models.load(saved)
    assert len(again.members) == 2
    assert again.encoders == ENCODERS
    assert bits(models.diagnose(again, batch)) == bits(models.diagnose(model, batch))
    for name in ("limits", "believed", "width", "projection", "certificate"):
        assert getattr(again, name) == getattr(model, name)
    assert again.calibration.name == model.calibration.name
    assert again.calibration.trials == model.calibration.trials
    assert again.cases is not None
    assert again.cases.id == (model.cases and model.cases.id)
    assert bits(again.calibration[1:-1]) == bits(model.calibration[1:-1])
    assert bits(again.tau) == bits(model.tau)


def test_saving_a_loaded_model_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    models.save(models.load(saved), tmp_path / "copy", keep_cases=True)
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (saved / name).read_bytes()


def test_no_training_record_is_named_unless_asked(
    model: Model, batch: Batch, small: Small, tmp_path: Path
) -> None:
    models.save(model, tmp_path)
    again = models.load(tmp_path)
    assert again.cases is None
    text = (tmp_path / "model.json").read_text()
    ids = small.study.table["id"].to_numpy()[small.study.split.train]
    assert not [name for name in ids if f'"{name}"' in text]
    kept, bare = (models.diagnose(one, batch) for one in (model, again))
    assert (bare.nearest == -1).all()
    assert bits(bare[:-1]) == bits(kept[:-1])


def test_features_are_the_mean_over_members(model: Model, batch: Batch) -> None:
    each = [models.features(model._replace(members=(one,)), batch) for one in model.members]
    for got, one, two in zip(models.features(model, batch), *each, strict=True):
        np.testing.assert_allclose(got, (one + two) / 2, atol=1e-6)
        assert not np.array_equal(one, two)


@pytest.mark.parametrize("place", [8, -1, 2000])
def test_a_flipped_byte_is_noticed(saved: Path, place: int) -> None:
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="checksum differs"):
        models.load(saved)


def test_weights_cut_short_are_noticed(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="checksum differs"):
        models.load(saved)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_that_is_not_there_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ModelError, match=f"holds no {name}"):
        models.load(saved)


@pytest.mark.parametrize("step", [-1, 1])
def test_another_schema_is_refused(saved: Path, step: int) -> None:
    rewrite(saved, lambda about: about.update(schema=models.SCHEMA + step))
    with pytest.raises(ModelError, match="Use the version of FusionJAX that wrote it"):
        models.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '{"schema": 1}', "\xff"])
def test_nonsense_instead_of_json_is_refused(saved: Path, text: str) -> None:
    (saved / "model.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ModelError, match=r"model\.json"):
        models.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"card": {"name": "other"}},
        {"card": 3},
        {"card": None},
        {"members": 3},
        {"members": "two"},
        {"encoders": ["bag"]},
        {"encoders": ["bag", "mlp", "cnn"]},
        {"certificate": {"notes": []}},
        {"certificate": 1},
        {"statistics": [{}, {}]},
        {"statistics": [1, 2]},
        {"calibration": {"name": "none"}},
        {"limits": {"coverage": 0.9}},
        {"limits": None},
        {"cases": 3},
    ],
)
def test_json_that_does_not_fit_the_weights_is_refused(saved: Path, change: dict) -> None:
    rewrite(saved, lambda about: about.update(change))
    with pytest.raises(ModelError, match=r"model\.json"):
        models.load(saved)


def test_weights_that_are_none_are_refused_even_with_their_checksum(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"not weights")
    rewrite(saved, lambda about: about.update(sha256=sha256(b"not weights").hexdigest()))
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        models.load(saved)


def test_nothing_present_is_the_prior(model: Model, batch: Batch) -> None:
    found = models.diagnose(model, batch._replace(presence=jnp.zeros_like(batch.presence)))
    prior = np.tile(np.exp(np.asarray(model.bias)), (len(batch.row), 1))
    np.testing.assert_allclose(found.predictive.prob, prior, rtol=1e-5)
    assert not found.reliable.any()
    assert not np.asarray(found.predictive.evidence_mean).any()


def test_a_stated_prior_shifts_the_log_odds_by_its_log_ratio(model: Model, batch: Batch) -> None:
    """With one draw exactly: the mixture over draws is a mean of probabilities."""
    found = model.calibration
    found = found._replace(scale=found.scale[:1], shift=found.shift[:1])
    one = model._replace(theta=tuple(t[:1] for t in model.theta), calibration=found)
    stated = np.array([0.7, 0.1, 0.2], np.float32)
    plain, moved = (
        np.log(np.asarray(models.diagnose(one, batch, prior).predictive.prob, np.float64))
        for prior in (None, stated)
    )
    shift = np.log(stated) - np.asarray(model.bias)
    got = moved - plain
    expected = np.tile(shift - shift[:1], (len(got), 1))
    np.testing.assert_allclose(got - got[:, :1], expected, atol=1e-4)
    evidence = [
        np.asarray(models.diagnose(model, batch, prior).predictive.evidence_mean)
        for prior in (None, stated)
    ]
    np.testing.assert_array_equal(*evidence)


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    about = json.loads((folder / "model.json").read_text())
    change(about)
    (folder / "model.json").write_text(json.dumps(about))
