"""OSMI Mental Health in Tech Survey 2014: 1,259 answers, a table and a free comment.

Published by Open Sourcing Mental Illness under CC BY-SA 4.0 (also on Kaggle). `source` holds
`survey.csv`. "NA" means missing; an age outside 15 to 90 is taken for missing, and the free-text
gender is reduced to its three commonest answers.
"""

from pathlib import Path

import pandas as pd

from experiments.cards import place_card


def convert(source: Path, folder: Path) -> Path:
    """Write `records.csv` and `dataset.toml`."""
    card = place_card("osmi", folder)
    table = pd.read_csv(source / "survey.csv", dtype=str, keep_default_na=False, na_values="NA")
    age = pd.Series(pd.to_numeric(table["Age"], errors="coerce"))
    table["Age"] = age.where(age.between(15, 90))
    table["Gender"] = table["Gender"].map(_gender)
    table.insert(0, "id", [f"answer-{row:04d}" for row in range(len(table))])
    table.to_csv(folder / "records.csv", index=False, na_rep="NA")
    return card


def _gender(answer: str) -> str:
    word = answer.strip().lower()
    if word in {"m", "male", "man", "cis male"}:
        return "male"
    return "female" if word in {"f", "female", "woman", "cis female"} else "other"
