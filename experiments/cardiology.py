"""Does heart disease predicted from five clinical blocks carry over to a hospital never seen?

    python -m experiments.cardiology

BODY
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from experiments import repeat
from experiments.cards import heart, published


@dataclass(frozen=True)
class Config(repeat.Config):
    """Repetitions for each hospital held out, each with its own validation records."""

    out: Path = Path("runs/cardiology")
    seeds: int = 3


def run(config: Config) -> Path:
    """Hold out each hospital in turn and write `results/cardiology.json`; returns its path."""
    started, content = time.time(), {}
    for hospital in heart.HOSPITALS:
        here = replace(config, out=config.out / hospital)
        card = heart.convert(published("heart"), here.out / "dataset", hospital)
        content[hospital] = repeat.compare(here, card)
    return repeat.write("cardiology", config, {"hospitals": content}, started)


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
