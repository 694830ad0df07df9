"""What a value of a card may be: readers that check one value each, and sections made of them.

A reader takes a value as TOML or JSON gives it and returns it checked, or raises `Wrong`;
`section` says where that was.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path, PureWindowsPath
from re import fullmatch
from typing import Any

from fusionjax.errors import CardError

Read = Callable[[Any], Any]
Grammar = dict[str, Read]
LONGEST_NAME = 255  # bytes: what common file systems allow


class Wrong(Exception):
    """A value that its reader cannot take: the problem, and how to mend it."""


def section(
    path: Path,
    place: str,
    content: Any,
    grammar: Grammar,
    required: tuple[str, ...] = (),
    homes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The keys of one section, each read by its reader; raises CardError.

    `homes` tells where a key belongs that is right elsewhere.
    """
    content = _read(path, place or "card", table, content)
    content = {key: value for key, value in content.items() if value is not None}
    for key in content:
        if key not in grammar:
            home = (homes or {}).get(key)
            mend = f"It belongs {home}." if home else nearest(str(key), grammar)
            raise CardError(path, _join(place, key), "unknown key", mend)
    for key in required:
        if key not in content:
            raise CardError(path, _join(place, key), "is missing", f"Say {key} = … there.")
    return {
        key: _read(path, _join(place, key), grammar[key], value) for key, value in content.items()
    }


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that tells the nearest of the `known` words and lists them, twelve at most."""
    known = tuple(known)
    lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower()[:60], lower, n=1, cutoff=0.5)
    guess = f"Did you mean {lower[close[0]]!r}? " if close else ""
    shown = ", ".join(_short(name) for name in known[:12]) + (", …" if len(known) > 12 else "")
    return f"{guess}Known here: {shown}." if known else "None is known here."


def outside(name: str) -> bool:
    """Whether a path is written so that it may leave its folder: absolute, or through `..`."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root or ".." in windows.parts)


def escapes(folder: Path, name: str) -> bool:
    """Whether `name` leads out of `folder`, as it is written or by a symbolic link."""
    return outside(name) or not (folder / name).resolve().is_relative_to(folder.resolve())


def prose(value: Any) -> str:
    """Any text, several lines and none included."""
    if not isinstance(value, str):
        raise Wrong(f"expected text, found {found(value)}", 'Write it in quotes: "…".')
    return value.strip()


def line(value: Any) -> str:
    """One line of text that is not empty."""
    text = prose(value)
    if not text or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise Wrong(f"expected one line of text, found {found(value)}", "Write one.")
    return text


def column(value: Any) -> str:
    """The header of a column; whatever a table may hold, but not nothing."""
    if not prose(value):
        raise Wrong("names no column", "Write the header as it stands in the table.")
    return value.strip()


def cell(value: Any) -> str:
    """A cell of a table, exactly as it stands there."""
    if not isinstance(value, str):
        raise Wrong(f"expected a cell, found {found(value)}", 'Cells are text: write "-9".')
    return value


def class_name(value: Any) -> str:
    """A class: a line without `;`, which joins the classes of a prediction set."""
    text = line(value)
    if ";" in text:
        raise Wrong(f"the class {found(text)} holds ';'", "Name it without.")
    return text


def identifier(value: Any) -> str:
    """A name that may become part of a column's and a file's name."""
    if not fullmatch(r"[a-z][a-z0-9_]{0,39}", str(value)):
        raise Wrong("is no name", "Use a-z, 0-9 and _, a letter first, 40 at most.")
    return value


def inner_path(*suffixes: str) -> Read:
    """A path below the card's folder, as far as its text can tell, with one of `suffixes`."""

    def read(value: Any) -> str:
        text = line(value)
        if outside(text):
            raise Wrong(f"{found(text)} leaves the card's folder", "Move it there; use no '..'.")
        if len(text.encode()) > LONGEST_NAME:
            raise Wrong(f"{found(text)} is too long", f"Expected {LONGEST_NAME} bytes at most.")
        if suffixes and Path(text).suffix.lower() not in suffixes:
            raise Wrong(f"cannot read {found(text)}", f"Expected {' or '.join(suffixes)}.")
        return text

    return read


def catalogue(value: Any) -> str:
    """The name of a TFDS data set, with config and version where they are wanted."""
    text = line(value)
    if not fullmatch(r"\w+(/\w[\w.+-]*)?(:\d+\.\d+\.\d+)?", text):
        raise Wrong(f"{found(text)} is no TFDS name", "Expected name, or name/config:1.0.0.")
    return text


def flag(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Wrong(f"expected true or false, found {found(value)}", "Write it without quotes.")
    return value


def choice(*known: str) -> Read:
    """One of the `known` words."""

    def read(value: Any) -> str:
        if value not in known:
            raise Wrong(f"{found(value)} is not known", nearest(str(value), known))
        return value

    return read


def whole(low: int, high: int) -> Read:
    """A whole number from `low` to `high`."""

    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Wrong(f"found {found(value)}", f"Expected a whole number, {low} to {high}.")
        return value

    return read


def real(low: float, high: float) -> Read:
    """A number from `low` to `high`."""

    def read(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:
            raise Wrong(f"found {found(value)}", f"Expected a number, {low:g} to {high:g}.")
        return float(value)

    return read


def several(one: Read) -> Read:
    """A list of what `one` reads, no item twice."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise Wrong(f"expected a list, found {found(value)}", 'Write it so: ["…", "…"].')
        items = tuple(one(item) for item in value)
        if len(set(items)) < len(items):
            twice = next(item for i, item in enumerate(items) if item in items[:i])
            raise Wrong(f"{found(twice)} stands there twice", "Name each once.")
        return items

    return read


def pairs(key: Read, one: Read) -> Read:
    """A section of the user's own keys, read by `key`, each with what `one` reads."""

    def read(value: Any) -> dict[str, Any]:
        return {_named(name, key): _named(name, one, item) for name, item in table(value).items()}

    return read


def table(value: Any) -> Mapping[str, Any]:
    """A section, to be read by its own grammar."""
    if not isinstance(value, Mapping):
        raise Wrong(f"expected a section, found {found(value)}", "Write its keys below it.")
    return value


def found(value: Any) -> str:
    """What a wrong value looks like, 60 characters at most."""
    match value:
        case bool():
            return str(value).lower()
        case int() if value.bit_length() > 64:
            return "a huge number"
        case str() | int() | float():
            return _short(repr(value))
        case Mapping():
            return "a section"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _read(path: Path, key: str, read: Read, value: Any) -> Any:
    try:
        return read(value)
    except Wrong as wrong:
        raise CardError(path, key, *wrong.args) from None


def _named(name: str, read: Read, *value: Any) -> Any:
    try:
        return read(*value) if value else read(name)
    except Wrong as wrong:
        problem, mend = wrong.args
        raise Wrong(f"{found(name)}: {problem}", mend) from None


def _join(place: str, key: str) -> str:
    shown = key if fullmatch(r"[\w-]{1,60}", str(key)) else found(key)
    return f"{place}.{shown}" if place else shown
