"""Do biomarkers and a note together beat either, on patients whose truth is known?

    python -m experiments.biomarkers_text

BODY
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import repeat
from experiments.cards import clinic


@dataclass(frozen=True)
class Config(repeat.Config):
    """Repetitions, each with its own split of the patients."""

    out: Path = Path("runs/biomarkers_text")


def run(config: Config) -> Path:
    """Fit once a seed and write `results/biomarkers_text.json`; returns its path."""
    return repeat.run(
        "biomarkers_text", config, clinic.convert("biomarkers_text", config.out / "dataset")
    )


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
