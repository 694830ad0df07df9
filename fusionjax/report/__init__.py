"""The report of a run: one self-contained HTML page, and the same table for the terminal.

Everything is read from the files of the run, so that a report can be rendered again years later,
without the data and without the model.
"""

from pathlib import Path

from fusionjax import files
from fusionjax.report import page
from fusionjax.report.run import read


def write(run: Path) -> Path:
    """Render `report.html` from the files of a run and return its path.

    Raises `ModelError` where `metrics.json` is missing or cannot be read.
    """
    path = run / "report.html"
    files.write(path, page.render(read(run)))
    return path
