"""A value on disk is whole, or refused; a kill leaves the last one."""

import json
from pathlib import Path

import numpy as np
import pytest

from fusionjax import archive, files
from fusionjax.errors import ModelError

ARRAYS = {"θ/0": np.arange(12, dtype=np.float32).reshape(3, 4), "empty": np.zeros((0, 2))}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    archive.save(tmp_path, {"schema": 1, "name": "ψ", "scale": 0.1}, ARRAYS)
    return tmp_path


def arrays_of(folder: Path) -> Path:
    (path,) = folder.glob("model-*.safetensors")
    return path


def test_what_was_saved_is_loaded(saved: Path) -> None:
    about, arrays = archive.load(saved, 1)
    assert about["name"] == "ψ"
    assert about["scale"] == 0.1
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert sorted(p.name for p in saved.iterdir()) == [arrays_of(saved).name, "model.json"]


def test_a_bit_flipped_anywhere_is_noticed(saved: Path) -> None:
    for path in (saved / "model.json", arrays_of(saved)):
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            for bit in (1, 32):
                data = bytearray(whole)
                data[place] ^= bit
                path.write_bytes(data)
                if path.suffix == ".json" and _same(data, whole):
                    continue
                with pytest.raises(ModelError):
                    archive.load(saved, 1)
        path.write_bytes(whole)


def _same(one: bytes, two: bytes) -> bool:
    """Whether two texts of JSON say the same: blanks do not matter."""
    try:
        return json.loads(one) == json.loads(two)
    except ValueError:
        return False


@pytest.mark.parametrize("cut", [0, 1, 8, 40, -1])
def test_a_file_cut_short_is_refused(saved: Path, cut: int) -> None:
    for path in (saved / "model.json", arrays_of(saved)):
        whole = path.read_bytes()
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelError):
            archive.load(saved, 1)
        path.write_bytes(whole)


def test_arrays_of_another_model_are_refused(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    archive.save(other, {"schema": 1}, {"θ/0": np.ones(3)})
    arrays_of(saved).write_bytes(arrays_of(other).read_bytes())
    with pytest.raises(ModelError, match="checksum"):
        archive.load(saved, 1)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": 2}, "has schema 2, this version reads 1"),
        ({"schema": None}, "has schema None"),
        ({"arrays": "../model-0123456789abcdef.safetensors"}, "names no file"),
        ({"arrays": "model-0123456789abcdef.safetensors"}, "holds no model-0123456789abcdef"),
        ({"arrays": 3}, "names no file"),
        ({"name": "other"}, "checksum"),
        ({"sha256": None}, "checksum"),
    ],
)
def test_json_that_was_changed_is_refused(saved: Path, change: dict, problem: str) -> None:
    content = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ModelError, match=problem):
        archive.load(saved, 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 100_000])
def test_what_is_no_json_is_refused(saved: Path, text: str) -> None:
    (saved / "model.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ModelError, match=r"model\.json"):
        archive.load(saved, 1)


def test_larger_files_than_a_model_has_are_not_read(saved: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_ARRAYS", 10)
    with pytest.raises(ModelError, match="is larger than"):
        archive.load(saved, 1)


@pytest.mark.parametrize("writes", [0, 1])
def test_what_stood_there_stays_when_writing_fails(saved: Path, monkeypatch, writes: int) -> None:
    left, write = [writes], files.write

    def full(path: Path, content: bytes | str) -> None:
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        write(path, content)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError, match="No space"):
        archive.save(saved, {"schema": 1, "name": "new"}, {"θ/0": np.ones(5)})
    about, arrays = archive.load(saved, 1)
    assert about["name"] == "ψ"
    assert arrays["θ/0"].shape == (3, 4)


def test_a_new_value_takes_the_place_of_the_old(saved: Path) -> None:
    archive.save(saved, {"schema": 1, "name": "new"}, {"θ/0": np.ones(5)})
    about, arrays = archive.load(saved, 1)
    assert about["name"] == "new"
    assert list(arrays) == ["θ/0"]
    assert len(list(saved.iterdir())) == 2
