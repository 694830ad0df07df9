"""Written and spoken digits: MNIST test images paired with the Free Spoken Digit Dataset.

MNIST by LeCun, Cortes and Burges (CC BY-SA 3.0); the Free Spoken Digit Dataset by Jackson (2018,
CC BY-SA 4.0; 8 kHz, 6 speakers). `source` holds `t10k-images-idx3-ubyte.gz`,
`t10k-labels-idx1-ubyte.gz` and `recordings/{digit}_{speaker}_{take}.wav`. A recording and an image
of the same digit make a record; takes 0 to 4 are the official test set, and no image is used twice.
"""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from experiments.cards import place_card

TEST_TAKES = 5


def convert(source: Path, folder: Path, seed: int = 0) -> Path:
    """Write `images/`, `recordings/`, `records.csv` and `dataset.toml`."""
    card = place_card("avmnist", folder)
    shutil.copytree(source / "recordings", folder / "recordings", dirs_exist_ok=True)
    table = _recordings(source)
    table["image"] = _pair(source, folder, table["digit"].to_numpy(), seed)
    table.to_csv(folder / "records.csv", index=False)
    return card


def _recordings(source: Path) -> pd.DataFrame:
    stems = sorted(path.stem for path in (source / "recordings").glob("*.wav"))
    table = pd.DataFrame([stem.split("_") for stem in stems], columns=["digit", "speaker", "take"])
    table.insert(0, "id", stems)
    table["split"] = np.where(table["take"].astype(int) < TEST_TAKES, "test", "train")
    table["recording"] = [f"recordings/{stem}.wav" for stem in stems]
    return table.drop(columns="take")


def _pair(source: Path, folder: Path, digits: np.ndarray, seed: int) -> list[str]:
    images, labels = _idx(source, "images-idx3"), _idx(source, "labels-idx1")
    rng = np.random.default_rng(seed)
    pools = {str(d): iter(rng.permutation(np.flatnonzero(labels == d))) for d in range(10)}
    (folder / "images").mkdir(exist_ok=True)
    names = []
    for digit in digits:
        index = next(pools[digit])
        names.append(f"images/{index:05d}.png")
        Image.fromarray(images[index]).save(folder / names[-1])
    return names


def _idx(source: Path, name: str) -> np.ndarray:
    """An IDX file: two zero bytes, the type (8: uint8), the rank, the shape, the values."""
    data = gzip.decompress((source / f"t10k-{name}-ubyte.gz").read_bytes())
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
