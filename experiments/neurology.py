"""Alzheimer's disease from three omics: does fusion beat each, and the published figures?

    python -m experiments.neurology

BODY
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import repeat
from experiments.cards import published, rosmap


@dataclass(frozen=True)
class Config(repeat.Config):
    """Repetitions, each with its own validation records; the test set is the published one."""

    out: Path = Path("runs/neurology")


def run(config: Config) -> Path:
    """Fit once a seed and write `results/neurology.json`; returns its path."""
    return repeat.run(
        "neurology", config, rosmap.convert(published("rosmap"), config.out / "dataset")
    )


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
