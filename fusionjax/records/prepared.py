"""Whether a prepared TFDS folder is data alone: what it says of itself can name code and paths.

TFDS imports the module of every feature class that `features.json` names, whatever it is, and
reads the files that `dataset_info.json` describes, wherever they are.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fusionjax.card.values import found, outside

LARGEST = 1 << 26  # bytes
CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
PATH_KEYS = ("filepathTemplate", "filepath_template", "name", "configName", "config_name")


class Untrusted(Exception):
    """What a folder says of itself that data need not say."""


def check(folder: Path) -> None:
    """Raise Untrusted where a prepared data set names foreign code, or files outside itself."""
    root = folder.resolve()
    for item in folder.rglob("*"):
        if item.is_symlink() and not item.resolve().is_relative_to(root):
            raise Untrusted(f"{item.name!r} is a link out of the folder")
    for name in ("features.json", "dataset_info.json"):
        for key, value in _leaves(_json(folder / name)):
            foreign = "." in value and not value.startswith("tensorflow_datasets.")
            if key in CLASS_KEYS and foreign:
                raise Untrusted(f"{name} names a class that is not of TFDS: {found(value)}")
            if (key in PATH_KEYS and outside(value)) or outside(key):
                raise Untrusted(f"{name} names a file outside of its folder")


def _json(path: Path) -> Any:
    if not path.is_file():
        return {}
    if path.stat().st_size > LARGEST:
        raise Untrusted(f"{path.name} is larger than 64 MiB")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Untrusted(f"{path.name} is not JSON") from None


def _leaves(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text below `tree`, with the key that it stands under."""
    todo = [(key, tree)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            todo += [*value.items(), *((name, "") for name in value)]
        elif isinstance(value, list):
            todo += ((key, item) for item in value)
        elif isinstance(value, str):
            yield key, value
