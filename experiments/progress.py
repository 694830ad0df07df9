"""Tells on the terminal what a long run is doing and how far it has come."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Reporter(NamedTuple):
    """One line a stage: its name, a bar where its length is known, the seconds it took."""

    bars: Progress
    tasks: dict[str, TaskID]

    def stage(self, name: str) -> None:
        """Begin a stage whose length is not known."""
        self.advance(name, 0, 1, float("nan"))

    def advance(self, name: str, done: int, total: int, nll: float) -> None:
        """Say that `done` of `total` steps of a stage are done, with the NLL so far."""
        if name not in self.tasks:
            self._finish()
            self.tasks[name] = self.bars.add_task(name, total=total)
            if not self.bars.console.is_terminal:
                self.bars.console.print(name)
        note = "" if nll != nll else f"validation NLL {nll:.3f}"
        self.bars.update(
            self.tasks[name], completed=done, total=total, description=f"{name} {note}"
        )

    def say(self, line: str) -> None:
        """Say something that the user should not miss."""
        self.bars.console.print(line, highlight=False)

    def _finish(self) -> None:
        for task in self.tasks.values():
            self.bars.stop_task(task)


@contextmanager
def reporter() -> Iterator[Reporter]:
    """A live display on a terminal; plain lines, one a stage, elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield Reporter(bars, {})
