"""COVID-19 image data: 353 chest radiographs of 203 patients, 249 with a clinical note.

Published by Cohen, Morrison and Dao (2020) as ieee8023/covid-chestxray-dataset on GitHub; each
image has its own Creative Commons licence. `source` holds `records.csv` and `images/` (resized to
128 × 128 PNG). The question is COVID-19 against every other finding; "todo" and "Unknown" are
kept without a label. Notes often name the disease, so the card redacts its names.
"""

import shutil
from pathlib import Path

import pandas as pd

from experiments.cards import place_card


def convert(source: Path, folder: Path) -> Path:
    """Write `images/`, `records.csv` and `dataset.toml`."""
    card = place_card("covid_cxr", folder)
    table = pd.read_csv(source / "records.csv", dtype={"patientid": str})
    table.insert(0, "id", [Path(image).stem for image in table["image"]])
    table["diagnosis"] = table["finding"].map(_diagnosis)
    columns = ["id", "patientid", "diagnosis", "sex", "age", "view", "image", "clinical_notes"]
    table[columns].to_csv(folder / "records.csv", index=False)
    shutil.copytree(source / "images", folder / "images", dirs_exist_ok=True)
    return card


def _diagnosis(finding: str) -> str:
    if finding in {"todo", "Unknown"}:
        return "unknown"
    return "covid" if finding.startswith("COVID-19") else "other"
