"""Writes a synthetic clinic: `python -m fusionjax.clinic --out FOLDER --swap 0.2`."""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from fusionjax.clinic.world import Dials
from fusionjax.clinic.write import write


@dataclass(frozen=True)
class Config:
    """A clinic to write: where, how many patients, and how far from the log-linear model."""

    out: Path
    patients: int = 6000
    seed: int = 0
    dials: tyro.conf.OmitArgPrefixes[Dials] = field(default_factory=Dials)


if __name__ == "__main__":
    config = tyro.cli(Config)
    print(write(config.out, config.dials, config.patients, config.seed))
