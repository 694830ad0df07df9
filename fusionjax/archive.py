"""A value on disk: its arrays as safetensors, the rest as JSON, and a checksum of both.

Neither file can run code. The JSON names the arrays' file by its content and takes its place last:
until then the folder holds what it held before.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from fusionjax import files
from fusionjax.errors import ModelError

LARGEST_JSON = 1 << 26  # bytes
LARGEST_ARRAYS = 1 << 32  # bytes


def save(folder: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write `model.json` and the arrays' file into `folder`, both or neither.

    A kill at any moment leaves what was saved before, or what is saved now.
    """
    from safetensors.numpy import save as dump

    folder.mkdir(parents=True, exist_ok=True)
    blob = dump({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    name = f"model-{hashlib.sha256(blob).hexdigest()[:16]}.safetensors"
    content = {**about, "arrays": name}
    files.write(folder / name, blob)
    sealed = {"sha256": seal(content, blob), **content}
    files.write(folder / "model.json", json.dumps(sealed, indent=1, ensure_ascii=False))
    for other in folder.glob("model-*.safetensors"):
        if other.name != name:
            other.unlink()


def load(folder: Path, schema: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `save` wrote, if it is of this `schema` and whole.

    Raises ModelError where a file is absent, altered, cut short, too large or of another schema.
    """
    path = folder / "model.json"
    content = _json(path)
    if content.get("schema") != schema:
        raise ModelError(
            folder,
            f"has schema {str(content.get('schema'))[:20]}, this version reads {schema}",
            "Use the version of FusionJAX that wrote it.",
        )
    name = content.get("arrays")
    if not isinstance(name, str) or not re.fullmatch(r"model-[0-9a-f]{16}\.safetensors", name):
        raise ModelError(path, "names no file of arrays", "Fit it again.")
    blob = _read(folder / name, LARGEST_ARRAYS)
    if content.pop("sha256", None) != seal(content, blob):
        raise ModelError(
            folder,
            "is not what was saved: the checksum of model.json and its arrays differs",
            "Copy both files again, or fit the model again.",
        )
    return content, _arrays(folder / name, blob)


def seal(content: dict[str, Any], blob: bytes) -> str:
    """The checksum of the JSON, in whatever order and layout, and of the arrays."""
    plain = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(plain.encode() + b"\0" + hashlib.sha256(blob).digest()).hexdigest()


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
