"""Tables are read as a spreadsheet shows them, and refused with the row that is wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusionjax.errors import RecordError
from fusionjax.records import tables


def read(folder: Path, content: str | bytes, columns=("*",), name: str = "t.csv") -> tables.Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tables.read(path, columns)


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path):
    table = read(tmp_path, 'id,note\na,"two\nlines"\n\n,\nb,"say ""x"", y"\n')
    assert table.rows == (2, 5)
    assert table.columns == {"id": ["a", "b"], "note": ["two\nlines", 'say "x", y']}


def test_a_byte_order_mark_and_windows_lines_are_no_matter(tmp_path: Path):
    table = read(tmp_path, b"\xef\xbb\xbfid,x\r\na,1\r\n")
    assert table.columns == {"id": ["a"], "x": ["1"]}


def test_only_the_columns_asked_for_are_kept(tmp_path: Path):
    table = read(tmp_path, "id,g_1,g_2,secret\na,1,2,3\n", ("id", "g_*"))
    assert list(table.columns) == ["id", "g_1", "g_2"]


def test_ragged_rows_and_nul_bytes_are_faults_of_their_row(tmp_path: Path):
    table = read(tmp_path, "id,x\na,1\nb\nc,3,\nd,4,5\ne,\0\n")
    assert table.columns["id"] == ["a", "c"]
    assert [fault.row for fault in table.faults] == [3, 5, 6]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "no header"),
        ("id,x\n", "no records"),
        ("id;x\n1;2\n", "semicolons"),
        ("id\tx\n1\t2\n", "tabs"),
        ("id,x,x\na,1,2\n", "two columns"),
        ('id,x\na,"never closed\nb,2\n', "row 2"),
        ("id,x\na,1\nb," + "y" * 200_000, "row 3: a cell is larger"),
        ("id,x\na,1\n".encode("utf-16"), "UTF-16"),
        (b"id,x\na,1\nb,\xff\xff\n", "line 3"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, content, problem: str):
    with pytest.raises(RecordError, match=problem):
        read(tmp_path, content)


def test_a_missing_column_names_the_nearest(tmp_path: Path):
    table = read(tmp_path, "id,diagnosis\na,ill\n")
    with pytest.raises(RecordError, match="Did you mean 'diagnosis'"):
        tables.require(table, ["diagnoses"])


def test_numbers_are_float32_with_nan_for_missing_cells(tmp_path: Path):
    table = read(tmp_path, "x\n 1.5 \n?\n-2e3\nnan\n")
    values, faults = tables.numbers(table, "x", tables.cells(table, "x", ["?"]), "")
    np.testing.assert_array_equal(values, np.array([1.5, np.nan, -2000, np.nan], np.float32))
    assert not faults


@pytest.mark.parametrize("cell", ["high", "inf", "1e300", '"1,5"', '"1.234,5"', "two words here"])
def test_what_is_no_finite_number_is_a_fault(tmp_path: Path, cell: str):
    table = read(tmp_path, f"x\n1\n{cell}\n")
    (fault,) = tables.numbers(table, "x", table.columns["x"], "Mend it.")[1]
    assert (fault.row, fault.column) == (3, "x")
    assert "words" not in str(fault)
    assert ("point" in fault.mend) == ("thousands" in fault.mend) == ("," in cell)


def test_parquet_reads_as_csv_does(tmp_path: Path):
    frame = pd.DataFrame({"id": [1, 2], "x": [1.0, np.nan], "y": ["a", None], "z": [0.1, 2.5]})
    frame.to_parquet(tmp_path / "t.parquet")
    table = tables.read(tmp_path / "t.parquet", ["*"])
    assert table.rows == (2, 3)
    assert table.columns["id"] == ["1", "2"]
    assert table.columns["x"] == ["1", ""]
    assert table.columns["y"] == ["a", ""]
    assert table.columns["z"] == ["0.1", "2.5"]


def test_parquet_that_is_none_or_nested_is_refused(tmp_path: Path):
    with pytest.raises(RecordError, match="not a Parquet file"):
        read(tmp_path, "id,x\n1,2\n", name="t.parquet")
    pd.DataFrame({"x": [[1, 2]]}).to_parquet(tmp_path / "n.parquet")
    with pytest.raises(RecordError, match=r"'x'.*neither text nor number"):
        tables.read(tmp_path / "n.parquet", ["x"])


def test_a_few_bytes_that_stand_for_many_are_refused(tmp_path: Path):
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), ["x" * 90_000])
    content = pa.table({"id": pa.array(range(50_000)), "note": repeated})
    pq.write_table(content, tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").stat().st_size < 1_000_000
    with pytest.raises(RecordError, match="unpacks to over 2 GiB"):
        tables.read(tmp_path / "b.parquet", ["*"])


def test_more_rows_than_a_table_may_have_are_refused(tmp_path: Path, monkeypatch):
    pq.write_table(pa.table({"id": pa.nulls(1000, pa.string())}), tmp_path / "n.parquet")
    monkeypatch.setattr(tables, "MOST_ROWS", 999)
    with pytest.raises(RecordError, match="over 20 million rows"):
        tables.read(tmp_path / "n.parquet", ["*"])


def test_a_header_of_many_columns_is_read_at_once_or_refused(tmp_path: Path):
    header = ",".join(f"x{i}" for i in range(tables.MOST_COLUMNS))
    assert len(read(tmp_path, f"{header}\n1{',' * (tables.MOST_COLUMNS - 1)}\n", ["x0"]).header)
    with pytest.raises(RecordError, match="has 200001 columns"):
        read(tmp_path, f"{header},y\n1\n", ["x0"])


def test_a_missing_table_is_refused(tmp_path: Path):
    with pytest.raises(RecordError, match="no such table"):
        tables.read(tmp_path / "t.csv", ["*"])
