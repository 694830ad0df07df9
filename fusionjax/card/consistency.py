"""What the sections of a card must agree on; every check raises CardError, or returns."""

from collections import Counter

from fusionjax.card.nouns import Card, Modality, covers, expand
from fusionjax.card.values import found, nearest
from fusionjax.errors import CardError

MOST_MODALITIES = 16
RESERVED = ("id", "label", "group", "site", "date", "split", "row", "digest")


def check(card: Card) -> None:
    """Raise CardError where two things that the card says cannot both hold."""
    for agree in (_check_source, _check_columns, _check_roles, _check_label, _check_split):
        agree(card)


def _check_source(card: Card) -> None:
    if (card.table is None) == (card.tfds is None):
        problem = "needs a table or a [tfds] section, and not both"
        raise CardError(card.path, "table", problem, 'Say table = "records.csv", say.')
    if card.table and not card.columns.id:
        raise CardError(card.path, "columns.id", "is missing", "Name the column of record ids.")
    if not 1 <= len(card.modalities) <= MOST_MODALITIES:
        problem = f"holds {len(card.modalities)} modalities"
        raise CardError(card.path, "modalities", problem, f"Expected 1 to {MOST_MODALITIES}.")


def _check_columns(card: Card) -> None:
    for modality in card.modalities:
        wildcards = modality.kind in ("tabular", "vector")
        for column in modality.columns:
            if column.count("*") > wildcards:
                mend = "Only a tabular or vector column may hold a wildcard, and only one."
                raise CardError(card.path, _key(modality), f"{found(column)} holds '*'", mend)
        _check_categorical(card, modality)
    _check_taken_once(card)


def _check_taken_once(card: Card) -> None:
    count = Counter(column for modality in card.modalities for column in modality.columns)
    wild = [column for column in count if "*" in column]
    for modality in card.modalities:
        for column in modality.columns:
            twice = any(covers(other, column) for other in wild if other != column)
            if count[column] > 1 or twice:
                mend = "A column belongs to one modality, once; narrow the wildcard, if any."
                raise CardError(card.path, _key(modality), f"{found(column)} is taken twice", mend)


def _key(modality: Modality) -> str:
    return f"modalities.{modality.name}.columns"


def _check_categorical(card: Card, modality: Modality) -> None:
    for column in getattr(modality.options, "categorical", ()):
        if not expand(modality.columns, (column,)):
            key = f"modalities.{modality.name}.categorical"
            problem = f"{found(column)} is none of the modality's columns"
            raise CardError(card.path, key, problem, nearest(column, modality.columns))


def _check_roles(card: Card) -> None:
    columns = card.columns
    for role in ("id", "group", "site", "date", "split"):
        if getattr(columns, role) == columns.label:
            raise CardError(card.path, f"columns.{role}", "is the label too", "Name another.")
    for modality in card.modalities:
        for role in ("label", "id", "group", "split"):
            named = getattr(columns, role)
            if named and expand(modality.columns, (named,)):
                mend = f"Leave the {role} out of what the model sees; narrow the wildcard, if any."
                raise CardError(
                    card.path, _key(modality), f"takes in {found(named)}, the {role}", mend
                )
    for name in columns.subgroups:
        if name == columns.label or (name in RESERVED and getattr(columns, name, None) != name):
            problem = f"{found(name)} is a name with a meaning of its own"
            raise CardError(card.path, "columns.subgroups", problem, "Rename that column.")


def _check_label(card: Card) -> None:
    if len(card.classes) == 1:
        raise CardError(card.path, "label.classes", "names one class", "Expected two or more.")
    for raw, name in card.labels.items():
        if card.classes and name not in card.classes:
            problem = f"maps {found(raw)} to {found(name)}, which is no class"
            raise CardError(card.path, "label.map", problem, nearest(name, card.classes))
    for raw in card.ignore:
        if raw in card.classes or raw in card.labels:
            problem = f"{found(raw)} is a label that is also read"
            raise CardError(card.path, "label.ignore", problem, "Ignore it or read it.")


def _check_split(card: Card) -> None:
    plan, columns = card.split, card.columns
    needed = {"site": "site", "date": "date", "column": "split"}.get(plan.by)
    kept_apart = plan.by == "column" and card.tfds and "" not in card.tfds.splits
    if needed and not getattr(columns, needed) and not kept_apart:
        mend = f"Say {needed} = … under [columns], or split by group."
        raise CardError(card.path, "split.by", f"there is no {needed} column", mend)
    if plan.test + plan.validation > 0.95:
        problem = f"test and validation take {plan.test + plan.validation:.0%}"
        raise CardError(card.path, "split.test", problem, "Leave 5 % or more for training.")
    if (plan.by == "site") != bool(plan.holdout):
        mend = 'by = "site" wants holdout = ["…"], the sites to test on, and nothing else does.'
        raise CardError(card.path, "split.holdout", f"does not fit by = {plan.by!r}", mend)
