"""Every reader of a stranger's file, fed with spoiled ones; `python -m tests.fuzzing` counts them.

    python -m tests.fuzzing --inputs 100000            # some minutes, ends with the counts
    python -m tests.fuzzing --atheris card -runs=20000 # led by coverage, where atheris installs

A reader may refuse with an error of our own, or read; it may not raise another, touch a file
outside its folder for writing, start a process, or open a connection. Inputs are good files with
bytes flipped, cut, doubled, overwritten by telling values or joined with another's.
"""

import io
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fusionjax import archive, preprocess
from fusionjax import card as cards
from fusionjax import model as models
from fusionjax.card import AudioOptions, ImageOptions, SignalOptions, VectorOptions
from fusionjax.errors import FusionError
from fusionjax.posterior import Certificate, Posterior
from fusionjax.predictions import read as predictions
from fusionjax.records import readers, tables
from fusionjax.records.readers import Unreadable
from tests import small_folder

SHARE = {
    "card": 0.4,
    "table": 0.15,
    "parquet": 0.05,
    "predictions": 0.06,
    "image": 0.1,
    "sound": 0.08,
    "array": 0.05,
    "signal": 0.05,
    "model": 0.06,
}
TELLING = (
    *(b"\0", b"\xff", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"-1", b"1e999"),
    *(b"nan", b"99999999999999999999", b'"', b'"""', b"'", b"[", b"[[", b"{", b"]", b"=", b"\n"),
    *(b",", b";", b"../../x", b"/etc/passwd", b"C:\\x", b"true", b"1979-05-27", b"*", b"\\u0000"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"=cmd()", b"<script>", b"." * 300, b"a" * 5000),
)


class Target(NamedTuple):
    """`seeds` are good files; `read` takes the folder and the name of a spoiled one."""

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path, Path], object]


def targets(folder: Path) -> dict[str, Target]:
    """Every reader with good files to spoil, which are made in `folder`."""
    small_folder.write(folder, small_folder.rows())
    frame = _parquet(folder)
    models.save(_model(folder), folder / "model")
    good = {path.name: path.read_bytes() for path in sorted((folder / "model").iterdir())}
    np.save(folder / "a.npy", np.arange(12.0).reshape(3, 4))
    _pictures_and_sounds(folder)
    table, card = folder / "records.csv", folder / "dataset.toml"
    every = [
        Target("card", (card.read_bytes(), _card_of_all()), _read_card),
        Target("table", (table.read_bytes(),), lambda _, path: tables.read(path, ["*"])),
        Target("parquet", (frame.read_bytes(),), _read_parquet),
        Target("predictions", (_predictions(),), _read_predictions),
        Target("image", _bytes(folder, "*.png", "*.jpg"), _read_image),
        Target("sound", _bytes(folder, "*.wav", "*.flac"), _read_sound),
        Target("array", _bytes(folder, "*.npy"), _read_array),
        Target("signal", _bytes(folder / "ecg", "0.csv"), _read_signal),
        Target("model", tuple(good.values()), partial(_read_model, good)),
    ]
    return {target.name: target for target in every}


def spoiled(rng: np.random.Generator, seeds: tuple[bytes, ...]) -> bytes:
    """A good file with one to six things done to it, mostly one."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(min(int(rng.geometric(0.6)), 6)):
        at, length = (int(rng.integers(len(data) + 1)), int(rng.geometric(0.1)))
        match rng.integers(7):
            case 0 if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length] * int(rng.integers(1, 40))
            case 3:
                telling = TELLING[rng.integers(len(TELLING))]
                data[at : at + len(telling)] = telling
            case 4:
                data[at:at] = TELLING[rng.integers(len(TELLING))]
            case 5:
                other = seeds[rng.integers(len(seeds))]
                data[at:] = other[int(rng.integers(len(other) + 1)) :]
            case _:
                data = data[:at]
    return bytes(data)


def fuzz(target: Target, inputs: int, seed: int = 0) -> dict[str, int]:
    """Read that many spoiled files: how many were refused and how many could be read.

    Raises AssertionError, with the input beside it, for anything that a reader may not do.
    """
    rng, counts = np.random.default_rng(seed), {"refused": 0, "read": 0}
    for _ in range(inputs):
        content = spoiled(rng, target.seeds)
        counts["read" if once(target, content) else "refused"] += 1
    return counts


def once(target: Target, content: bytes) -> bool:
    """Whether the reader could read it; raises AssertionError for what it may not do."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        path = folder / f"input{SUFFIX.get(target.name, '')}"
        path.write_bytes(content)
        with watched(folder) as broken:
            try:
                target.read(folder, path)
                was_read = True
            except (FusionError, Unreadable):
                was_read = False
            except Exception as error:
                raise AssertionError(f"{target.name}: {error!r} for {content!r}") from error
        assert not broken, f"{target.name}: {broken} for {content!r}"
        return was_read
    finally:
        shutil.rmtree(folder)


SUFFIX = {"parquet": ".parquet", "array": ".npy", "signal": ".csv", "table": ".csv"}
_watch: list[tuple[Path, list[str]]] = []


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """A list that fills with what is done outside `folder`: writes, processes, connections."""
    if not _watch:
        sys.addaudithook(_audit)
        _watch.append((Path(), []))
    broken: list[str] = []
    _watch.append((folder, broken))
    try:
        yield broken
    finally:
        _watch.pop()


def _audit(event: str, arguments: tuple) -> None:
    if len(_watch) < 2:
        return
    folder, broken = _watch[-1]
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "socket.connect"):
        broken.append(event)
    if event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link"):
        broken += [f"{event} {p}" for p in arguments[:2] if _is_outside(p, folder)]
    if event == "open":
        path, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+") or bool((flags or 0) & 3)
        if writes and _is_outside(path, folder):
            broken.append(f"write {path}")


def _is_outside(path: object, folder: Path) -> bool:
    if not isinstance(path, str | bytes | Path):
        return False
    text = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
    return text != "/dev/null" and not Path(text).is_relative_to(folder)


def _read_card(folder: Path, path: Path) -> None:
    (folder / "records.csv").write_text("id,diagnosis\na,b\n")
    cards.from_dict(cards.dumps(cards.load(path)), path)


def _read_parquet(_: Path, path: Path) -> None:
    tables.read(path, ["*"])


def _read_predictions(_: Path, path: Path) -> None:
    for _block in predictions.blocks(predictions.layout(path)):
        pass


def _read_image(_: Path, path: Path) -> None:
    readers.image([path], ImageOptions(size=16))


def _read_sound(_: Path, path: Path) -> None:
    readers.audio([path], AudioOptions(rate=2000, seconds=0.5))


def _read_array(_: Path, path: Path) -> None:
    try:
        readers.vector([path], VectorOptions())
    except Unreadable:
        readers.signal([path], SignalOptions())


def _read_signal(_: Path, path: Path) -> None:
    readers.signal([path], SignalOptions(length=50))


def _read_model(good: dict[str, bytes], folder: Path, path: Path) -> None:
    """The spoiled file as a model's JSON or as its arrays, under a seal that fits it."""
    content = path.read_bytes()
    name = archive.ABOUT if content[:1] == b"{" else archive.ARRAYS
    parts = {**good, name: content}
    (folder / archive.ARRAYS).write_bytes(parts[archive.ARRAYS])
    (folder / archive.ABOUT).write_bytes(_sealed(parts[archive.ABOUT], parts[archive.ARRAYS]))
    models.load(folder)


def _model(folder: Path) -> models.Model:
    """A model of the folder's laboratory values that nobody fitted."""
    whole = cards.load(folder)
    card = replace(whole, classes=("ill", "well"), modalities=whole.modalities[4:5])
    (labs,) = card.modalities
    numbers = np.arange(6, dtype=np.float32).reshape(6, 1)
    raws = [readers.Tabular(row, ("yes" if i % 2 else "no",)) for i, row in enumerate(numbers)]
    statistics = preprocess.fit(labs, raws)
    maps = (models.Map(jnp.zeros(3), jnp.ones((3, 2))),)
    found = Posterior((jnp.ones((2, 2, 3)),), jnp.ones((2, 1)), Certificate("none", True))
    member, bias = models.Member(({},), maps), jnp.zeros(2)
    return models.of_posterior(card, (statistics,), ("linear",), (4, 2), (member,), bias, found)


def _sealed(about: bytes, blob: bytes) -> bytes:
    try:
        content = json.loads(about)
        content.pop("sha256", None)
        return json.dumps({**content, "sha256": archive.seal(content, blob)}).encode()
    except (ValueError, AttributeError, TypeError):
        return about


def _bytes(folder: Path, *patterns: str) -> tuple[bytes, ...]:
    return tuple(p.read_bytes() for pattern in patterns for p in sorted(folder.glob(pattern)))


def _parquet(folder: Path) -> Path:
    import pandas as pd

    frame = pd.DataFrame({"id": ["a", "b", "c"], "x": [1.0, None, 3.0], "n": ["yes", None, "no"]})
    frame.to_parquet(folder / "records.parquet", index=False)
    return folder / "records.parquet"


def _pictures_and_sounds(folder: Path) -> None:
    import soundfile
    from PIL import Image

    pixels = np.arange(3 * 20 * 24, dtype=np.uint8).reshape(20, 24, 3)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "b.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(folder / "c.png")
    Image.fromarray(pixels).convert("P").save(folder / "d.png")
    sound = (np.sin(np.arange(1200) / 5) * 9000).astype(np.int16)
    for name in ("a.wav", "b.flac"):
        soundfile.write(folder / name, sound, 4000, subtype="PCM_16")
    soundfile.write(folder / "c.wav", np.stack([sound, sound], 1) / 32768, 4000, subtype="FLOAT")


def _predictions() -> bytes:
    text = io.StringIO()
    text.write("id,label,split,group,site,p_ill,p_well\n")
    for i in range(6):
        text.write(
            f'r{i},{"ill" if i % 2 else "well"},test,"p, {i}",s{i % 2},0.{i}5,{0.95 - i / 10:.2f}\n'
        )
    return text.getvalue().encode()


def _card_of_all() -> bytes:
    return b"""
name = "every key"
description = "a card"
missing = ["", "NA", "-9"]
table = "records.csv"
[columns]
id = "id"
label = "diagnosis"
site = "hospital"
date = "seen"
split = "part"
[label]
classes = ["ill", "well"]
map = { "1" = "ill", "0" = "well" }
ignore = ["unknown"]
[split]
by = "site"
test = 0.2
validation = 0.1
seed = 7
holdout = ["north"]
[modalities.sound]
kind = "audio"
column = "sound"
rate = 8000
seconds = 2.0
mels = 32
[modalities.ecg]
kind = "signal"
columns = ["a", "b"]
rate = 250.0
channels = ["I", "II"]
[modalities.genes]
kind = "vector"
columns = ["g_*"]
encoder = "linear"
"""


def main(inputs: int) -> None:
    """Fuzz every reader and print the counts."""
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        total = 0
        for name, target in targets(Path(folder)).items():
            counts = fuzz(target, round(inputs * SHARE[name]))
            total += sum(counts.values())
            print(f"{name:12} {counts['refused']:7} refused {counts['read']:7} read", flush=True)
        print(f"{'all':12} {total:7} inputs, no error but our own, nothing touched outside")


def led_by_coverage(name: str, arguments: list[str]) -> None:
    """Fuzz one reader by atheris, whose arguments follow."""
    import atheris  # pyright: ignore

    with tempfile.TemporaryDirectory() as folder:
        target = targets(Path(folder))[name]
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for i, seed in enumerate(target.seeds):
            (corpus / str(i)).write_bytes(seed)
        atheris.instrument_all()
        atheris.Setup(
            [sys.argv[0], str(corpus), *arguments], lambda content: once(target, content) and None
        )
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--atheris"]:
        led_by_coverage(sys.argv[2], sys.argv[3:])
    else:
        main(int(sys.argv[2]) if sys.argv[1:2] == ["--inputs"] else 100_000)
