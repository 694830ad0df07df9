"""Every named data set becomes a folder that its card describes, and every record is read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.cards import (
    avmnist,
    breast_cancer,
    clinic,
    covid_cxr,
    heart,
    multiview,
    osmi,
    published,
    rosmap,
)
from fusionjax import card as cards
from fusionjax import splits
from fusionjax.records.ingest import Records, ingest

Find = Callable[[str], Path]


def take_in(path: Path) -> Records:
    """The records of a card; its split is made too, since that checks patients and classes."""
    records = ingest(cards.load(path), path.parent / "cache")
    assert not records.refused
    assert len(records.source) == len(records.table)
    splits.make(records.card.split, records.table)
    return records


def counts(records: Records) -> dict[str, int]:
    label = records.table["label"].to_numpy()
    return {name: int((label == k).sum()) for k, name in enumerate(records.card.classes)}


def widths(records: Records) -> list[int]:
    return [len(m.columns) for m in records.card.modalities]


def test_breast_cancer_needs_no_data(tmp_path: Path) -> None:
    records = take_in(breast_cancer.convert(None, tmp_path))
    assert counts(records) == {"benign": 357, "malignant": 212}
    assert widths(records) == [10, 10, 10]


@pytest.mark.parametrize("name", ["audio_text", "biomarkers_text"])
def test_the_clinic_has_cards_of_two_modalities(tmp_path: Path, name: str) -> None:
    records = take_in(clinic.convert(name, tmp_path, patients=40))
    first, second = name.replace("audio", "sound").split("_")
    assert [m.name for m in records.card.modalities] == [first, second.replace("text", "note")]
    assert len(records.table) == 40


def test_heart(real_data: Find, tmp_path: Path) -> None:
    records = take_in(heart.convert(real_data("heart"), tmp_path))
    assert counts(records) == {"none": 411, "disease": 509}
    assert records.table["site"].value_counts().to_dict() == {
        "cleveland": 303,
        "hungary": 294,
        "long_beach": 200,
        "switzerland": 123,
    }
    assert widths(records) == [3, 3, 1, 4, 2]
    chol = pd.read_csv(tmp_path / "records.csv")["chol"]
    assert (chol.dropna() > 0).all()
    assert chol.isna().sum() == 172 + 30


def test_another_hospital_can_be_held_out(real_data: Find, tmp_path: Path) -> None:
    records = take_in(heart.convert(real_data("heart"), tmp_path, holdout="hungary"))
    split = splits.make(records.card.split, records.table)
    assert set(records.table["site"].iloc[split.test]) == {"hungary"}


def test_covid_cxr(real_data: Find, tmp_path: Path) -> None:
    records = take_in(covid_cxr.convert(real_data("covid_cxr"), tmp_path))
    assert len(records.table) == 353
    assert records.table["group"].nunique() == 203
    assert (records.table["label"] == -1).any(), "findings that nobody knows stay unlabelled"
    notes = [note for _, note in map(records.source.__getitem__, range(353))]
    assert sum(map(bool, notes)) == 249


def test_rosmap_keeps_its_published_split(real_data: Find, tmp_path: Path) -> None:
    records = take_in(rosmap.convert(real_data("rosmap"), tmp_path))
    assert records.table["split"].value_counts().to_dict() == {"train": 245, "test": 106}
    assert widths(records) == [200, 200, 200]
    assert set(counts(records)) == {"control", "alzheimer"}


def test_osmi(real_data: Find, tmp_path: Path) -> None:
    records = take_in(osmi.convert(real_data("osmi"), tmp_path))
    assert len(records.table) == 1259
    assert set(records.table["Gender"]) == {"male", "female", "other"}
    table = pd.read_csv(tmp_path / "records.csv")
    assert table["Age"].dropna().between(15, 90).all()
    assert (table["Age"].isna()).any()
    comments = [records.source[i][1] for i in range(1259)]
    assert sum(map(bool, comments)) == 163, "the 164 of the survey less one that is a blank"


def test_avmnist_pairs_equal_digits_and_uses_no_image_twice(
    real_data: Find, tmp_path: Path
) -> None:
    card = avmnist.convert(real_data("avmnist"), tmp_path)
    table = pd.read_csv(tmp_path / "records.csv")
    assert len(table) == 3000
    assert table["image"].is_unique
    assert (table["split"] == "test").sum() == 10 * 6 * avmnist.TEST_TAKES
    labels = avmnist._idx(real_data("avmnist"), "labels-idx1")
    drawn = table["image"].str.extract(r"(\d+)", expand=False).astype(int)
    np.testing.assert_array_equal(labels[drawn], table["digit"])
    some = table.groupby("digit").sample(6, random_state=0)
    some.to_csv(tmp_path / "records.csv", index=False)
    image, (sound,) = take_in(card).source[0]
    assert image.shape == (1, 28, 28, 1)
    assert sound.dtype == np.int16


def test_a_data_set_that_is_not_at_hand_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FUSIONJAX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="FUSIONJAX_DATA"):
        published("heart")
    (tmp_path / "heart").mkdir()
    assert published("heart") == tmp_path / "heart"


@pytest.mark.parametrize(
    ("name", "records", "views"), [("handwritten", 2000, 6), ("scene15", 4485, 3)]
)
def test_views_of_one_thing(
    real_data: Find, tmp_path: Path, name: str, records: int, views: int
) -> None:
    source = real_data("multiview")
    taken = take_in(multiview.convert(source, tmp_path, name))
    assert len(taken.table) == records
    held = multiview.read(source, name)
    assert widths(taken) == [view.shape[1] for view in held.views]
    assert len(held.views) == views
    np.testing.assert_array_equal(taken.table["label"], held.label)
    np.testing.assert_allclose(taken.source[7][1], held.views[1][7], rtol=1e-5)
