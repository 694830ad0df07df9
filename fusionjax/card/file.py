"""`dataset.toml` to Card, and back to a dict of the same shape."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from fusionjax.card.consistency import check
from fusionjax.card.grammar import (
    CARD,
    COLUMNS,
    HOMES,
    KIND,
    LABEL,
    OPTIONS,
    SPLIT,
    TFDS,
    common,
)
from fusionjax.card.nouns import MISSING, Card, Columns, Kind, Modality, SplitPlan, TfdsSource
from fusionjax.card.values import escapes, found, nearest, section
from fusionjax.errors import CardError

LARGEST_CARD = 1 << 18  # bytes
MOST_DOTS = 1000  # in a line: the parser takes time quadratic in the parts of a dotted key


def load(path: Path | str, *, records: bool = True) -> Card:
    """Read and check a card, or the `dataset.toml` of a folder; raises CardError.

    Without `records` these lie elsewhere, and the card alone is here.
    """
    path = Path(path)
    path = path / "dataset.toml" if path.is_dir() else path
    card = from_dict(_toml(path), path)
    if not records:
        return card
    if card.table:
        _check_inside(card, "table", card.table, Path.is_file)
    if card.tfds and card.tfds.folder:
        _check_inside(card, "tfds.folder", card.tfds.folder, Path.is_dir)
    return card


def from_dict(content: Mapping[str, Any], path: Path) -> Card:
    """The card that `content`, shaped like the file, describes; raises CardError.

    Does not ask whether the table exists: a saved model's card has left its folder.
    """
    top = section(path, "", content, CARD, ("name", "columns", "modalities"), HOMES)
    columns = section(path, "columns", top["columns"], COLUMNS, ("label",), HOMES)
    label = section(path, "label", top.get("label", {}), LABEL, homes=HOMES)
    split = section(path, "split", top.get("split", {}), SPLIT, homes=HOMES)
    assumed: dict[str, Any] = {"by": "column"} if "split" in columns else {}
    card = Card(
        path=path,
        name=top["name"],
        description=top.get("description", ""),
        licence=top.get("licence", ""),
        citation=top.get("citation", ""),
        table=path.parent / top["table"] if "table" in top else None,
        tfds=_tfds(path, top["tfds"]) if "tfds" in top else None,
        columns=Columns(**columns),
        classes=label.get("classes", ()),
        labels=label.get("map", {}),
        ignore=label.get("ignore", ()),
        missing=top.get("missing", MISSING),
        split=SplitPlan(**assumed | split),
        modalities=tuple(_modality(path, *item) for item in top["modalities"].items()),
    )
    check(card)
    return card


def dumps(card: Card) -> dict[str, Any]:
    """The card as a dict of JSON values in the shape of the file; `from_dict` reads it again."""
    content = {
        "name": card.name,
        "description": card.description,
        "licence": card.licence,
        "citation": card.citation,
        "table": _relative(card, card.table),
        "missing": card.missing,
        "tfds": _dump_tfds(card),
        "columns": asdict(card.columns),
        "label": _dump_label(card),
        "split": asdict(card.split),
        "modalities": {modality.name: _dump_modality(modality) for modality in card.modalities},
    }
    return _jsonable(content)


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CardError(path, "card", "is no file", "Name a dataset.toml or the folder it lies in.")
    with path.open("rb") as file:
        content = file.read(LARGEST_CARD + 1)
    if len(content) > LARGEST_CARD:
        raise CardError(path, "card", "is larger than 256 KiB", "Name columns by a wildcard.")
    if max(line.count(b".") for line in content.split(b"\n")) > MOST_DOTS:
        raise CardError(path, "card", f"a line holds over {MOST_DOTS} dots", "Break the line.")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise CardError(path, "card", "is not text", "Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise CardError(path, "card", f"is not TOML: {error}", "See https://toml.io.") from None


def _tfds(path: Path, content: Any) -> TfdsSource:
    said = section(path, "tfds", content, TFDS, homes=HOMES)
    if ("name" in said) == ("folder" in said):
        raise CardError(path, "tfds", "needs a name or a folder", "Say one of the two.")
    if ("split" in said) == ("splits" in said):
        raise CardError(path, "tfds", "needs split or splits", 'Say split = "train", say.')
    folder = path.parent / said["folder"] if "folder" in said else None
    return TfdsSource(said.get("name"), folder, said.get("splits") or {"": said["split"]})


def _modality(path: Path, name: str, content: Mapping[str, Any]) -> Modality:
    place = f"modalities.{name}"
    if "kind" not in content:
        raise CardError(path, f"{place}.kind", "is missing", nearest(name, get_args(Kind)))
    kind = section(path, place, {"kind": content["kind"]}, KIND)["kind"]
    build, options = OPTIONS[kind]
    said = section(path, place, content, KIND | common(kind) | options, homes=HOMES)
    if ("column" in said) == bool(said.get("columns")):
        raise CardError(path, f"{place}.columns", "names no column", 'Say columns = ["…"].')
    columns = said.get("columns") or (said["column"],)
    chosen = {key: said[key] for key in options if key in said}
    return Modality(name, kind, columns, said.get("encoder", "auto"), build(**chosen))


def _check_inside(card: Card, key: str, item: Path, there: Callable[[Path], bool]) -> None:
    name = item.relative_to(card.folder).as_posix()
    if escapes(card.folder, name):
        raise CardError(
            card.path, key, f"{found(name)} is a link out of the folder", "Copy it there."
        )
    if not there(item):
        beside = sorted(other.name for other in card.folder.iterdir() if there(other))
        raise CardError(card.path, key, f"{found(name)} is not there", nearest(name, beside))


def _dump_label(card: Card) -> dict[str, Any]:
    """Where the records gave the classes, a cell may map to one that no record has: it goes."""
    known = card.classes or card.labels.values()
    labels = {raw: name for raw, name in card.labels.items() if name in known}
    return {"classes": card.classes, "map": labels, "ignore": card.ignore}


def _dump_modality(modality: Modality) -> dict[str, Any]:
    said = {key: getattr(modality, key) for key in ("kind", "columns", "encoder")}
    return said | asdict(modality.options)


def _dump_tfds(card: Card) -> dict[str, Any] | None:
    if not card.tfds:
        return None
    whole = card.tfds.splits.get("")
    splits = {"split": whole} if whole else {"splits": card.tfds.splits}
    return {"name": card.tfds.name, "folder": _relative(card, card.tfds.folder), **splits}


def _relative(card: Card, path: Path | None) -> str | None:
    return path.relative_to(card.folder).as_posix() if path else None


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items() if item is not None}
    return [_jsonable(item) for item in value] if isinstance(value, tuple) else value
