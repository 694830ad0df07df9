"""Handwritten digits in six views and scenes in three: the benchmark of conflicting views.

Handwritten: UCI Multiple Features (data set 72) under CC BY 4.0, Duin (1998): 2,000 digits.
Scene15: 4,485 photographs of Fei-Fei and Perona (2005) and Lazebnik, Schmid and Ponce (2006).
`source` holds `handwritten.mat` and `scene15_mtv.mat` as published with Xu et al. (2024), "Reliable
Conflictive Multi-View Learning", at github.com/jiajunsi/RCML.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from experiments.cards import place_card


class Views(NamedTuple):
    """Each record in several views, and its class."""

    views: tuple[Float[np.ndarray, "record _"], ...]
    label: Int[np.ndarray, " record"]


FILES = {"handwritten": "handwritten.mat", "scene15": "scene15_mtv.mat"}
NAMES = {
    "handwritten": ("pixels", "fourier", "profile", "zernike", "karhunen", "morphology"),
    "scene15": ("gist", "phog", "lbp"),
}


def convert(source: Path, folder: Path, name: str = "handwritten") -> Path:
    """Write `records.parquet` and `dataset.toml` of one of the two data sets."""
    card = place_card(name, folder)
    views, label = read(source, name)
    columns = {
        f"{view}_{j:03d}": values[:, j]
        for view, values in zip(NAMES[name], views, strict=True)
        for j in range(values.shape[1])
    }
    ids = pd.DataFrame({"id": [f"r{i:04d}" for i in range(len(label))], "class": label.astype(str)})
    ids.join(pd.DataFrame(columns)).to_parquet(folder / "records.parquet", index=False)
    return card


def read(source: Path, name: str) -> Views:
    """The views [record, column] as they were measured, and labels from 0."""
    from scipy.io import loadmat

    held = loadmat(source / FILES[name])
    label = held["gt" if "gt" in held else "Y"].ravel().astype(int)
    stored = [np.asarray(view, np.float64) for view in held["X"].ravel()]
    views = tuple(view if len(view) == len(label) else view.T for view in stored)
    return Views(views, label - label.min())
