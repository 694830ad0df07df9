"""Classes, and levels of a column, that may be one in two spellings."""

from collections.abc import Iterable, Iterator
from typing import Any

from fusionjax.audit.types import Warning
from fusionjax.card import Card, TabularOptions


def spellings(card: Card, statistics: tuple[Any, ...]) -> Iterator[Warning]:
    """Names that differ in case and blanks alone, or as 1 does from 1.0."""
    for names in _alike(card.classes):
        mend = "If they are one class, say so by map under [label]."
        yield Warning("spelling", str(card.columns.label), f"{names} are two classes here. {mend}")
    for modality, known in zip(card.modalities, statistics, strict=True):
        if isinstance(modality.options, TabularOptions):
            for column, levels in zip(modality.options.categorical, known.levels, strict=True):
                for names in _alike(levels):
                    message = f"{column}: {names} are two levels here. Spell levels alike."
                    yield Warning("spelling", modality.name, message)


def _alike(names: Iterable[str]) -> Iterator[str]:
    """The names of which each two are spelt almost alike."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(_plain(name), name)
        if other != name:
            yield f"{other!r} and {name!r}"


def _plain(name: str) -> str:
    try:
        return str(float(name))
    except ValueError:
        return " ".join(name.casefold().split())
