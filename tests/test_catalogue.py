"""A TFDS data set gives the same records as a folder does."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from fusionjax import card as cards
from fusionjax.errors import CardError
from fusionjax.records.ingest import ingest

F = tfds.features
CARD = """
name = "prepared"
[tfds]
folder = "prepared"
splits = { train = "fit", test = "check" }
[columns]
label = "label"
group = "who/patient"
[split]
by = "column"
[modalities.scan]
kind = "image"
column = "scan"
size = 16
[modalities.note]
kind = "text"
column = "who/note"
[modalities.sound]
kind = "audio"
column = "sound"
rate = 2000
[modalities.ecg]
kind = "signal"
column = "ecg"
[modalities.labs]
kind = "tabular"
columns = ["crp", "smoker"]
categorical = ["smoker"]
[modalities.genes]
kind = "vector"
column = "genes"
"""


def example(i: int) -> dict:
    rng = np.random.default_rng(i)
    picture = Image.fromarray(np.full((20, 10, 3), 10 * i, np.uint8))
    return {
        "scan": picture,
        "who": {"patient": f"p{i // 2}", "note": f"note {i}"},
        "sound": rng.integers(-99, 99, 500 * (i % 4)).astype(np.int16),
        "ecg": rng.normal(size=(30, 2)).astype(np.float32),
        "crp": np.float32(np.nan if i == 1 else i / 2),
        "smoker": i % 2,
        "genes": np.arange(3, dtype=np.float32) + i,
        "label": ("well", "ill")[i % 2] if i != 3 else -1,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    features = F.FeaturesDict(
        {
            "scan": F.Image(shape=(None, None, 3), encoding_format="png"),
            "who": F.FeaturesDict({"patient": F.Text(), "note": F.Text()}),
            "sound": F.Tensor(shape=(None,), dtype=np.int16),
            "ecg": F.Tensor(shape=(None, 2), dtype=np.float32),
            "crp": F.Scalar(dtype=np.float32),
            "smoker": F.ClassLabel(names=["no", "yes"]),
            "genes": F.Tensor(shape=(3,), dtype=np.float32),
            "label": F.ClassLabel(names=["well", "ill"]),
        }
    )
    (tmp_path / "prepared").mkdir()
    identity = DatasetIdentity(
        "prepared", tfds.core.Version("1.0.0"), str(tmp_path / "prepared"), ""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    writer = tfds.core.SequentialWriter(info, 100, file_format="array_record")
    writer.initialize_splits(["fit", "check"])
    writer.add_examples({"fit": [example(i) for i in range(5)]})
    writer.add_examples({"check": [example(i) for i in range(5, 8)]})
    writer.close_all()
    (tmp_path / "dataset.toml").write_text(CARD)
    return tmp_path


def test_features_become_modalities(folder: Path):
    records = ingest(cards.load(folder), folder / "cache")
    assert records.card.classes == ("ill", "well")
    table = records.table
    assert table["label"].tolist() == [1, 0, 1, -1, 1, 0, 1, 0]
    assert table["group"].tolist() == [f"p{i // 2}" for i in range(8)]
    assert table["split"].tolist() == ["train"] * 5 + ["test"] * 3
    for i in range(8):
        given = example(i)
        scan, note, sound, ecg, labs, genes = records.source[i]
        assert np.array_equal(scan, np.full((1, 16, 16, 1), 10 * i))
        assert note == f"note {i}"
        np.testing.assert_equal(sound, (given["sound"],) if i % 4 else ())
        np.testing.assert_array_equal(ecg[0], given["ecg"])
        np.testing.assert_array_equal(labs[0], [given["crp"]])
        assert labs[1] == ("yes" if i % 2 else "no",)
        np.testing.assert_array_equal(genes, given["genes"])


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ('column = "scan"', 'column = "scna"', "Did you mean 'scan'"),
        ('test = "check"', 'test = "chek"', "split 'chek'"),
        ('columns = ["crp", "smoker"]', 'columns = ["ecg", "smoker"]', "is an array"),
    ],
)
def test_what_the_data_set_lacks_is_named(folder: Path, right: str, wrong: str, problem: str):
    card = CARD.replace('[modalities.ecg]\nkind = "signal"\ncolumn = "ecg"\n', "")
    (folder / "dataset.toml").write_text(card.replace(right, wrong))
    with pytest.raises(CardError, match=problem):
        ingest(cards.load(folder), folder / "cache")


def test_a_folder_that_is_no_data_set_is_refused(folder: Path):
    (folder / "prepared" / "dataset_info.json").unlink()
    with pytest.raises(CardError, match="TFDS cannot open it"):
        ingest(cards.load(folder), folder / "cache")


def spoil(folder: Path, name: str, right: str, wrong: str) -> None:
    path = folder / "prepared" / name
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("name", "right", "wrong", "problem"),
    [
        (
            "features.json",
            "tensorflow_datasets.core.features.text_feature.Text",
            "prepared.evil.X",
            "names a class that is not of TFDS: 'prepared.evil.X'",
        ),
        ("features.json", '"who"', '"../who"', "names a file outside"),
        ("dataset_info.json", "{DATASET}-", "../../{DATASET}-", "names a file outside"),
        ("dataset_info.json", "{DATASET}-", "/etc/{DATASET}-", "names a file outside"),
        ("dataset_info.json", "{", "[" * 200_000, "is not JSON"),
    ],
)
def test_a_folder_that_names_code_or_other_places_is_refused(
    folder: Path, monkeypatch, name: str, right: str, wrong: str, problem: str
):
    (folder / "prepared" / "evil.py").write_text("raise SystemExit('ran foreign code')")
    monkeypatch.syspath_prepend(folder)
    spoil(folder, name, right, wrong)
    with pytest.raises(CardError, match=problem):
        ingest(cards.load(folder), folder / "cache")


def test_a_link_out_of_a_prepared_folder_is_refused(folder: Path):
    (folder / "outside").write_bytes(b"")
    (folder / "prepared" / "more").symlink_to(folder / "outside")
    with pytest.raises(CardError, match="is a link out of the folder"):
        ingest(cards.load(folder), folder / "cache")
