"""Does a redacted clinical note add to a chest radiograph in telling COVID-19 from other findings?

    python -m experiments.image_text

BODY
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import repeat
from experiments.cards import covid_cxr, published


@dataclass(frozen=True)
class Config(repeat.Config):
    """Repetitions, each with its own split of the patients."""

    out: Path = Path("runs/image_text")


def run(config: Config) -> Path:
    """Fit once a seed and write `results/image_text.json`; returns its path."""
    return repeat.run(
        "image_text", config, covid_cxr.convert(published("covid_cxr"), config.out / "dataset")
    )


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
