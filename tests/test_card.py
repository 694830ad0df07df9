"""The dataset card: what it reads, what it refuses, and how it says so."""

import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionjax import card as cards
from fusionjax.errors import CardError

WHERE = Path("folder/dataset.toml")
TOML = """
name = "clinic"
table = "records.csv"
[columns]
id = "id"
label = "diagnosis"
group = "patient"
[label]
classes = ["healthy", "valve"]
map = { "1" = "valve" }
ignore = ["todo"]
[modalities.image]
kind = "image"
column = "xray"
size = 32
[modalities.labs]
kind = "tabular"
columns = ["sex", "lab_*"]
categorical = ["sex", "lab_urine"]
encoder = "tokens"
"""
CONTENT = {
    "name": "clinic",
    "table": "records.csv",
    "columns": {"id": "id", "label": "diagnosis"},
    "modalities": {"labs": {"kind": "vector", "columns": ["a", "b"]}},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dataset.toml").write_text(TOML, encoding="utf-8")
    (tmp_path / "records.csv").write_text("id\n")
    return tmp_path


def refused(path: str, value: object = None, content: dict = CONTENT) -> CardError:
    """The error that `content` raises where `value` stands at `path`, or nothing does."""
    content = deepcopy(content)
    *sections, key = path.split(".")
    inner = content
    for name in sections:
        inner = inner.setdefault(name, {})
    inner[key] = value
    if value is None:
        del inner[key]
    with pytest.raises(CardError) as caught:
        cards.from_dict(content, WHERE)
    return caught.value


def test_reads_a_card_in_the_order_of_the_file(folder):
    card = cards.load(folder / "dataset.toml")
    assert (card.folder, card.table) == (folder, folder / "records.csv")
    assert card.columns == cards.Columns("diagnosis", id="id", group="patient")
    assert (card.classes, card.labels) == (("healthy", "valve"), {"1": "valve"})
    assert card.split == cards.SplitPlan()
    assert card.modalities == (
        cards.Modality("image", "image", ("xray",), "auto", cards.ImageOptions(32)),
        cards.Modality(
            "labs",
            "tabular",
            ("sex", "lab_*"),
            "tokens",
            cards.TabularOptions(("sex", "lab_urine")),
        ),
    )


def test_takes_a_folder_and_a_byte_order_mark(folder):
    (folder / "dataset.toml").write_text(TOML, encoding="utf-8-sig")
    assert cards.load(folder).name == "clinic"


def test_a_column_of_splits_is_followed_unless_the_card_says_otherwise():
    columns = {**CONTENT["columns"], "split": "part"}
    followed = cards.from_dict({**CONTENT, "columns": columns}, WHERE)
    assert followed.split.by == "column"
    said = {"columns": columns, "split": {"by": "group"}}
    assert cards.from_dict({**CONTENT, **said}, WHERE).split.by == "group"


def test_survives_json(folder):
    card = cards.load(folder)
    assert cards.from_dict(json.loads(json.dumps(cards.dumps(card))), card.path) == card


def test_a_cell_mapped_to_a_class_that_no_record_has_is_not_kept(folder):
    card = replace(cards.load(folder), classes=("healthy", "stenosis"))
    assert cards.from_dict(cards.dumps(card), WHERE).labels == {}


@given(
    options=st.sampled_from(
        [
            ("image", {"size": 8, "colour": True}),
            ("text", {"redact": ["新冠", "covid"], "vocabulary": 300, "length": 1}),
            ("audio", {"rate": 500, "seconds": 600, "mels": 4}),
            ("signal", {"rate": 0.1, "length": 4, "channels": ["II", "V1"]}),
            ("signal", {}),
            ("tabular", {"categorical": ["a"]}),
            ("vector", {}),
        ]
    ),
    source=st.sampled_from(
        [
            {"table": "inner/records.parquet"},
            {"tfds": {"name": "mnist", "split": "train[:80%]"}},
            {"tfds": {"folder": "a/1.0.0", "splits": {"train": "train", "test": "test"}}},
        ]
    ),
    split=st.sampled_from(
        [
            {"by": "group", "seed": 4},
            {"by": "site", "holdout": ["x"]},
            {"by": "date", "test": 0.3},
            {"by": "column"},
        ]
    ),
)
@settings(deadline=None, max_examples=40)
def test_every_kind_and_source_survives_json(options, source, split):
    kind, chosen = options
    roles = {"id": "i", "label": "y", "site": "s", "date": "d", "split": "p", "subgroups": ["u"]}
    one = {"kind": kind, "columns": ["a", "b"], "encoder": "linear", **chosen}
    content = {"name": "n", "columns": roles, "modalities": {"x": one}, "split": split, **source}
    card = cards.from_dict(content, WHERE)
    assert cards.from_dict(json.loads(json.dumps(cards.dumps(card))), WHERE) == card


@pytest.mark.parametrize(
    ("path", "value", "key", "mend"),
    [
        ("license", "MIT", "license", "Did you mean 'licence'?"),
        ("Name", "x", "Name", "Did you mean 'name'?"),
        ("columns.lable", "x", "columns.lable", "Did you mean 'label'?"),
        ("columns.table", "x", "columns.table", "at the top of the file"),
        ("id", "x", "id", "under [columns]"),
        ("modalities.labs.size", 64, "modalities.labs.size", "kind = 'image'"),
        ("modalities.labs.encodr", "mlp", "modalities.labs.encodr", "'encoder'"),
        ("modalities.labs.kind", "vectr", "modalities.labs.kind", "'vector'"),
        ("modalities.labs.encoder", "cnn", "modalities.labs.encoder", "auto, linear, kernel, mlp"),
        ("split.by", "patient", "split.by", "group, site, date, column"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest_right_one(path, value, key, mend):
    error = refused(path, value)
    assert error.key == key
    assert mend in error.mend
    assert str(WHERE) in str(error)


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("name", None, "name"),
        ("name", "", "name"),
        ("name", "two\nlines", "name"),
        ("name", "\x1b[31m", "name"),
        ("table", "../records.csv", "table"),
        ("table", "/etc/records.csv", "table"),
        ("table", "..\\records.csv", "table"),
        ("table", "C:records.csv", "table"),
        ("table", "records.xlsx", "table"),
        ("table", None, "table"),
        ("table", ["records.csv"], "table"),
        ("missing", ["NA", -9], "missing"),
        ("missing", "NA", "missing"),
        ("columns", "id", "columns"),
        ("columns.label", None, "columns.label"),
        ("columns.id", None, "columns.id"),
        ("columns.id", "diagnosis", "columns.id"),
        ("columns.subgroups", ["sex", "sex"], "columns.subgroups"),
        ("columns.subgroups", ["digest"], "columns.subgroups"),
        ("columns.subgroups", ["diagnosis"], "columns.subgroups"),
        ("label.classes", ["one"], "label.classes"),
        ("label.classes", ["a", "a"], "label.classes"),
        ("label.classes", ["a;b", "c"], "label.classes"),
        ("label", {"classes": ["a", "b"], "map": {"1": "c"}}, "label.map"),
        ("label", {"classes": ["a", "b"], "ignore": ["a"]}, "label.ignore"),
        ("split.test", 1, "split.test"),
        ("split.test", True, "split.test"),
        ("split.test", float("nan"), "split.test"),
        ("split", {"test": 0.6, "validation": 0.4}, "split.test"),
        ("split.seed", 1.0, "split.seed"),
        ("split.by", "date", "split.by"),
        ("split.by", "column", "split.by"),
        ("split.holdout", ["x"], "split.holdout"),
        ("split", {"by": "site"}, "split.by"),
        ("modalities", {}, "modalities"),
        ("modalities", [], "modalities"),
        ("modalities.a b;\\/", {"kind": "vector"}, "modalities"),
        ("modalities.Image", {"kind": "vector"}, "modalities"),
        ("modalities.labs", "vector", "modalities"),
        ("modalities.labs.kind", None, "modalities.labs.kind"),
        ("modalities.labs.kind", ["image"], "modalities.labs.kind"),
        ("modalities.labs.columns", None, "modalities.labs.columns"),
        ("modalities.labs.columns", [], "modalities.labs.columns"),
        ("modalities.labs.columns", "a", "modalities.labs.columns"),
        ("modalities.labs.columns", ["a", 1], "modalities.labs.columns"),
        ("modalities.labs.columns", ["a", "a"], "modalities.labs.columns"),
        ("modalities.labs.columns", ["a1", "a*"], "modalities.labs.columns"),
        ("modalities.labs.columns", ["a*b*c"], "modalities.labs.columns"),
        ("modalities.labs.columns", ["*"], "modalities.labs.columns"),
        ("modalities.labs.columns", ["diagnosis"], "modalities.labs.columns"),
        ("modalities.labs.column", "c", "modalities.labs.columns"),
        ("modalities.more", {"kind": "text", "column": "b"}, "modalities.labs.columns"),
        ("modalities.more", {"kind": "text", "column": "c*"}, "modalities.more.columns"),
        (
            "modalities.more",
            {"kind": "tabular", "column": "c", "categorical": ["d"]},
            "modalities.more.categorical",
        ),
        ("modalities.more", {"kind": "image", "column": "c", "size": 7}, "modalities.more.size"),
        (
            "modalities.more",
            {"kind": "image", "column": "c", "colour": 1},
            "modalities.more.colour",
        ),
        ("tfds", {"name": "mnist", "split": "train"}, "table"),
    ],
)
def test_refuses(path, value, key):
    error = refused(path, value)
    assert error.key == key
    assert len(str(error)) < 500
    assert error.mend


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"name": "mnist"}, "tfds"),
        ({"split": "train"}, "tfds"),
        ({"name": "mnist", "split": "train", "splits": {"test": "test"}}, "tfds"),
        ({"name": "../mnist", "split": "train"}, "tfds.name"),
        ({"folder": "/prepared", "split": "train"}, "tfds.folder"),
        ({"name": "mnist", "splits": {"val": "train"}}, "tfds.splits"),
    ],
)
def test_refuses_a_tfds_source(said, key):
    content = {name: item for name, item in CONTENT.items() if name != "table"}
    assert refused("tfds", said, content).key == key


def test_refuses_more_modalities_than_patterns_can_be_enumerated_for():
    many = {f"m{i}": {"kind": "vector", "column": f"c{i}"} for i in range(17)}
    assert refused("modalities", many).key == "modalities"


@pytest.mark.parametrize(
    "content",
    [
        b"not = = toml",
        b"\x89PNG\r\n\x1a\n\x00",
        b"a = " + b"[" * 100_000,
        b"a = 1\na = 2",
        b"a = " + b"9" * 5000,
        TOML.replace("size = 32", "size = 0x1" + 9000 * "0").encode(),
        b"#" * (1 << 21),
        b"a." * 100_000 + b"a = 1",
        b"",
    ],
    ids=range(9),
)
def test_refuses_a_file_that_is_no_card(tmp_path, content):
    (tmp_path / "dataset.toml").write_bytes(content)
    with pytest.raises(CardError) as caught:
        cards.load(tmp_path)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_refuses_a_card_that_is_not_there(tmp_path):
    with pytest.raises(CardError, match="is no file"):
        cards.load(tmp_path)


def test_a_missing_table_is_answered_with_the_nearest_file(folder):
    (folder / "records.csv").rename(folder / "record.csv")
    with pytest.raises(CardError, match=r"Did you mean 'record\.csv'\?"):
        cards.load(folder)
    assert cards.load(folder, records=False).table == folder / "records.csv"


def test_refuses_a_table_that_a_link_leads_to(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "records.csv"
    (folder / "records.csv").rename(elsewhere)
    (folder / "records.csv").symlink_to(elsewhere)
    with pytest.raises(CardError, match="link out of the folder"):
        cards.load(folder)


def test_follows_a_link_to_the_folder_itself(folder):
    (folder.parent / f"{folder.name}-link").symlink_to(folder)
    assert cards.load(folder.parent / f"{folder.name}-link").table


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("images/a.png", False),
        ("a..png", False),
        ("./a.png", False),
        ("../a.png", True),
        ("a/../../b", True),
        ("/etc/passwd", True),
        ("\\\\host\\share", True),
        ("link/a.png", True),
    ],
)
def test_escapes(tmp_path, name, out):
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert cards.escapes(tmp_path, name) is out


def test_expand_keeps_the_order_of_the_table_inside_a_wildcard():
    names = ("id", "m_2", "m_1", "age", "m_", "am_")
    assert cards.expand(("age", "m_*", "m_1", "gone"), names) == ("age", "m_2", "m_1", "m_")
    assert cards.expand(("aa*aa",), ("aaa", "aaaa", "aa?aa")) == ("aaaa", "aa?aa")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(key=st.sampled_from(["table", "columns", "label", "split", "modalities"]), value=JSON)
@settings(deadline=None, max_examples=200)
def test_anything_else_is_refused_and_never_crashes(key, value):
    with suppress(CardError):
        card = cards.from_dict(CONTENT | {key: value}, WHERE)
        assert cards.from_dict(cards.dumps(card), WHERE) == card
