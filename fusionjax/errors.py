"""What goes wrong with a user's files, said so that the user can mend it.

Messages name where, what was found and what was expected; they never quote a patient's note.
"""

from pathlib import Path


class FusionError(Exception):
    """Base of every error that a user's input can cause."""


class CardError(FusionError):
    """A dataset card that cannot be followed: the file, the key, and how to mend it."""

    def __init__(self, path: Path | str, key: str, problem: str, mend: str):
        self.path, self.key, self.problem, self.mend = str(path), key, problem, mend
        super().__init__(f"{path}: {key}: {problem}. {mend}")


class RecordError(FusionError):
    """A record that is refused: file, row (counted as a spreadsheet does), column, why, mend."""

    def __init__(
        self, path: Path | str, row: int | None, column: str | None, problem: str, mend: str
    ):
        self.path, self.row, self.column = str(path), row, column
        self.problem, self.mend = problem, mend
        place = [str(path)]
        place += [f"row {row}"] if row is not None else []
        place += [f"column {column!r}"] if column is not None else []
        super().__init__(f"{', '.join(place)}: {problem}. {mend}")


class ModelError(FusionError):
    """A saved model that cannot be trusted or does not fit the records."""

    def __init__(self, path: Path | str, problem: str, mend: str):
        self.path, self.problem, self.mend = str(path), problem, mend
        super().__init__(f"{path}: {problem}. {mend}")
