"""Breast Cancer Wisconsin (Diagnostic): 569 tumours, three views of ten nuclear measurements.

Ships with scikit-learn, so `source` is not read; Wolberg, Street and Mangasarian (1995), CC BY 4.0.
Each measurement comes as the mean over the nuclei, its standard error, and the worst value.
"""

from pathlib import Path
from typing import Any

from experiments.cards import place_card


def convert(source: Path | None, folder: Path) -> Path:
    """Write `records.csv` and `dataset.toml`."""
    from sklearn.datasets import load_breast_cancer

    card = place_card("breast_cancer", folder)
    data: Any = load_breast_cancer(as_frame=True)
    table = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    table.insert(0, "id", [f"tumour-{row:03d}" for row in range(len(table))])
    table.insert(1, "diagnosis", [data.target_names[y] for y in data.target])
    table.to_csv(folder / "records.csv", index=False)
    return card
