"""The report of a run: one self-contained HTML page, and the same table for the terminal.

Everything is read from the files of the run, so that a report can be rendered again years later,
without the data and without the model.
"""

from pathlib import Path

from fusionjax import files
from fusionjax.report import drawn, page
from fusionjax.report.run import read


def write(run: Path) -> Path:
    """Render `report.html` and the tables under `drawn/` from the files of a run.

    Returns the path of the page. Raises `ModelError` where `metrics.json` is missing or cannot be
    read.
    """
    found, path = read(run), run / "report.html"
    drawn.write(run, drawn.tables(found))
    files.write(path, page.render(found))
    return path
