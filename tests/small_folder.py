"""A folder of a few records with every kind of modality, for tests to spoil."""

import csv
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

CARD = """
name = "small"
table = "records.csv"
[columns]
id = "id"
label = "diagnosis"
group = "patient"
subgroups = ["sex"]
[modalities.image]
kind = "image"
column = "image"
size = 16
[modalities.note]
kind = "text"
column = "note"
[modalities.sound]
kind = "audio"
column = "sound"
rate = 2000
seconds = 0.5
[modalities.ecg]
kind = "signal"
column = "ecg"
length = 50
[modalities.labs]
kind = "tabular"
columns = ["crp", "smoker"]
categorical = ["smoker"]
[modalities.genes]
kind = "vector"
columns = ["gene_*"]
"""


def rows(n: int = 8) -> list[dict[str, str]]:
    """Complete records, two a patient, of the classes ill and well."""
    return [
        {
            "id": f"r{i}",
            "patient": f"p{i // 2}",
            "diagnosis": "ill" if i % 3 else "well",
            "sex": "f" if i % 2 else "m",
            "image": f"images/{i}.png",
            "note": f'said: "{i}, 咳嗽"\nand no more',
            "sound": f"sounds/{i}.wav",
            "ecg": f"ecg/{i}.csv",
            "crp": f"{i}.5",
            "smoker": "yes" if i % 2 else "no",
            "gene_a": str(i),
            "gene_b": str(-i),
        }
        for i in range(n)
    ]


def write(folder: Path, records: list[dict[str, str]], card: str = CARD) -> Path:
    """Write card, table and the files of as many records, and return the card's path."""
    rng = np.random.default_rng(0)
    for name in ("images", "sounds", "ecg"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(len(records)):
        pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        sound = rng.integers(-9999, 9999, 900).astype(np.int16)
        soundfile.write(folder / "sounds" / f"{i}.wav", sound, 2000, subtype="PCM_16")
        lines = [f"{a:.3f},{b:.3f}" for a, b in rng.normal(size=(40 + i, 2))]
        (folder / "ecg" / f"{i}.csv").write_text("\n".join(["I,II", *lines]))
    write_table(folder / "records.csv", records)
    (folder / "dataset.toml").write_text(card)
    return folder / "dataset.toml"


def write_table(path: Path, records: list[dict[str, str]]) -> None:
    """Write a CSV table of the columns that the first record has."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]) if records else ["id"])
        writer.writeheader()
        writer.writerows(records)
