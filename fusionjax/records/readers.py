"""Files and cells of one record -> Raw, one function for each kind of modality.

Files are hostile until read: each has bounds on size, dimensions and duration that are checked on
its header, before anything is decoded. Raw is what preprocessing φ_i starts from:

| kind    | Raw                                                           | nothing there      |
|---------|---------------------------------------------------------------|--------------------|
| image   | uint8 [instance, size, size, channel]                         | [0, ...]           |
| audio   | tuple of int16 [sample], mono, at the card's rate             | ()                 |
| signal  | tuple of float32 [time, channel], NaN in gaps                 | ()                 |
| text    | str                                                           | ""                 |
| tabular | (float32 [number], NaN where missing; tuple of levels, or "") | all NaN and all "" |
| vector  | float32 [column], NaN where missing                           | [0]                |

Sound and signals keep one sample more than the card has room for, which tells what was cut.
"""

import csv
import os
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from fusionjax.card import (
    AudioOptions,
    ImageOptions,
    Options,
    SignalOptions,
    VectorOptions,
    escapes,
    nearest,
)

LARGEST_FILE = 1 << 30  # bytes
LARGEST_NOTE = 1 << 20  # bytes
LARGEST_NOTES = 1 << 26  # bytes of all files that one cell names
LARGEST_IMAGE = 1 << 26  # pixels
LARGEST_RECORDING = 1 << 27  # samples of all channels together
LARGEST_STACK = 1 << 30  # bytes of all files of one modality of one record, decoded
SOUND_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")


class Tabular(NamedTuple):
    """Numbers (NaN where missing) and levels ("" where missing), each in the order of the card."""

    numeric: Float32[np.ndarray, " number"]
    categorical: tuple[str, ...]


Raw = np.ndarray | str | tuple[np.ndarray, ...] | Tabular


class Unreadable(Exception):
    """What is wrong with a file or cell, and how to mend it; who calls knows row and column."""

    def __init__(self, problem: str, mend: str):
        self.problem, self.mend = problem, mend
        super().__init__(f"{problem}. {mend}")


def image(
    paths: Sequence[Path], options: ImageOptions
) -> UInt8[np.ndarray, "instance size size channel"]:
    """Decode PNG or JPEG images, upright, grey or RGB, and resize them to the card's size.

    16-bit greys are scaled by their full range, 65535; transparent pixels become black.
    """
    return stack_images([_decode_image(path, options) for path in paths], options)


def stack_images(
    images: Sequence[np.ndarray], options: ImageOptions
) -> UInt8[np.ndarray, "instance size size channel"]:
    """Images [size, size, channel] as one array, of length 0 where there are none."""
    shape = (len(images), options.size, options.size, 3 if options.colour else 1)
    return np.stack(images) if len(images) else np.zeros(shape, np.uint8)


def square(picture: Image.Image, options: ImageOptions) -> UInt8[np.ndarray, "size size channel"]:
    """A picture as [size, size, channel], grey or RGB, resized with antialiasing."""
    size = (options.size, options.size)
    if picture.mode.startswith("I"):
        grey = Image.fromarray(np.asarray(picture, np.float32) / 257)
        grey = np.asarray(grey.resize(size, Image.Resampling.BILINEAR))
        picture = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    picture = picture.convert("RGB" if options.colour else "L")
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    return pixels.reshape(*size, -1)


def audio(
    paths: Sequence[Path], options: AudioOptions
) -> tuple[Int16[np.ndarray, " _sample"], ...]:
    """Decode WAV or FLAC recordings, mixed and resampled to the card's rate.

    Only the first `seconds`, and one sample of what comes after, are kept.
    """
    return tuple(_decode_sound(path, options) for path in paths)


def mono(
    sound: Float32[np.ndarray, "frame channel"], rate: int | float, options: AudioOptions
) -> Int16[np.ndarray, " sample"]:
    """Mix a recording at `rate` Hz to one channel at the card's rate, cut as `audio` says."""
    mixed = np.clip(sound, -1, 1).mean(axis=1)
    if rate != options.rate:
        mixed = soxr.resample(mixed, rate, options.rate)
    mixed = mixed[: round(options.seconds * options.rate) + 1]
    return np.clip(np.rint(mixed * 32768), -32768, 32767).astype(np.int16)


def signal(
    paths: Sequence[Path], options: SignalOptions
) -> tuple[Float32[np.ndarray, "_time channel"], ...]:
    """Read signals from CSV, under a header that names the channels, or NPY [time, channel].

    Only the first `length` samples, and one of what comes after, are kept; a gap is NaN.
    """
    return tuple(_decode_signal(path, options) for path in paths)


def text(notes: Sequence[str], folder: Path | None) -> str:
    """Join notes by newlines; a cell that names .txt files in `folder` stands for these."""
    return "\n".join(_note(cell, folder) for cell in notes if cell)


def note_files(cell: str, folder: Path | None) -> tuple[str, ...]:
    """The .txt files that the cell of a note names, none if it is the note itself."""
    if folder is None or not cell.lower().endswith(".txt"):
        return ()
    files = names(cell)
    return files if all(_is_note_file(name, folder) for name in files) else ()


def vector(paths: Sequence[Path], options: VectorOptions) -> Float32[np.ndarray, " column"]:
    """Read a vector from one NPY file, [column] or [1, column]."""
    if not paths:
        return np.zeros(0, np.float32)
    if len(paths) > 1:
        raise Unreadable("a vector in several files", "Name one, or use several modalities.")
    values = _load_npy(paths[0])
    if values.size != max(values.shape, default=0):
        shape = list(values.shape)
        raise Unreadable(f"{paths[0].name!r} has shape {shape}", "Expected one vector.")
    return float32(values.reshape(-1), repr(paths[0].name))


def float32(values: np.ndarray, what: str) -> Float32[np.ndarray, "..."]:
    """The numbers as float32; raises Unreadable where one is infinite or too large for it."""
    with np.errstate(over="ignore"):
        values = np.array(values, np.float32)
    if np.isinf(values).any():
        raise Unreadable(f"{what} holds infinite values", "Write nan where there is no value.")
    return values


def names(cell: str) -> tuple[str, ...]:
    """The files that a cell names, separated by semicolons."""
    return tuple(name for part in cell.split(";") if (name := part.strip()))


def check_count(count: int, options: Options) -> None:
    """Raise Unreadable where so many files, decoded, could not be held together."""
    match options:
        case ImageOptions(size=size, colour=colour):
            each = size * size * (3 if colour else 1)
        case AudioOptions(rate=rate, seconds=seconds):
            each = round(2 * rate * seconds)
        case SignalOptions(length=length, channels=channels):
            each = 4 * length * max(len(channels), 1)
        case _:
            each = 1
    if count * each > LARGEST_STACK:
        raise Unreadable(f"names {count} files: over 1 GiB decoded", "Split the record.")


def locate(folder: Path, name: str) -> Path:
    """The regular file that a cell names below `folder`; raises Unreadable, also for escapes."""
    try:
        if escapes(folder, name):
            raise Unreadable(f"{_shown(name)} leads out of the folder", "Move the file into it.")
        status = os.stat(folder / name)
    except (OSError, ValueError, RuntimeError):
        hint = " Write paths with '/', not '\\'." if "\\" in name else ""
        problem = f"{_shown(name)}: there is no such file"
        raise Unreadable(problem, f"Check the name, relative to the folder.{hint}") from None
    if not S_ISREG(status.st_mode):
        raise Unreadable(f"{_shown(name)} is not a file", "Name a file; ';' separates several.")
    if status.st_size > LARGEST_FILE:
        raise Unreadable(f"{_shown(name)} is larger than 1 GiB", "Shorten or shrink it.")
    return folder / name


def _shown(name: str) -> str:
    # A column that was mistaken for files may hold notes, which no message may quote.
    is_name = len(name) <= 200 and len(name.split()) <= 3 and name.isprintable()
    return repr(name) if is_name else "the cell"


def _decode_image(path: Path, options: ImageOptions) -> np.ndarray:
    bomb = Unreadable(f"{path.name!r} has more than 64 million pixels", "Shrink the image.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > LARGEST_IMAGE:
                    raise bomb
                return square(ImageOps.exif_transpose(picture), options)
    except Unreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise bomb from None
    except UnidentifiedImageError:
        raise Unreadable(f"{path.name!r} is no PNG or JPEG image", "Convert the image.") from None
    except Exception:  # what a decoder raises on a damaged file is anybody's guess
        problem = f"{path.name!r} is truncated or damaged"
        raise Unreadable(problem, "Copy or export the image again.") from None


def _decode_sound(path: Path, options: AudioOptions) -> np.ndarray:
    try:
        with soundfile.SoundFile(path) as file:
            seconds = options.seconds + 1 / options.rate
            frames = min(file.frames, int(np.ceil(seconds * file.samplerate)))
            _check_sound(path, file, frames)
            sound = file.read(frames, dtype="float32", always_2d=True)
            rate = file.samplerate
    except (soundfile.SoundFileError, ValueError, OSError):
        problem = f"{path.name!r} is no WAV or FLAC recording, or damaged"
        raise Unreadable(problem, "Export the recording again.") from None
    if len(sound) < frames or _is_cut(path):
        problem = f"{path.name!r} is truncated: shorter than its header says"
        raise Unreadable(problem, "Copy the recording again.")
    if not np.isfinite(sound).all():
        raise Unreadable(f"{path.name!r} holds samples that are not finite", "Export it again.")
    samples = mono(sound, rate, options)
    if not samples.size:
        raise Unreadable(f"{path.name!r} holds no sound", "Leave the cell empty.")
    return samples


def _check_sound(path: Path, file: soundfile.SoundFile, frames: int) -> None:
    if file.format not in SOUND_FORMATS:
        raise Unreadable(f"{path.name!r} is {file.format}", "Convert it to WAV or FLAC.")
    plausible = 100 <= file.samplerate <= 1_000_000 and file.channels <= 64
    if not plausible or frames * file.channels > LARGEST_RECORDING:
        problem = f"{path.name!r} claims {file.channels} channels at {file.samplerate} Hz"
        raise Unreadable(problem, "Expected at most 64 channels, 100 Hz to 1 MHz.")


def _is_cut(path: Path) -> bool:
    # libsndfile forgives a file that is shorter than its RIFF header says; streams write 2³² − 1.
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:], "little")
    return head[:4] == b"RIFF" and promised < 2**32 - 1 and promised + 8 > path.stat().st_size + 1


def _decode_signal(path: Path, options: SignalOptions) -> np.ndarray:
    values = _load_npy(path) if path.suffix.lower() == ".npy" else _load_csv(path, options)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size:
        raise Unreadable(f"{path.name!r} has shape {values.shape}", "Expected [time, channel].")
    return float32(values[: options.length + 1], repr(path.name))


def _load_csv(path: Path, options: SignalOptions) -> np.ndarray:
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
            lines = [line for line in islice(file, options.length + 1) if line.strip()]
        if not lines:
            raise ValueError
        header = [name.strip() for name in next(csv.reader([first]))]
        places = _channels(path, header, options)
        return np.loadtxt(lines, delimiter=",", ndmin=2, usecols=places, comments=None)
    except (ValueError, StopIteration, csv.Error):
        problem = f"{path.name!r} is not rows of numbers under a header"
        mend = "Expected one column a channel, separated by commas, gaps as nan."
        raise Unreadable(problem, mend) from None


def _channels(path: Path, header: list[str], options: SignalOptions) -> list[int]:
    if all(_is_number(name) for name in header):
        raise Unreadable(f"{path.name!r} has no header", "Name the channels in its first line.")
    absent = [name for name in options.channels if name not in header]
    if absent:
        raise Unreadable(f"{path.name!r} lacks channel {absent[0]!r}", nearest(absent[0], header))
    return [header.index(name) for name in options.channels or header]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _load_npy(path: Path) -> np.ndarray:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # a hostile header can raise nearly anything
        problem = f"{path.name!r} is no NPY array, or damaged"
        raise Unreadable(problem, "Save it by numpy.save, without objects.") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise Unreadable(f"{path.name!r} holds no array of numbers", "Save one by numpy.save.")
    return values


def _note(cell: str, folder: Path | None) -> str:
    files = note_files(cell, folder)
    if folder is None or not files:
        return cell
    paths = [locate(folder, name) for name in files]
    if sum(path.stat().st_size for path in paths) > LARGEST_NOTES:
        raise Unreadable(f"names {len(files)} notes of over 64 MiB", "Split the record.")
    return "\n".join(map(_read_note, paths))


def _is_note_file(name: str, folder: Path) -> bool:
    # With blanks in it, it is a file name only if there is such a file: it may be a sentence.
    is_name = name.lower().endswith(".txt") and "\n" not in name and len(name) <= 255
    return is_name and (" " not in name or (folder / name).is_file())


def _read_note(path: Path) -> str:
    if path.stat().st_size > LARGEST_NOTE:
        raise Unreadable(f"{path.name!r} is larger than 1 MiB", "Shorten the note.")
    try:
        return path.read_text("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Unreadable(f"{path.name!r} is not UTF-8 text", "Save it in UTF-8.") from None
