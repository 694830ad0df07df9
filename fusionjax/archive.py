"""A value on disk: its arrays as safetensors, the rest as JSON, and a checksum of both.

Neither file can run code. The JSON takes its place last; where that was all that a kill left
undone, loading finds it where it was written.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from fusionjax import files
from fusionjax.errors import ModelError

ARRAYS, ABOUT = "model.safetensors", "model.json"
LARGEST_JSON = 1 << 26  # bytes
LARGEST_ARRAYS = 1 << 32  # bytes


def save(folder: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write both files into `folder`: a kill leaves what was saved before, or what is saved now."""
    from safetensors.numpy import save as dump

    folder.mkdir(parents=True, exist_ok=True)
    blob = dump({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    plain = json.loads(json.dumps(about))
    sealed = {"sha256": seal(plain, blob), **plain}
    text = json.dumps(sealed, indent=1, ensure_ascii=False)
    files.write_together({folder / ARRAYS: blob, folder / ABOUT: text})


def load(folder: Path, schema: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `save` wrote, if it is of this `schema` and whole.

    Raises ModelError where a file is absent, altered, cut short, too large or of another schema.
    """
    blob = _read(folder / ARRAYS, LARGEST_ARRAYS)
    content = _about(folder, blob)
    if content.get("schema") != schema:
        raise ModelError(
            folder,
            f"has schema {str(content.get('schema'))[:20]}, this version reads {schema}",
            "Use the version of FusionJAX that wrote it.",
        )
    if not _fits(content, blob):
        raise ModelError(
            folder,
            f"is not what was saved: the checksum of {ABOUT} and {ARRAYS} differs",
            "Copy both files again, or fit the model again.",
        )
    return content, _arrays(folder / ARRAYS, blob)


def seal(content: dict[str, Any], blob: bytes) -> str:
    """The checksum of the JSON, in whatever order and layout, and of the arrays."""
    plain = json.dumps({k: v for k, v in content.items() if k != "sha256"}, sort_keys=True)
    return hashlib.sha256(plain.encode() + b"\0" + hashlib.sha256(blob).digest()).hexdigest()


def _fits(content: dict[str, Any], blob: bytes) -> bool:
    return content.get("sha256") == seal(content, blob)


def _about(folder: Path, blob: bytes) -> dict[str, Any]:
    """The JSON, or the one that a kill kept from its place, if that is the one of these arrays."""
    draft = files.draft_of(folder / ABOUT)
    if draft.is_file():
        try:
            pending = _json(draft)
        except ModelError:
            pending = {}
        if _fits(pending, blob):
            return pending
    return _json(folder / ABOUT)


def _json(path: Path) -> dict[str, Any]:
    blob = _read(path, LARGEST_JSON)
    try:
        content = json.loads(blob)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelError(path, "is not a model's JSON", "Fit it again.")
    return content


def _read(path: Path, largest: int) -> bytes:
    if not path.is_file():
        mend = "Point at the folder of a finished run."
        raise ModelError(path.parent, f"holds no {path.name}", mend)
    if path.stat().st_size > largest:
        raise ModelError(path, f"is larger than {largest >> 20} MiB", "Fit it again.")
    return path.read_bytes()


def _arrays(path: Path, blob: bytes) -> dict[str, np.ndarray]:
    from safetensors.numpy import load as parse

    try:
        return parse(blob)
    except Exception:  # its numpy part raises what it likes, for a type that numpy lacks
        raise ModelError(path, "holds no arrays", "Fit the model again.") from None
