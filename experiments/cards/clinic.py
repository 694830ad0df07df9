"""Two modalities of the synthetic clinic, which `fusionjax.clinic` writes; no download."""

from pathlib import Path

from experiments.cards import place_card
from fusionjax.clinic.world import Dials
from fusionjax.clinic.write import write


def convert(name: str, folder: Path, patients: int = 4000, seed: int = 0) -> Path:
    """Write a clinic and put the card `clinic_NAME.toml` beside its own, in its place."""
    if not (folder / "dataset.toml").exists():
        write(folder, Dials(), patients, seed)
    return place_card(f"clinic_{name}", folder)
