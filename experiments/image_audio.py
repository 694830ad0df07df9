"""Do a written and a spoken digit together beat either, and what does each say?

    python -m experiments.image_audio

BODY
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import repeat
from experiments.cards import avmnist, published


@dataclass(frozen=True)
class Config(repeat.Config):
    """Repetitions, each with its own validation records, encoders and dropout."""

    out: Path = Path("runs/image_audio")


def run(config: Config) -> Path:
    """Fit once a seed and write `results/image_audio.json`; returns its path."""
    return repeat.run(
        "image_audio", config, avmnist.convert(published("avmnist"), config.out / "dataset")
    )


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
