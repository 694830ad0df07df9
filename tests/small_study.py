"""A note and a row of labs, some missing, and a diagnosis fitted to them within seconds."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusionjax import card as cards
from fusionjax.crossfit import FitConfig
from fusionjax.fitting import Fitted, fit
from fusionjax.records.ingest import ingest
from fusionjax.study import Study, prepare
from fusionjax.train import TrainConfig
from tests import small_folder

ENCODERS = ("bag", "mlp")
CONFIG = FitConfig(TrainConfig(epochs=2, batch_size=32, least_steps=4), width=4, folds=2, draws=60)
WORDS = ("cough fever", "pain pulse", "rest sleep")
CARD = """
name = "small"
table = "records.csv"
[columns]
id = "id"
label = "diagnosis"
group = "patient"
[label]
classes = ["flu", "heart", "well"]
[modalities.note]
kind = "text"
column = "note"
[modalities.labs]
kind = "tabular"
columns = ["crp", "bnp", "smoker"]
categorical = ["smoker"]
"""


class Small(NamedTuple):
    """A study, what was fitted to it, and the folder of its records."""

    study: Study
    fitted: Fitted
    folder: Path


def make(folder: Path) -> Small:
    """Write the records, and fit two members, each a trained encoder a modality."""
    small_folder.write_table(folder / "records.csv", rows())
    (folder / "dataset.toml").write_text(CARD)
    study = prepare(ingest(cards.load(folder), folder / "cache"))
    return Small(study, fit(study, ENCODERS, CONFIG), folder)


def rows(n: int = 180) -> list[dict[str, str]]:
    """Two records a patient; the last patient has neither modality."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(n):
        label = (i // 2) % 3
        crp, bnp = rng.normal(size=2) + np.array([label == 0, label == 1])
        word = WORDS[label if rng.random() < 0.7 else rng.integers(3)]
        note, labs = (rng.random(2) < 0.8) if i < n - 2 else (False, False)
        found.append(
            {
                "id": f"r{i}",
                "patient": f"p{i // 2}",
                "diagnosis": ("flu", "heart", "well")[label],
                "note": f"says {word}" if note else "",
                "crp": f"{crp:.3f}" if labs else "",
                "bnp": f"{bnp:.3f}" if labs else "",
                "smoker": rng.choice(["yes", "no"]) if labs else "",
            }
        )
    return found
