"""Warnings: what gives the label away is told, and what does not is left in peace."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fusionjax import audit, card, preprocess, splits
from fusionjax.audit.cut import cut
from fusionjax.audit.giveaways import _flags, _ranks
from fusionjax.audit.misread import misread as strange
from fusionjax.audit.sites import cramers_v
from fusionjax.audit.spelling import spellings
from fusionjax.audit.types import MOST_WARNINGS
from fusionjax.audit.unread import mute, unread
from fusionjax.card import SplitPlan
from fusionjax.records.ingest import Records

LABELS = ("healthy", "pneumonia", "oedema")
CARD = card.from_dict(
    {
        "name": "ward",
        "table": "records.csv",
        "columns": {"id": "id", "label": "y", "site": "hospital"},
        "label": {"classes": list(LABELS)},
        "modalities": {
            "labs": {"kind": "tabular", "columns": ["crp", "sex", "bnp"], "categorical": ["sex"]},
            "embedding": {"kind": "vector", "columns": ["e1", "e2"]},
            "note": {"kind": "text", "column": "note", "redact": ["secret"]},
            "image": {"kind": "image", "column": "xray"},
        },
    },
    Path("dataset.toml"),
)


class World(NamedTuple):
    """Records as columns, to be spoiled by a test and then joined."""

    label: np.ndarray
    crp: np.ndarray
    sex: np.ndarray
    bnp: np.ndarray
    embedding: np.ndarray
    note: list[str]
    image: list[str]
    site: np.ndarray
    group: np.ndarray


def world(size: int = 400, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    words = np.array(["dyspnoea", "cough", "secretly", "fever", "pain", "无", "咳嗽"])
    return World(
        label=rng.integers(0, 3, size),
        crp=rng.normal(size=size).astype(np.float32),
        sex=rng.choice(["f", "m", ""], size).astype(object),
        bnp=np.where(rng.random(size) < 0.3, np.nan, rng.normal(size=size)).astype(np.float32),
        embedding=rng.normal(size=(size, 2)).astype(np.float32),
        note=[" ".join(rng.choice(words, 4)) for _ in range(size)],
        image=[f"image {i}" if rng.random() < 0.8 else "" for i in range(size)],
        site=rng.choice(["north", "south"], size),
        group=np.arange(size).astype(str),
    )


def warned(w: World) -> tuple[audit.Warning, ...]:
    records = joined(w)
    return audit.of_fit(records, splits.make(SplitPlan(), records.table), statistics_of(w))


def joined(w: World) -> Records:
    size = len(w.label)
    source = [
        (
            (np.array([w.crp[i], w.bnp[i]]), (w.sex[i],)),
            w.embedding[i] if not np.isnan(w.embedding[i]).all() else w.embedding[i][:0],
            w.note[i],
            np.zeros((int(bool(w.image[i])), 2, 2, 1), np.uint8),
        )
        for i in range(size)
    ]
    vectors = [v.tobytes().hex() if not np.isnan(v).all() else "" for v in w.embedding]
    labs = [f"labs {i}" for i in range(size)]
    parts = zip(labs, vectors, w.note, w.image, strict=True)
    table = pd.DataFrame(
        {
            "id": np.arange(size).astype(str),
            "label": w.label,
            "group": w.group,
            "site": w.site,
            "row": np.arange(size) + 2,
            "digest": [";".join(part) for part in parts],
        }
    )
    return Records(CARD, table, source, ())  # pyright: ignore[reportArgumentType]


def misread(before: World, after: World) -> tuple[audit.Warning, ...]:
    """What a model of the first records cannot read in the second."""
    return strange(joined(after), np.arange(len(after.label)), statistics_of(before))


def statistics_of(w: World) -> tuple[Any, ...]:
    columns = zip(*joined(w).source, strict=True)
    return tuple(map(preprocess.fit, CARD.modalities, columns))


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_told_of_records_that_mean_nothing(seed):
    assert warned(world(120, seed)) == ()


def test_a_number_that_gives_a_class_away():
    w = world()
    (warning,) = warned(w._replace(bnp=np.where(w.label == 2, w.bnp - 9, w.bnp)))
    assert (warning.kind, warning.where) == ("giveaway", "labs")
    assert warning.message.startswith("bnp alone tells 'oedema' from the rest, AUROC 1.000")


def test_a_level_that_gives_a_class_away():
    w = world()
    (warning,) = warned(w._replace(sex=np.where(w.label == 1, "x", w.sex)))
    assert "sex = 'x' alone tells 'pneumonia'" in warning.message


def test_a_column_of_an_embedding_that_gives_a_class_away():
    w = world()
    spoiled = w.embedding + np.array([0, 9], np.float32)[None] * (w.label == 0)[:, None]
    (warning,) = warned(w._replace(embedding=spoiled))
    assert warning.where == "embedding"
    assert "e2 alone" in warning.message


def test_a_gap_that_gives_a_class_away():
    w = world()
    (warning,) = warned(w._replace(bnp=np.where(w.label == 1, np.nan, w.crp)))
    assert "bnp being there alone tells 'pneumonia'" in warning.message


def test_a_missing_modality_that_gives_a_class_away():
    w = world()
    image = [f"image {i}" if y == 1 else "" for i, y in enumerate(w.label)]
    (warning,) = warned(w._replace(image=image))
    assert warning.where == "image"
    assert "being there alone" in warning.message


@pytest.mark.parametrize("word", ["Covid-19", "肺炎"])
def test_a_word_that_gives_a_class_away(word):
    w = world()
    note = [f"{n} {word}." if y == 1 else n for n, y in zip(w.note, w.label, strict=True)]
    found = warned(w._replace(note=note))
    assert {warning.where for warning in found} == {"note"}
    named = "covid" if word.startswith("C") else word
    assert any(f"the word {named!r}" in warning.message for warning in found)


def test_a_word_that_the_card_redacts_is_not_told():
    w = world()
    note = [f"{n} topSecret" if y == 1 else n for n, y in zip(w.note, w.label, strict=True)]
    assert warned(w._replace(note=note)) == ()


def test_many_giveaways_of_a_modality_are_counted_and_not_all_told():
    w = world()
    words = " ".join(f"word{i}x" for i in range(30))
    note = [f"{n} {words}" if y == 1 else n for n, y in zip(w.note, w.label, strict=True)]
    found = warned(w._replace(note=note))
    assert len(found) == MOST_WARNINGS + 1
    assert found[-1].message.startswith("25 more")


def test_four_records_of_a_class_are_too_few_to_tell():
    w = world()
    label = np.where(np.arange(400) < 4, 2, w.label % 2)
    (warning,) = warned(w._replace(label=label, crp=(label == 2).astype(np.float32)))
    assert (warning.kind, warning.where) == ("class", "y")
    assert warning.message.startswith("few patients of 'oedema' (2 in training, 1 in test):")


def test_classes_and_levels_that_are_spelt_almost_alike():
    w = world()
    assert not list(spellings(CARD, statistics_of(w)))
    w.sex[:20], w.sex[20:40] = "1", "1.0"
    described = replace(CARD, classes=("Pneumonia", "healthy", "pneumonia "))
    label, level = spellings(described, statistics_of(w))
    assert (label.kind, label.where) == ("spelling", "y")
    assert label.message.startswith("'Pneumonia' and 'pneumonia ' are two classes")
    assert (level.kind, level.where) == ("spelling", "labs")
    assert level.message.startswith("sex: '1' and '1.0' are two levels")


def test_duplicates_on_two_sides():
    w = world()
    table = pd.DataFrame({"label": w.label, "group": w.group, "row": np.arange(400) + 2})
    split = splits.make(SplitPlan(), table)
    a, b = split.train[0], split.test[0]
    table = table.assign(site="", digest=[f"d{i};;;" for i in range(400)])
    records = Records(CARD, table, [], ())  # pyright: ignore[reportArgumentType]
    records.table.loc[b, "digest"] = records.table.loc[a, "digest"]
    (warning,) = audit.duplicates(records, split)
    assert (warning.kind, warning.where) == ("duplicate", "records")
    assert f"rows {a + 2} and {b + 2}" in warning.message
    assert "split: 1, the first" in warning.message


def test_records_with_nothing_are_no_duplicates():
    w = world()
    nan = np.full(400, np.nan, np.float32)
    empty = w._replace(embedding=np.stack([nan, nan], 1), note=[""] * 400, image=[""] * 400)
    assert {warning.kind for warning in warned(empty)} == {"absent"}


def test_one_file_in_two_groups():
    w = world()
    image = list(w.image)
    image[3] = image[9] = "same"
    (warning,) = warned(w._replace(image=image))
    assert (warning.kind, warning.where) == ("duplicate", "image")
    assert "rows 5 and 11" in warning.message
    group = w.group.copy()
    group[9] = group[3]
    assert warned(w._replace(image=image, group=group)) == ()


def test_a_site_that_foretells_the_label():
    w = world()
    site = np.where((w.label == 0) | (np.arange(400) % 4 == 0), "north", "south")
    (warning,) = warned(w._replace(site=site))
    assert (warning.kind, warning.where) == ("site", "hospital")


def test_nothing_is_misread_in_records_of_the_same_kind():
    assert not misread(world(seed=0), world(size=2000, seed=1))


def test_a_level_that_is_new_to_the_model():
    new = world(seed=1)
    new.sex[:20] = "F"
    new.sex[20:24] = "unknown"
    [one] = misread(world(), new)
    assert (one.kind, one.where) == ("level", "labs")
    assert one.message.startswith("sex = 'F' is new to the model, in 20 of 400 records")


def test_numbers_in_another_unit():
    new = world(seed=1)
    [one] = misread(world(), new._replace(bnp=new.bnp * 100))
    assert (one.kind, one.where) == ("range", "labs")
    assert one.message.startswith("bnp: ")
    assert "same unit" in one.message
    assert not misread(world(), world(size=0))


def test_what_the_model_goes_without():
    records = joined(world()._replace(image=[""] * 400))._replace(absent=("bnp",))
    labs, image = unread(records, np.arange(400))
    assert (labs.kind, labs.where) == ("absent", "labs")
    assert labs.message.startswith("the table lacks 1 of 3 columns: 'bnp'.")
    assert image == ("absent", "image", "none of 400 records has it.")
    (nothing,) = unread(records._replace(table=records.table.assign(digest=";;;")), np.arange(4))[
        1:
    ]
    assert (nothing.kind, nothing.message[:6]) == ("nothing", "4 of 4")


def test_columns_of_which_nothing_is_learnt():
    assert not list(mute(CARD, statistics_of(world())))
    w = world()
    w.bnp[:] = np.nan
    w.sex[1:] = "f"
    (warning,) = mute(CARD, statistics_of(w))
    assert (warning.kind, warning.where) == ("mute", "labs")
    assert "of 'bnp', 'sex'." in warning.message


def test_what_is_longer_than_the_card_is_told_once_a_modality():
    described = card.from_dict(
        {
            "name": "sounds",
            "table": "records.csv",
            "columns": {"id": "id", "label": "y"},
            "modalities": {
                "sound": {"kind": "audio", "column": "a", "rate": 1000, "seconds": 0.1},
                "ecg": {"kind": "signal", "column": "b", "length": 10},
                "note": {"kind": "text", "column": "c", "length": 4},
            },
        },
        Path("dataset.toml"),
    )
    ecg = np.zeros((10, 1), np.float32)
    source = [
        ((np.ones(100, np.int16),), (ecg,), "a b"),
        ((np.ones(101, np.int16),) * 9, (ecg, np.zeros((11, 1), np.float32)), "a b c d e"),
    ]
    statistics = tuple(map(preprocess.fit, described.modalities, zip(*source, strict=True)))
    records = Records(described, pd.DataFrame(), source, ())  # pyright: ignore[reportArgumentType]
    assert not list(cut(records, np.arange(1), statistics))
    told = list(cut(records, np.arange(2), statistics))
    assert [warning.where for warning in told] == ["sound", "sound", "ecg", "note"]
    assert all(w.kind == "cut" and w.message.startswith("1 of 2 records") for w in told)
    assert "Raise `seconds` of [modalities.sound]" in told[0].message


def test_cramers_v_is_one_for_the_same_and_nothing_for_a_site_a_patient():
    label = np.arange(90) % 3
    assert cramers_v(label.astype(str), label) == pytest.approx(1)
    assert cramers_v(np.arange(90).astype(str), label) == 0
    assert cramers_v(np.zeros(90, int).astype(str), label) == 0


@given(seed=st.integers(0, 9999), levels=st.integers(2, 30))
@settings(deadline=None, max_examples=30)
def test_auroc_is_that_of_scikit_learn(seed, levels):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, (60, 3)).astype(float)
    values[rng.random((60, 3)) < 0.2] = np.nan
    label = rng.integers(0, 3, 60)
    onehot = (label[:, None] == np.arange(3)[None]).astype(float)
    there = ~np.isnan(values)
    ranks = _ranks("abc", values, there, onehot)
    flags = _flags("abc", there, onehot)
    for column in range(3):
        has = there[:, column]
        for k in range(3):
            expected = roc_auc_score(label[has] == k, values[has, column])
            assert ranks.auroc[column, k] == pytest.approx(expected)
            assert flags.auroc[column, k] == pytest.approx(roc_auc_score(label == k, has))
