"""Does a comment that few people wrote harm the prediction from a survey's table?

    python -m experiments.mental_health

BODY
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import repeat
from experiments.cards import osmi, published


@dataclass(frozen=True)
class Config(repeat.Config):
    """Repetitions, each with its own split of the answers."""

    out: Path = Path("runs/mental_health")


def run(config: Config) -> Path:
    """Fit once a seed and write `results/mental_health.json`; returns its path."""
    return repeat.run(
        "mental_health", config, osmi.convert(published("osmi"), config.out / "dataset")
    )


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
