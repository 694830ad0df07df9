"""What each contender predicted, one file each, written whole or not at all."""

import hashlib
import json
import re
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np

from benchmarks.variants.heads import Budget, Cost, Hyper, Outcome
from fusionjax import __version__, files

FORMAT = 2


def place(folder: Path, name: str, data: str, budget: Budget) -> Path:
    """Where the cell of a contender lies; other data, budgets and versions of FusionJAX elsewhere.

    Its code and another package's version are not in the name: delete the cells of what changed.
    """
    about = json.dumps([FORMAT, __version__, name, data, asdict(budget)])
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return folder / f"{slug}-{hashlib.sha256(about.encode()).hexdigest()[:12]}.npz"


def write(path: Path, outcome: Outcome) -> None:
    """One npz of plain arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = BytesIO()
    np.savez(
        file,
        validation=outcome.validation,
        test=outcome.test,
        hyper=np.stack(list(outcome.hyper)),
        validation_nll=outcome.validation_nll,
        cost=np.array(outcome.cost, np.float64),
    )
    files.write(path, file.getvalue())


def read(path: Path) -> Outcome:
    """What `write` wrote."""
    with np.load(path) as cell:
        return Outcome(
            cell["validation"],
            cell["test"],
            Hyper(*cell["hyper"]),
            cell["validation_nll"],
            Cost(*cell["cost"].tolist()),
        )
