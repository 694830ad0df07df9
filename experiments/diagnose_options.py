"""What a run of `experiments.diagnose` is asked for: its options, and what they are checked by."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from fusionjax import costs, files
from fusionjax.costs import Costs
from fusionjax.crossfit import FitConfig
from fusionjax.errors import CardError, ModelError
from fusionjax.study import Study
from fusionjax.triage import Limits


@dataclass(frozen=True)
class Config:
    """One run: `card` is fitted, or `model` predicts for the records of `table` or `card`."""

    out: Path
    """Folder for what the run writes."""
    card: Path | None = None
    """A dataset.toml, or the folder it lies in."""
    model: Path | None = None
    """Folder of a finished run whose model predicts; nothing is fitted."""
    table: Path | None = None
    """Another table than the card names; its files lie in its own folder."""
    prior: tuple[float, ...] | None = None
    """Another prevalence: one probability a class, in the order of the classes."""
    on_bad_record: Literal["stop", "skip"] = "stop"
    """Stop at the first record that cannot be used, or go on without it and count it."""
    cache: Path | None = None
    """Folder for the records as read; by default OUT/records."""
    pseudonyms: Path | None = None
    """A file with a secret key: ids and groups become pseudonyms, the same for the same key."""
    ensemble: int = 0
    """Members of a deep ensemble of concatenating MLPs to compare with; 0 compares with none. Each
    takes as long to train as the MLP."""
    keep_cases: bool = False
    """Save training records' ids and evidence with the model, so that new records get their nearest
    cases too. The test records of a fitting run always do, in its own tables."""
    limits: Limits = Limits()  # noqa: RUF009 a constant tuple
    """Where each doubt begins that triage acts on."""
    costs: Path | None = None
    """A TOML file of what wrong diagnoses and referrals cost: each patient gets the cheapest
    decision."""
    patients: tuple[str, ...] = ()
    """Records whose ledgers the report shows, by the ids of predictions.csv; by default a few
    that are worth reading."""
    fit: FitConfig = field(default_factory=FitConfig)


def card_path(config: Config) -> Path:
    """The card to fit. Raises CardError where there is none."""
    if config.card is None:
        raise CardError(
            "diagnose", "--card", "has nothing to do", "Give --card to fit, or --model to predict."
        )
    return config.card


def beside(config: Config) -> Path:
    """Where the card of a new table would lie: its files are looked for in the table's folder."""
    if config.table is None:
        raise CardError(
            "diagnose", "--model", "has no records", "Give --table FILE.csv, or --card of new ones."
        )
    return config.table.parent / "dataset.toml"


def claim(config: Config) -> None:
    """Make RUN ours: a folder where another configuration has fitted something is left alone."""
    note, text = config.out / "config.json", json.dumps(asdict(config), indent=1, default=str)
    begun = any((config.out / name).exists() for name in ("checkpoints", "metrics.json"))
    if begun and note.exists() and note.read_text() != text:
        raise ModelError(
            config.out,
            "holds a run of another configuration (see its config.json)",
            "Choose another --out, or delete that folder.",
        )
    config.out.mkdir(parents=True, exist_ok=True)
    files.write(note, text)


def stated_prior(config: Config, classes: tuple[str, ...]) -> np.ndarray | None:
    """The prevalence that the user states, checked."""
    if config.prior is None:
        return None
    prior = config.prior
    if len(prior) != len(classes) or min(prior) <= 0 or abs(sum(prior) - 1) > 1e-6:
        raise CardError(
            "diagnose",
            "--prior",
            f"is {prior}",
            f"Give {len(classes)} positive probabilities that sum to 1, for {', '.join(classes)}.",
        )
    return np.asarray(prior, np.float32)


def stated_costs(config: Config, classes: tuple[str, ...]) -> Costs | None:
    """The costs that the user states, checked."""
    return config.costs and costs.load(config.costs, classes)


def check_patients(config: Config, study: Study, rows: np.ndarray) -> None:
    """Raise CardError where a patient is asked for of whom the run will not tell."""
    ids = study.table["id"].to_numpy()
    told, known = set(ids[rows]), set(ids)
    for name in config.patients:
        if name in known - told:
            mend = "A fit tells of test records: of others, tell by --model RUN afterwards."
            raise CardError("diagnose", "--patients", f"{name!r} is no test record", mend)
        if name not in told:
            mend = "Give ids as the table has them; with --pseudonyms, as predictions.csv does."
            raise CardError("diagnose", "--patients", f"{name!r} is not among the records", mend)
