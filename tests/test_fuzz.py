"""No spoiled file makes a reader do more than refuse it: a few of each here, many in test-all."""

from pathlib import Path

import pytest

from tests import fuzzing


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, fuzzing.Target]:
    return fuzzing.targets(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("name", fuzzing.SHARE)
def test_good_files_are_read(targets: dict[str, fuzzing.Target], name: str) -> None:
    for seed in targets[name].seeds:
        assert fuzzing.once(targets[name], seed)


@pytest.mark.parametrize("name", fuzzing.SHARE)
def test_spoiled_files_are_refused_or_read(targets: dict[str, fuzzing.Target], name: str) -> None:
    counts = fuzzing.fuzz(targets[name], 60, seed=1)
    assert counts["refused"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.SHARE)
def test_many_spoiled_files(
    targets: dict[str, fuzzing.Target], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = fuzzing.fuzz(targets[name], round(100_000 * fuzzing.SHARE[name]), seed=2)
    with capsys.disabled():
        print(f" {counts['refused']} refused, {counts['read']} read ", end="")


def test_the_watch_sees_what_a_reader_may_not_do(tmp_path: Path) -> None:
    def writes(folder: Path, path: Path) -> None:
        (folder / "inside").write_bytes(b"")
        (tmp_path / "outside").write_bytes(b"")

    def fails(folder: Path, path: Path) -> None:
        raise KeyError("θ")

    def connects(folder: Path, path: Path) -> None:
        import socket

        with socket.socket() as one:
            one.settimeout(0.01)
            one.connect_ex(("127.0.0.1", 9))

    for read, problem in ((writes, "outside"), (fails, "KeyError"), (connects, "socket.connect")):
        with pytest.raises(AssertionError, match=problem):
            fuzzing.once(fuzzing.Target("one", (), read), b"")
