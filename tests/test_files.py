"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from fusionjax import files


def test_the_old_file_stays_when_writing_fails(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "result.json"
    files.write(path, "old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_text_is_utf8_and_bytes_are_themselves(tmp_path: Path) -> None:
    files.write(tmp_path / "text", "ψ 病")
    files.write(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "text").read_bytes() == "ψ 病".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bytes", "text"]
