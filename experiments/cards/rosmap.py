"""ROSMAP: mRNA, DNA methylation and miRNA of 351 brains, Alzheimer's disease against control.

Published with MOGONET (txWang/MOGONET on GitHub, MIT); Wang et al. (2021), Nature Communications
12, 3445. `source` holds `{1,2,3}_{tr,te}.csv`, `labels_{tr,te}.csv` and `{1,2,3}_featname.csv`.
The published split of 245 and 106 is kept.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.cards import place_card

OMICS = {"mrna": 1, "methylation": 2, "mirna": 3}


def convert(source: Path, folder: Path) -> Path:
    """Write `records.parquet` and `dataset.toml`."""
    card = place_card("rosmap", folder)
    parts = [_part(source, split, suffix) for split, suffix in (("train", "tr"), ("test", "te"))]
    pd.concat(parts, ignore_index=True).to_parquet(folder / "records.parquet", index=False)
    return card


def _part(source: Path, split: str, suffix: str) -> pd.DataFrame:
    labels = pd.read_csv(source / f"labels_{suffix}.csv", header=None)[0].astype(int)
    about = pd.DataFrame(
        {
            "id": [f"{split}-{row:03d}" for row in range(len(labels))],
            "diagnosis": np.where(labels == 1, "alzheimer", "control"),
            "split": split,
        }
    )
    return pd.concat([about, *(_omics(source, suffix, *one) for one in OMICS.items())], axis=1)


def _omics(source: Path, suffix: str, name: str, number: int) -> pd.DataFrame:
    features = pd.read_csv(source / f"{number}_featname.csv", header=None)[0]
    values = pd.read_csv(source / f"{number}_{suffix}.csv", header=None)
    return values.set_axis([f"{name}_{feature}" for feature in features], axis=1)
