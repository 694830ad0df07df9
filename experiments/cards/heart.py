"""UCI Heart Disease: 920 patients of four hospitals, five clinical blocks.

Published at the UCI Machine Learning Repository (data set 45) under CC BY 4.0; Janosi, Steinbrunn,
Pfisterer and Detrano (1989). `source` holds `processed.{cleveland,hungarian,switzerland,va}.data`.
"?" means missing, and so does a cholesterol of 0. Disease is any `num` above 0.
"""

from pathlib import Path

import pandas as pd

from experiments.cards import place_card

HOSPITALS = {
    "cleveland": "cleveland",
    "hungary": "hungarian",
    "switzerland": "switzerland",
    "long_beach": "va",
}
COLUMNS = [
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg"),
    *("thalach", "exang", "oldpeak", "slope", "ca", "thal", "num"),
]


def convert(source: Path, folder: Path, holdout: str = "cleveland") -> Path:
    """Write `records.csv` and `dataset.toml`, in which `holdout` is the test hospital."""
    card = place_card("heart", folder)
    card.write_text(card.read_text().replace('["cleveland"]', f'["{holdout}"]'))
    table = pd.concat([_hospital(source, *names) for names in HOSPITALS.items()])
    table["chol"] = table["chol"].mask(table["chol"] == 0)
    table["disease"] = (table.pop("num") > 0).map({True: "disease", False: "none"})
    table.to_csv(folder / "records.csv", index=False)
    return card


def _hospital(source: Path, hospital: str, file: str) -> pd.DataFrame:
    path = source / f"processed.{file}.data"
    table = pd.read_csv(path, names=COLUMNS, na_values="?")
    table.insert(0, "id", [f"{hospital}-{row:03d}" for row in range(len(table))])
    table.insert(1, "hospital", hospital)
    return table
