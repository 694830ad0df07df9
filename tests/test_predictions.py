"""Predictions of any model as CSV: read by blocks, refused by row and column, safe to open."""

import csv
import io

import numpy as np
import pyarrow as pa
import pytest

from fusionjax import predictions
from fusionjax.errors import RecordError
from fusionjax.predictions import spreadsheet_safe, spreadsheet_safe_column

HEADER = "id,label,group,site,p_a,p_b"
GOOD = ("1,a,x,north,0.9,0.1", "2,b,x,south,0.2,0.8", '"3",,,"no,rth",0.5,0.5')


def written(folder, *rows, header=HEADER, encoding="utf-8"):
    path = folder / "predictions.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def read(path, subgroups=()):
    return list(predictions.blocks(predictions.layout(path, subgroups)))


def test_a_good_file_is_read(tmp_path):
    shape = predictions.layout(written(tmp_path, *GOOD))
    assert shape.classes == ("a", "b")
    assert shape.strata == ("site",)
    (block,) = predictions.blocks(shape)
    np.testing.assert_array_equal(block.label, [0, 1, -1])
    np.testing.assert_allclose(block.prob, [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    assert block.hashed[0] == block.hashed[1] != block.hashed[2]
    assert block.hashed[2] == block.key[2], "no patient's name: a patient of its own"
    assert block.strata["site"].tolist() == ["north", "south", "no,rth"]
    assert (block.split == -1).all()
    assert predictions.repeated(shape, block.key) is None


def test_rounded_probabilities_are_normalised(tmp_path):
    (block,) = read(written(tmp_path, "1,a,x,n,0.3333,0.6666"))
    np.testing.assert_allclose(block.prob.sum(axis=1), 1, atol=1e-12)


def test_a_byte_order_mark_and_empty_rows_are_nothing(tmp_path):
    path = written(tmp_path, GOOD[0], "", GOOD[1], encoding="utf-8-sig")
    assert sum(len(block.label) for block in read(path)) == 2
    assert predictions.row_of(path, 1) == 4


def test_blocks_are_the_file(tmp_path, monkeypatch):
    rows = [
        f"{i},{'ab'[i % 2]},g{i // 3},n,0.{i % 9 + 1},{1 - (i % 9 + 1) / 10:.1f}"
        for i in range(500)
    ]
    path = written(tmp_path, *rows)
    (whole,) = read(path)
    monkeypatch.setattr("fusionjax.predictions.read.BLOCK_BYTES", 1000)
    parts = read(path)
    assert len(parts) > 5
    np.testing.assert_array_equal(np.concatenate([p.prob for p in parts]), whole.prob)
    np.testing.assert_array_equal(np.concatenate([p.hashed for p in parts]), whole.hashed)
    assert [p.first for p in parts] == np.cumsum([0, *(len(p.label) for p in parts[:-1])]).tolist()


@pytest.mark.parametrize(
    ("bad", "row", "column", "says"),
    [
        ("4,a,x,n,nan,0.5", 5, "p_a", "no finite number"),
        ("4,a,x,n,,0.5", 5, "p_a", "no finite number"),
        ("4,a,x,n,inf,0.5", 5, "p_a", "no finite number"),
        ("4,a,x,n,half,0.5", 5, "p_a", "no finite number"),
        ('4,a,x,n,"0,5",0.5', 5, "p_a", "no finite number"),
        ("4,a,x,n,-0.1,1.1", 5, "p_a", "negative"),
        ("4,a,x,n,0.9,0.9", 5, "p_a … p_b", "sum to 1.8.*exclusive"),
        ("4,a,x,n,0.66,0.33", 5, "p_a … p_b", "sum to 0.99.*more decimals"),
        ("4,a,x,n,60,40", 5, "p_a … p_b", "sum to 100.*divide"),
        ("4,a,x,n,2.5,-1.5", 5, "p_b", "negative"),
        ("4,c,x,n,0.5,0.5", 5, "label", r"no class.*\(a, b\)"),
        ("4,A,x,n,0.5,0.5", 5, "label", "no class"),
        (",a,x,n,0.5,0.5", 5, "id", "empty"),
        ("4,a,x,n,0.5", 5, None, "5 cells"),
        ("4,a,x,n,0.5,0.5,7", 5, None, "7 cells"),
        ('4,"a,x,n,0.5,0.5', None, None, "quotes"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, bad, row, column, says):
    with pytest.raises(RecordError, match=says) as caught:
        read(written(tmp_path, *GOOD, bad, "9,a,x,n,0.5,0.5"))
    assert (caught.value.row, caught.value.column) == (row, column)
    assert "half" not in str(caught.value), "a cell was quoted"


def test_a_split_that_is_none_is_named(tmp_path):
    path = written(tmp_path, "1,a,tset,0.5,0.5", header="id,label,split,p_a,p_b")
    with pytest.raises(RecordError, match="no split") as caught:
        read(path)
    assert (caught.value.row, caught.value.column) == (2, "split")


def test_an_id_that_stands_twice_is_named_with_both_rows(tmp_path):
    shape = predictions.layout(written(tmp_path, *GOOD, "", "1,a,x,n,0.5,0.5"))
    keys = np.concatenate([block.key for block in predictions.blocks(shape)])
    fault = predictions.repeated(shape, keys)
    assert fault is not None
    assert (fault.row, fault.column) == (6, "id")
    assert "row 2" in str(fault)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("id,label,p_a", "1 columns"),
        ("label,p_a,p_b", "no such column"),
        ("id,label,p_a,p_a", "two columns"),
        ("id;label;p_a;p_b", "semicolons"),
        ("", "no header"),
        ("id,label,p_a,p_x;y", "holds ';'"),
    ],
)
def test_a_header_that_cannot_be_one_is_named(tmp_path, header, says):
    with pytest.raises(RecordError, match=says):
        predictions.layout(written(tmp_path, header=header))


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(RecordError, match="no such file"):
        predictions.layout(tmp_path / "nothing.csv")
    with pytest.raises(RecordError, match="no records"):
        read(written(tmp_path))
    path = tmp_path / "wide.csv"
    path.write_bytes("\n".join([HEADER, *GOOD]).encode("utf-16"))
    with pytest.raises(RecordError, match="UTF-8"):
        predictions.layout(path)
    path.write_bytes(HEADER.encode() + b"\n1,a,x,\xff\xfe,0.5,0.5\n")
    with pytest.raises(RecordError, match="UTF-8"):
        read(path)
    with pytest.raises(RecordError, match="no such column"):
        predictions.layout(written(tmp_path, *GOOD), ("age",))


@pytest.mark.parametrize("name", ["id", "group", "split", "p_a", "total"])
def test_a_column_with_a_meaning_is_no_subgroup(tmp_path, name):
    path = written(tmp_path, *GOOD, header=HEADER.replace("site", "total"))
    with pytest.raises(RecordError, match="no subgroup") as caught:
        predictions.layout(path, (name,))
    assert (caught.value.row, caught.value.column) == (1, name)


def test_a_header_is_no_formula_either(tmp_path):
    path = written(tmp_path, *GOOD, header=HEADER.replace("site", "=cmd"))
    shape = predictions.layout(path, ("=cmd",))
    (block,) = predictions.blocks(shape)
    table = predictions.calibrated(shape, block, block.label * 0, block.prob, block.prob > 0.5)
    assert "'=cmd" in table.column_names
    assert "=cmd" not in table.column_names


def test_a_column_of_formulas_is_made_safe():
    cells = ["=1+1", "+1", "-1", "@a", "\ta", "a=1", "", "'=1", "心"]
    safe = spreadsheet_safe_column(pa.array(cells)).to_pylist()
    assert safe == [spreadsheet_safe(cell) for cell in cells]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in safe)
    text = io.StringIO()
    csv.writer(text).writerow(safe)
