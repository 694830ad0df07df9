"""From a folder to Records: what is kept, what is refused and by which row, and what is cached."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionjax import card as cards
from fusionjax.audit.classes import unlabelled
from fusionjax.errors import RecordError
from fusionjax.records import store
from fusionjax.records.ingest import Records, ingest
from tests import small_folder

Rows = list[dict[str, str]]


def take_in(folder: Path, rows: Rows, extra: str = "", **options) -> Records:
    path = small_folder.write(folder, rows, extra + small_folder.CARD)
    return ingest(cards.load(path), folder / "cache", **options)


def again(folder: Path, **options) -> Records:
    return ingest(cards.load(folder), folder / "cache", **options)


def test_records_hold_what_the_folder_holds(tmp_path: Path):
    records = take_in(tmp_path, small_folder.rows())
    assert records.card.classes == ("ill", "well")
    assert records.card.modalities[-1].columns == ("gene_a", "gene_b")
    table = records.table
    assert table["id"].tolist() == [f"r{i}" for i in range(8)]
    assert table["label"].tolist() == [1, 0, 0, 1, 0, 0, 1, 0]
    assert table["group"].tolist() == [f"p{i // 2}" for i in range(8)]
    assert table["row"].tolist() == list(range(2, 10))
    assert table["sex"].tolist() == ["m", "f"] * 4
    assert table["date"].isna().all()
    image, note, sound, ecg, labs, genes = records.source[3]
    assert image.shape == (1, 16, 16, 1)
    assert image.dtype == np.uint8
    assert note == 'said: "3, 咳嗽"\nand no more'
    assert [len(part) for part in sound] == [900]
    assert [part.shape for part in ecg] == [(43, 2)]
    assert labs[0].tolist() == [3.5]
    assert labs[1] == ("yes",)
    assert genes.tolist() == [3, -3]


def test_reading_several_is_reading_each(tmp_path: Path):
    source = take_in(tmp_path, small_folder.rows()).source
    for one, other in zip(source.__getitems__([5, 2]), [source[5], source[2]], strict=True):
        np.testing.assert_equal(one, other)
    assert len(source) == 8


def test_an_empty_cell_is_a_missing_modality_and_several_files_are_instances(tmp_path: Path):
    rows = small_folder.rows()
    for column in ("image", "note", "sound", "ecg", "crp", "smoker", "gene_a", "gene_b"):
        rows[0][column] = "NA" if column == "crp" else ""
    rows[1] |= {"image": "images/1.png; images/2.png", "sound": "sounds/1.wav;sounds/2.wav"}
    rows[1] |= {"crp": "", "gene_a": "", "ecg": "ecg/1.csv;ecg/2.csv"}
    records = take_in(tmp_path, rows)
    pairs = zip(records.card.modalities, records.source[0], strict=True)
    assert all(store.is_missing(modality, raw) for modality, raw in pairs)
    assert records.table["digest"][0] == ";" * 5
    image, _, sound, ecg, labs, genes = records.source[1]
    assert (len(image), len(sound), len(ecg)) == (2, 2, 2)
    assert np.isnan(labs[0][0])
    np.testing.assert_array_equal(genes, [np.nan, -1])


def test_the_same_content_has_the_same_digest(tmp_path: Path):
    rows = small_folder.rows()
    rows[5] = rows[2] | {"id": "r5", "patient": "p9"}
    rows[6] = rows[2] | {"id": "r6", "patient": "p8", "note": "another"}
    digest = take_in(tmp_path, rows).table["digest"]
    assert digest[5] == digest[2] != digest[3]
    assert [a == b for a, b in zip(digest[6].split(";"), digest[2].split(";"), strict=True)] == [
        True,
        False,
        True,
        True,
        True,
        True,
    ]


def spoil(column: str, cell: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[3][column] = cell

    return change


BAD_CELLS = [
    ("image", "images/nowhere.png", "no such file"),
    ("image", "../records.csv", "leads out"),
    ("image", "/etc/passwd", "leads out"),
    ("image", "records.csv", "no PNG or JPEG"),
    ("image", "images", "not a file"),
    ("sound", "images/1.png", "damaged"),
    ("ecg", "images/1.png", "not rows of numbers"),
    ("crp", "high", "'high' in a column of finite numbers.*categorical"),
    ("gene_a", "x", "'x' in a column of finite numbers"),
    ("id", "r1", "duplicate id, also in row 3"),
    ("id", "", "no id"),
    ("patient", "", "no group"),
    ("diagnosis", "ill;well", "several labels"),
    ("note", "absent.txt", "no such file"),
]


@pytest.mark.parametrize(("column", "cell", "problem"), BAD_CELLS)
def test_a_bad_cell_is_named_or_counted(tmp_path: Path, column: str, cell: str, problem: str):
    rows = small_folder.rows()
    spoil(column, cell)(rows)
    with pytest.raises(RecordError, match=problem) as error:
        take_in(tmp_path, rows)
    assert (error.value.row, error.value.column) == (5, column)
    records = again(tmp_path, on_bad_record="skip")
    assert [(refusal.row, refusal.column) for refusal in records.refused] == [(5, column)]
    assert records.table["row"].tolist() == [2, 3, 4, 6, 7, 8, 9]
    assert records.source[3][1] == rows[4]["note"]
    with pytest.raises(RecordError, match=problem):
        again(tmp_path)


def test_skip_counts_every_refused_record_once(tmp_path: Path):
    rows = small_folder.rows()
    rows[1]["crp"] = rows[1]["gene_a"] = "x"
    rows[2]["image"] = rows[2]["sound"] = "nowhere"
    rows[6]["id"] = "r0"
    small_folder.write(tmp_path, rows)
    with (tmp_path / "records.csv").open("a") as file:
        file.write("ragged,row\n")
    records = again(tmp_path, on_bad_record="skip")
    assert [refusal.row for refusal in records.refused] == [3, 4, 8, 10]
    assert again(tmp_path, on_bad_record="skip").refused == records.refused


def test_an_unknown_label_names_the_nearest(tmp_path: Path):
    rows = small_folder.rows()
    rows[3]["diagnosis"] = "wel"
    path = small_folder.write(tmp_path, rows, small_folder.CARD + LABEL)
    with pytest.raises(RecordError, match=r"row 5.*unknown label 'wel'. Did you mean 'well'"):
        ingest(cards.load(path), tmp_path / "cache")


LABEL = '\n[label]\nclasses = ["well", "ill"]\nmap = { "sick" = "ill" }\nignore = ["todo"]\n'


def test_labels_are_mapped_ordered_and_ignored(tmp_path: Path):
    rows = small_folder.rows()
    rows[1]["diagnosis"], rows[2]["diagnosis"], rows[3]["diagnosis"] = "sick", "todo", ""
    path = small_folder.write(tmp_path, rows, small_folder.CARD + LABEL)
    records = ingest(cards.load(path), tmp_path / "cache")
    assert records.card.classes == ("well", "ill")
    assert records.table["label"].tolist() == [0, 1, -1, -1, 1, 1, 0, 1]


def test_a_class_named_none_is_a_class_where_the_card_says_so(tmp_path: Path):
    rows = [row | {"diagnosis": "None" if i % 2 else "ill"} for i, row in enumerate(rows_of(8))]
    label = '\n[label]\nclasses = ["None", "ill"]\n'
    path = small_folder.write(tmp_path, rows, small_folder.CARD + label)
    records = ingest(cards.load(path), tmp_path / "c")
    assert records.table["label"].tolist() == [1, 0] * 4
    assert not records.marked


def test_a_class_named_none_is_told_where_it_is_read_as_no_label(tmp_path: Path):
    names = ("None", "ill", "well", "")
    rows = [row | {"diagnosis": names[i % 4]} for i, row in enumerate(rows_of(8))]
    records = take_in(tmp_path, rows)
    assert records.table["label"].tolist() == [-1, 0, 1, -1] * 2
    (warning,) = unlabelled(records)
    assert warning.kind == "label"
    assert warning.message.startswith("'None' stands in 2 records and means no label")


def rows_of(n: int) -> Rows:
    return small_folder.rows(n)


def test_fewer_than_two_classes_are_refused(tmp_path: Path):
    with pytest.raises(RecordError, match="1 classes among 8 records"):
        take_in(tmp_path, [row | {"diagnosis": "ill"} for row in rows_of(8)])
    path = small_folder.write(tmp_path / "b", rows_of(8), small_folder.CARD + THREE)
    with pytest.raises(RecordError, match="no record has the label 'odd'"):
        ingest(cards.load(path), tmp_path / "cache")


THREE = '\n[label]\nclasses = ["well", "ill", "odd"]\n'


def test_a_label_that_is_a_number_is_refused(tmp_path: Path):
    rows = [row | {"diagnosis": str(i)} for i, row in enumerate(rows_of(1) * 150)]
    small_folder.write(tmp_path, rows_of(1))
    small_folder.write_table(tmp_path / "records.csv", rows)
    with pytest.raises(RecordError, match="150 different labels"):
        again(tmp_path)


def test_tables_without_records_or_columns_are_refused(tmp_path: Path):
    small_folder.write(tmp_path, rows_of(2))
    (tmp_path / "records.csv").write_text("id,diagnosis\n")
    with pytest.raises(RecordError, match=r"no such column|no records"):
        again(tmp_path)
    small_folder.write_table(tmp_path / "records.csv", [])
    with pytest.raises(RecordError, match="no records"):
        again(tmp_path)
    rows = [{k: v for k, v in row.items() if k != "sound"} for row in rows_of(4)]
    small_folder.write_table(tmp_path / "records.csv", rows)
    with pytest.raises(RecordError, match="row 1, column 'sound'"):
        again(tmp_path)


def test_nothing_left_is_refused(tmp_path: Path):
    rows = [row | {"image": "nowhere.png"} for row in rows_of(4)]
    with pytest.raises(RecordError, match=r"row 2.*no such file"):
        take_in(tmp_path, rows, on_bad_record="skip")


def test_signals_and_vectors_have_one_width(tmp_path: Path):
    small_folder.write(tmp_path, rows_of(6))
    (tmp_path / "ecg" / "4.csv").write_text("I\n1\n2\n")
    with pytest.raises(RecordError, match=r"row 6, column 'ecg'.*has 1 columns"):
        again(tmp_path)


def test_vectors_can_be_files(tmp_path: Path):
    rows = [row | {"file": f"{i}.npy" if i else ""} for i, row in enumerate(rows_of(4))]
    card = small_folder.CARD.replace('columns = ["gene_*"]', 'column = "file"')
    path = small_folder.write(tmp_path, rows, card)
    for i in range(1, 4):
        np.save(tmp_path / f"{i}.npy", np.full(3, i))
    source = ingest(cards.load(path), tmp_path / "cache").source
    assert [source[i][-1].tolist() for i in range(3)] == [[], [1, 1, 1], [2, 2, 2]]


def test_dates_are_read_or_refused(tmp_path: Path):
    dates = ["2020-01-31", "2021-02-03T10:00:00Z", "", "2022-12-01"]
    rows = [row | {"day": day} for row, day in zip(rows_of(4), dates, strict=True)]
    card = small_folder.CARD.replace('group = "patient"', 'group = "patient"\ndate = "day"')
    path = small_folder.write(tmp_path, rows, card)
    table = ingest(cards.load(path), tmp_path / "cache").table
    assert table["date"][1] == pd.Timestamp("2021-02-03 10:00")
    assert table["date"].isna().tolist() == [False, False, True, False]
    rows[0]["day"] = "31/01/2020"
    small_folder.write(tmp_path, rows, card)
    with pytest.raises(RecordError, match=r"row 2, column 'day'.*2024-12-31"):
        again(tmp_path)


def test_prediction_takes_a_table_without_label_or_modalities(tmp_path: Path):
    trained = take_in(tmp_path, rows_of(8)).card
    new = tmp_path / "new"
    kept = ("id", "image", "note")
    rows = [{name: row[name] for name in kept} for row in rows_of(3)]
    small_folder.write(new, rows)
    records = ingest(trained, tmp_path / "c", labelled=False, table=new / "records.csv")
    assert records.card == trained
    assert records.table["label"].tolist() == [-1] * 3
    assert records.table["group"].tolist() == ["r0", "r1", "r2"]
    pairs = zip(trained.modalities, records.source[0], strict=True)
    there = [modality.name for modality, raw in pairs if not store.is_missing(modality, raw)]
    assert there == ["image", "note"]
    assert records.source[0][4][0].shape == (1,)
    assert records.absent == ("sound", "ecg", "crp", "smoker", "gene_a", "gene_b")
    small_folder.write_table(new / "records.csv", [row | {"diagnosis": "il"} for row in rows])
    with pytest.raises(RecordError, match=r"unknown label 'il'. Did you mean 'ill'"):
        ingest(trained, tmp_path / "c", labelled=False, table=new / "records.csv")


def test_prediction_takes_a_table_without_some_columns_of_values(tmp_path: Path):
    trained = take_in(tmp_path, rows_of(8)).card
    new = tmp_path / "new"
    lacking = ("crp", "gene_b")
    small_folder.write(
        new, [{k: v for k, v in row.items() if k not in lacking} for row in rows_of(3)]
    )
    records = ingest(trained, tmp_path / "c", labelled=False, table=new / "records.csv")
    assert records.absent == lacking
    labs, genes = records.source[2][4:]
    np.testing.assert_array_equal(labs.numeric, [np.nan])
    assert labs.categorical == ("no",)
    np.testing.assert_array_equal(genes, [2, np.nan])
    with pytest.raises(RecordError, match="column 'crp'"):
        ingest(trained, tmp_path / "c", table=new / "records.csv")


def test_what_was_read_is_used_again_until_something_changes(tmp_path: Path, monkeypatch):
    take_in(tmp_path, rows_of(4))
    writes = []
    write = store.write
    monkeypatch.setattr(store, "write", lambda *args: writes.append(args) or write(*args))
    first = again(tmp_path)
    assert not writes
    card = cards.load(tmp_path)
    ingest(replace(card, split=replace(card.split, seed=7)), tmp_path / "cache")
    assert not writes
    (tmp_path / "images" / "0.png").write_bytes((tmp_path / "images" / "3.png").read_bytes())
    second = again(tmp_path)
    assert len(writes) == 1
    assert np.array_equal(second.source[0][0], first.source[3][0])
    (tmp_path / "images" / "0.png").unlink()
    with pytest.raises(RecordError, match="no such file"):
        again(tmp_path)


def test_an_interrupted_read_leaves_nothing_behind(tmp_path: Path):
    path = small_folder.write(tmp_path, rows_of(6))

    def interrupt(done: int, total: int) -> None:
        assert total == 6
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(cards.load(path), tmp_path / "cache", progress=interrupt)
    assert not list((tmp_path / "cache").iterdir())
    assert len(again(tmp_path).table) == 6


def test_the_store_is_a_tfds_data_set_and_tensorflow_stays_away(tmp_path: Path):
    small_folder.write(tmp_path, rows_of(4))
    script = """
import sys
from pathlib import Path
import tensorflow_datasets as tfds
from fusionjax import card
from fusionjax.records import ingest
folder = Path(sys.argv[1])
records = ingest.ingest(card.load(folder), folder / "cache")
(prepared,) = (folder / "cache").iterdir()
example = tfds.builder_from_directory(prepared).as_data_source("records")[2]
print(example["id"].decode(), example["label"], "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["r2", "0", "False"]


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=20),
            st.lists(st.integers(1, 40), max_size=3),
            st.lists(st.floats(width=32), min_size=2, max_size=2),
            st.lists(st.text(max_size=5), min_size=1, max_size=1),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_stored_is_read_back(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("store")
    card = replace(cards.load(small_folder.write(folder, rows_of(1))), classes=("ill", "well"))
    rng = np.random.default_rng(0)
    examples = [
        store.Example(
            str(i),
            -1,
            (
                rng.integers(0, 256, (len(lengths), 16, 16, 1), dtype=np.uint8),
                note,
                tuple(rng.integers(-9, 9, n).astype(np.int16) for n in lengths),
                tuple(rng.normal(size=(n, 3)).astype(np.float32) for n in lengths),
                (np.array(numbers, np.float32), tuple(levels)),
                np.array(numbers, np.float32),
            ),
        )
        for i, (note, lengths, numbers, levels) in enumerate(contents)
    ]
    store.write(folder, card, examples)
    source = store.read(folder, card.modalities)
    for i, example in enumerate(examples):
        np.testing.assert_equal(tuple(map(tuple_of, source[i])), tuple(map(tuple_of, example.raws)))


def tuple_of(raw):
    return tuple(raw) if isinstance(raw, tuple) else raw


def test_refusals_are_json(tmp_path: Path):
    rows = rows_of(6)
    rows[0]["crp"] = "x"
    records = take_in(tmp_path, rows, on_bad_record="skip")
    refusal = json.loads(json.dumps(records.refused[0]._asdict()))
    assert refusal["file"].endswith("records.csv")
    assert set(refusal) == {"file", "row", "column", "problem", "mend"}
