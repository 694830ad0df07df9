"""A clinic's folder: files, `records.csv`, `dataset.toml`, and what no training code may read.

`truth.parquet` holds the true log P(y | X_S) of each patient for every subset S of the modalities
that the patient has (`absence` = "ignored"), and once given the pattern of absence too ("read").
`findings.parquet` holds what the files show, the severity, and which modalities were swapped.
"""

import csv
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import wavfile

from fusionjax.clinic import biomarkers, image, note, sound
from fusionjax.clinic import world as clinic

CARD = f"""\
name = "clinic"
description = "Synthetic patients short of breath: four diagnoses, true probabilities known"
licence = "CC0-1.0"
table = "records.csv"

[columns]
id = "id"
label = "diagnosis"
group = "patient"
site = "site"
subgroups = ["sex", "age_band"]

[label]
classes = {list(clinic.CLASSES)}

[modalities.image]
kind = "image"
column = "image"
size = {image.SIZE}

[modalities.note]
kind = "text"
column = "note"
vocabulary = 600
length = 48

[modalities.sound]
kind = "audio"
column = "sound"
rate = {sound.RATE}
seconds = {sound.SECONDS}
mels = 16

[modalities.biomarkers]
kind = "tabular"
columns = {list(biomarkers.COLUMNS)}
"""
Cells = dict[str, object]
HEADER = ("id", "patient", "site", "sex", "age_band", "diagnosis", "image", "note", "sound")


def write(folder: Path, dials: clinic.Dials, patients: int, seed: int) -> Path:
    """Writes a clinic of `patients` into `folder` and returns the path of its `dataset.toml`.

    The same arguments give the same files. The card is written last: where it stands, the folder
    is whole. Raises ValueError for a dial out of range.
    """
    rng = np.random.default_rng(seed)
    world = clinic.make(dials)
    cohort = clinic.sample(rng, world, patients)
    for name in ("images", "sounds"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _records(folder, rng, world, cohort)
    _truth(world, cohort).to_parquet(folder / "truth.parquet")
    _findings(cohort).to_parquet(folder / "findings.parquet")
    card = folder / "dataset.toml"
    card.write_text(CARD, encoding="utf-8")
    return card


def _records(
    folder: Path, rng: np.random.Generator, world: clinic.World, cohort: clinic.Cohort
) -> None:
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*HEADER, *biomarkers.COLUMNS], restval="")
        table.writeheader()
        for row, child in enumerate(rng.spawn(len(cohort.label))):
            table.writerow(_record(folder, child, world, cohort, row))


def _record(
    folder: Path, rng: np.random.Generator, world: clinic.World, cohort: clinic.Cohort, row: int
) -> Cells:
    """Writes a patient's files; returns the cells of the table but for the absent modalities'."""
    cells: Cells = {
        "id": _id(row),
        "patient": f"p{row:06d}",
        "site": clinic.SITES[cohort.site[row]],
        "sex": rng.choice(["female", "male"]),
        "age_band": rng.choice(["under 50", "50 to 69", "70 and over"]),
        "diagnosis": clinic.CLASSES[cohort.label[row]],
    }
    site = world.dials.site_shift * float(clinic.SITE[cohort.site[row]])
    for store, z, present in zip(STORE, cohort.findings, cohort.presence[row], strict=True):
        cells |= store(folder, _id(row), rng, z[row], site) if present else {}
    return cells


def _image(
    folder: Path, name: str, rng: np.random.Generator, findings: np.ndarray, site: float
) -> Cells:
    path = f"images/{name}.png"
    Image.fromarray(image.render(rng, findings, site)).save(folder / path)
    return {"image": path}


def _note(
    folder: Path, name: str, rng: np.random.Generator, findings: np.ndarray, site: float
) -> Cells:
    return {"note": note.render(rng, findings, site)}


def _sound(
    folder: Path, name: str, rng: np.random.Generator, findings: np.ndarray, site: float
) -> Cells:
    path = f"sounds/{name}.wav"
    wavfile.write(folder / path, sound.RATE, sound.render(rng, findings, site))
    return {"sound": path}


def _biomarkers(
    folder: Path, name: str, rng: np.random.Generator, findings: np.ndarray, site: float
) -> Cells:
    results = biomarkers.render(rng, findings, site)
    return dict(zip(biomarkers.COLUMNS, results.tolist(), strict=True))


STORE = (_image, _note, _sound, _biomarkers)


def _id(row: int) -> str:
    return f"r{row:06d}"


def _truth(world: clinic.World, cohort: clinic.Cohort) -> pd.DataFrame:
    ignored = [
        _log_prob(
            np.flatnonzero(cohort.presence[:, subset].all(axis=1)),
            _names(subset),
            "ignored",
            clinic.truth(world, cohort, subset),
        )
        for subset in clinic.SUBSETS
    ]
    everyone = np.arange(len(cohort.label))
    observed = [_names(np.flatnonzero(present).tolist()) for present in cohort.presence]
    read = _log_prob(everyone, observed, "read", clinic.truth_of_record(world, cohort))
    return pd.concat([*ignored, read], ignore_index=True)


def _log_prob(
    rows: np.ndarray, subset: str | list[str], absence: str, log_prob: np.ndarray
) -> pd.DataFrame:
    keys = pd.DataFrame(
        {"id": [_id(row) for row in rows.tolist()], "subset": subset, "absence": absence}
    )
    return keys.join(pd.DataFrame(log_prob[rows], columns=list(clinic.CLASSES)))


def _names(subset: Iterable[int]) -> str:
    return "+".join(clinic.MODALITIES[i] for i in subset)


def _findings(cohort: clinic.Cohort) -> pd.DataFrame:
    names = chain.from_iterable(clinic.FINDINGS)
    columns = chain.from_iterable(z.T for z in cohort.findings)
    swapped = {f"swapped_{m}": s for m, s in zip(clinic.MODALITIES, cohort.swapped.T, strict=True)}
    ids = [_id(row) for row in range(len(cohort.label))]
    shown = dict(zip(names, columns, strict=True))
    return pd.DataFrame({"id": ids, "severity": cohort.severity} | shown | swapped)
