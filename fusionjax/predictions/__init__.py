"""Any model's predictions as CSV, read and written by blocks."""

from fusionjax.predictions.read import (
    SPLITS,
    Block,
    Layout,
    blocks,
    layout,
    repeated,
    row_of,
)
from fusionjax.predictions.write import (
    calibrated,
    spreadsheet_safe,
    spreadsheet_safe_column,
    writing,
)

__all__ = [
    "SPLITS",
    "Block",
    "Layout",
    "blocks",
    "calibrated",
    "layout",
    "repeated",
    "row_of",
    "spreadsheet_safe",
    "spreadsheet_safe_column",
    "writing",
]
