"""One file or cell -> Raw, and hostile files that must be refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from fusionjax.card import AudioOptions, ImageOptions, SignalOptions, VectorOptions
from fusionjax.records import readers
from fusionjax.records.readers import Unreadable

GREY = ImageOptions(size=8)


def png(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def wav(path: Path, sound: np.ndarray, rate: int) -> Path:
    soundfile.write(path, sound, rate, subtype="PCM_16")
    return path


def pixels_of(path: Path, options: ImageOptions = GREY) -> np.ndarray:
    return readers.image([path], options)[0]


def test_an_image_of_the_right_size_is_kept_bit_for_bit(tmp_path: Path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    assert np.array_equal(pixels_of(png(tmp_path / "a.png", pixels))[..., 0], pixels)


def test_images_become_the_cards_size_and_colour(tmp_path: Path):
    colour = png(tmp_path / "a.png", np.full((30, 20, 3), [255, 0, 0], np.uint8))
    assert readers.image([colour, colour], GREY).shape == (2, 8, 8, 1)
    red = pixels_of(colour, ImageOptions(size=8, colour=True))
    assert np.array_equal(red, np.full((8, 8, 3), [255, 0, 0], np.uint8))
    assert readers.image([], ImageOptions(size=8, colour=True)).shape == (0, 8, 8, 3)


def test_sixteen_bits_are_scaled_by_their_full_range(tmp_path: Path):
    pixels = np.full((9, 9), 257 * 100, np.uint16)
    assert np.array_equal(pixels_of(png(tmp_path / "a.png", pixels)), np.full((8, 8, 1), 100))


def test_transparent_pixels_are_black_and_palettes_are_read(tmp_path: Path):
    clear = np.full((8, 8, 4), [255, 255, 255, 0], np.uint8)
    assert pixels_of(png(tmp_path / "a.png", clear)).max() == 0
    palette = Image.fromarray(np.full((8, 8), 200, np.uint8)).convert("P")
    palette.save(tmp_path / "p.png", transparency=bytes([255] * 256))
    assert pixels_of(tmp_path / "p.png").min() == 200


def test_photographs_are_turned_upright(tmp_path: Path):
    picture = Image.new("L", (16, 16))
    picture.paste(255, (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by half a turn
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert pixels_of(tmp_path / "a.jpg")[0].max() < 128 < pixels_of(tmp_path / "a.jpg")[-1].min()


def bomb(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [8300, 9600, 200_000])
def test_image_bombs_are_refused_by_their_header(tmp_path: Path, size: int):
    (tmp_path / "a.png").write_bytes(bomb(size, size))
    with pytest.raises(Unreadable, match="64 million pixels"):
        pixels_of(tmp_path / "a.png")


def test_damaged_images_are_refused(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = png(tmp_path / "a.png", noise).read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match="truncated"):
        pixels_of(tmp_path / "b.png")
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match="truncated"):
        pixels_of(tmp_path / "b.jpg")
    for content in (b"", b"text", b"GIF89a"):
        (tmp_path / "c.png").write_bytes(content)
        with pytest.raises(Unreadable, match="no PNG or JPEG"):
            pixels_of(tmp_path / "c.png")


def test_an_image_cut_anywhere_is_refused_or_still_whole(tmp_path: Path):
    whole = png(tmp_path / "a.png", np.eye(8, dtype=np.uint8)).read_bytes()
    refused = 0
    for cut in range(len(whole)):
        (tmp_path / "b.png").write_bytes(whole[:cut] + b"\xff" * 3)
        try:
            assert np.array_equal(pixels_of(tmp_path / "b.png")[..., 0], np.eye(8))
        except Unreadable:
            refused += 1
    assert refused >= len(whole) - 20


def test_sound_at_the_cards_rate_is_kept_bit_for_bit(tmp_path: Path):
    sound = np.array([-32768, -1, 0, 1, 32767] * 100, np.int16)
    (read,) = readers.audio([wav(tmp_path / "a.wav", sound, 4000)], AudioOptions(4000, 1.0))
    assert np.array_equal(read, sound)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sound_is_mixed_resampled_and_cut_after_a_sample_more(tmp_path: Path, suffix: str):
    time = np.arange(16_000) / 8000
    tone = 0.5 * np.sin(2 * np.pi * 200 * time)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone, 0 * tone], axis=1), 8000)
    (read,) = readers.audio([path], AudioOptions(rate=2000, seconds=0.5))
    expected = 0.25 * np.sin(2 * np.pi * 200 * np.arange(1001) / 2000)
    assert read.shape == (1001,)
    (whole,) = readers.audio([path], AudioOptions(rate=2000, seconds=2.0))
    assert whole.shape == (4000,)
    np.testing.assert_allclose(read[50:-50] / 32768, expected[50:-50], atol=2e-3)


def test_a_recording_that_is_cut_or_empty_or_no_sound_is_refused(tmp_path: Path):
    path = wav(tmp_path / "a.wav", np.ones(4000, np.int16), 4000)
    whole = path.read_bytes()
    for content, problem in [
        (whole[:3000], "truncated"),
        (whole[:44], "truncated|no sound"),
        (whole[:20], "damaged"),
        (b"text", "damaged"),
        (b"", "damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(Unreadable, match=problem):
            readers.audio([path], AudioOptions())
    wav(path, np.zeros(0, np.int16), 4000)
    with pytest.raises(Unreadable, match="no sound"):
        readers.audio([path], AudioOptions())


@pytest.mark.parametrize(("channels", "rate"), [(1, 1), (1, 2_000_000_000), (500, 8000)])
def test_absurd_wav_headers_are_refused_before_reading(tmp_path: Path, channels: int, rate: int):
    body = struct.pack("<HHIIHH", 1, channels, rate, rate * channels % 2**32, channels * 2, 16)
    data = b"\0" * 4000
    content = b"WAVEfmt " + struct.pack("<I", 16) + body + b"data" + struct.pack("<I", 4000) + data
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    with pytest.raises(Unreadable):
        readers.audio([tmp_path / "a.wav"], AudioOptions(seconds=600.0))


def test_a_header_that_promises_more_than_there_is(tmp_path: Path):
    content = wav(tmp_path / "a.wav", np.ones(4000, np.int16), 4000).read_bytes()
    huge = struct.pack("<I", 2**31 - 100)
    (tmp_path / "a.wav").write_bytes(content[:4] + huge + content[8:40] + huge + content[44:])
    with pytest.raises(Unreadable, match="truncated"):
        readers.audio([tmp_path / "a.wav"], AudioOptions())


def test_signals_from_csv_and_npy_are_the_same(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    values[3, 0] = np.nan
    lines = ["I,II", *(f"{a},{b}" for a, b in values.tolist())]
    (tmp_path / "a.csv").write_text("\r\n".join(lines))
    np.save(tmp_path / "a.npy", values)
    paths = [tmp_path / "a.csv", tmp_path / "a.npy"]
    for read in readers.signal(paths, SignalOptions(length=10)):
        np.testing.assert_array_equal(read, values[:11])
    (second,) = readers.signal(paths[:1], SignalOptions(length=10, channels=("II",)))
    np.testing.assert_array_equal(second, values[:11, 1:])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not rows of numbers"),
        ("I,II\n", "not rows of numbers|shape"),
        ("I,II\n1,2\n3\n", "not rows of numbers"),
        ("I,II\n1,x\n", "not rows of numbers"),
        ("1,2\n3,4\n", "no header"),
        ("I,III\n1,2\n", "lacks channel 'II'"),
        ("I,II\n1,inf\n", "infinite"),
        ("I,II\n1,\0\n", "not rows of numbers"),
        ("I;II\n1;2\n", "lacks channel|not rows of numbers"),
    ],
)
def test_signals_that_are_no_numbers_are_refused(tmp_path: Path, content: str, problem: str):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(Unreadable, match=problem):
        readers.signal([tmp_path / "a.csv"], SignalOptions(channels=("I", "II")))


def test_arrays_with_objects_or_lies_in_them_are_refused(tmp_path: Path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Unreadable, match="without objects"):
        readers.signal([path], SignalOptions())
    np.save(path, np.array(["a", "b"]))
    with pytest.raises(Unreadable, match="array of numbers"):
        readers.signal([path], SignalOptions())
    np.save(path, np.zeros((100, 2)))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(Unreadable, match="damaged"):
        readers.signal([path], SignalOptions())
    np.savez(tmp_path / "b.npz", a=np.zeros(3))
    (tmp_path / "b.npz").rename(path)
    with pytest.raises(Unreadable, match="array of numbers"):
        readers.signal([path], SignalOptions())


def test_vectors_are_one_row(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.arange(3.0)[None, :])
    read = readers.vector([tmp_path / "a.npy"], VectorOptions())
    np.testing.assert_array_equal(read, np.arange(3, dtype=np.float32))
    assert readers.vector([], VectorOptions()).shape == (0,)
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    with pytest.raises(Unreadable, match="shape"):
        readers.vector([tmp_path / "a.npy"], VectorOptions())


def test_notes_are_cells_or_the_files_that_they_name(tmp_path: Path):
    (tmp_path / "a.txt").write_text("咳嗽 three days\n", encoding="utf-8")
    (tmp_path / "b c.txt").write_text("fever")
    assert readers.text(["a.txt; b c.txt", "", "and more"], tmp_path) == (
        "咳嗽 three days\nfever\nand more"
    )
    sentence = "Results: see report.txt"
    assert readers.text([sentence], tmp_path) == sentence
    for name in ("absent.txt", "../a.txt"):
        with pytest.raises(Unreadable):
            readers.text([name], tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Unreadable, match="UTF-8"):
        readers.text(["a.txt"], tmp_path)


@pytest.mark.parametrize(
    "name", ["../out.png", "/etc/passwd", "link.png", "linked/a.png", "C:\\a.png", "a/../../x"]
)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.png").write_bytes(b"secret")
    (inside / "link.png").symlink_to(outside / "a.png")
    (inside / "linked").symlink_to(outside)
    with pytest.raises(Unreadable, match="leads out"):
        readers.locate(inside, name)


def test_more_files_than_memory_holds_are_refused(tmp_path: Path):
    readers.check_count(1024, ImageOptions(size=1024))
    readers.check_count(30_000, ImageOptions(size=64))
    for options in (
        ImageOptions(size=1024, colour=True),
        AudioOptions(rate=192_000, seconds=600.0),
    ):
        with pytest.raises(Unreadable, match="names 1024 files: over 1 GiB"):
            readers.check_count(1024, options)
    (tmp_path / "a.txt").write_bytes(b"x" * (1 << 20))
    with pytest.raises(Unreadable, match="names 65 notes of over 64 MiB"):
        readers.text([";".join(["a.txt"] * 65)], tmp_path)


def test_what_is_no_file_is_refused_without_quoting_notes(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unreadable, match="not a file"):
        readers.locate(tmp_path, "folder")
    with pytest.raises(Unreadable, match=r"'a\.png': there is no such file"):
        readers.locate(tmp_path, "a.png")
    note = "Patient complains of a secret disease " * 10
    with pytest.raises(Unreadable) as error:
        readers.locate(tmp_path, note)
    assert "secret" not in str(error.value)
    with pytest.raises(Unreadable):
        readers.locate(tmp_path, "a\0.png")
