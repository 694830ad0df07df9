"""Which calibrator: the one that held-out patients prefer, and the simplest that does as well."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from fusionjax.calibrate.bayesian import BAYESIAN
from fusionjax.calibrate.beta import BETA
from fusionjax.calibrate.dirichlet import DIRICHLET
from fusionjax.calibrate.hierarchical import HIERARCHICAL
from fusionjax.calibrate.histogram import HISTOGRAM
from fusionjax.calibrate.isotonic import ISOTONIC
from fusionjax.calibrate.matrix_scaling import MATRIX
from fusionjax.calibrate.platt import PLATT
from fusionjax.calibrate.stratified import Stratified, by_stratum, folds
from fusionjax.calibrate.temperature_scaling import TEMPERATURE
from fusionjax.calibrate.types import Calibrator, Label, LogProb, Parameters, Prior
from fusionjax.calibrate.unchanged import UNCHANGED
from fusionjax.calibrate.vector_scaling import VECTOR
from fusionjax.calibrate.venn_abers import VENN_ABERS

# From the simplest to the most flexible: the earlier is taken where the later is no better.
CALIBRATORS: dict[str, Calibrator] = {
    "none": UNCHANGED,
    "temperature": TEMPERATURE,
    "bayesian": BAYESIAN,
    "platt": PLATT,
    "beta": BETA,
    "vector": VECTOR,
    "matrix": MATRIX,
    "dirichlet": DIRICHLET,
    "isotonic": ISOTONIC,
    "venn_abers": VENN_ABERS,
    "histogram": HISTOGRAM,
}
STRATIFIED: dict[str, Stratified] = {
    name: HIERARCHICAL if name == "bayesian" else by_stratum(one)
    for name, one in CALIBRATORS.items()
}


class Fitted(NamedTuple):
    """A calibrator by name, whether it has parameters for each stratum, and those parameters.

    `Fitted(**json.loads(json.dumps(fitted._asdict())))` is the same.
    """

    name: str
    stratified: bool
    parameters: Parameters


class Trial(NamedTuple):
    """A candidate: its cross-validated NLL, that less the best one's, and the standard error of the
    difference, over patients."""

    name: str
    stratified: bool
    nll: float
    behind: float
    error: float


class Choice(NamedTuple):
    """The calibrator chosen, fitted on all records, and how every candidate fared."""

    fitted: Fitted
    trials: tuple[Trial, ...]


def fit(
    name: str,
    log_prob: LogProb,
    label: Label,
    prior: Prior,
    stratum: Shaped[np.ndarray, " n"] | None = None,
    group: Shaped[np.ndarray, " n"] | None = None,
) -> Fitted:
    """Fit one calibrator by name; with a `stratum` for each record, also one for each stratum."""
    if stratum is None:
        return Fitted(name, False, CALIBRATORS[name].fit(log_prob, label, prior))
    group = np.arange(len(label)) if group is None else group
    return Fitted(name, True, STRATIFIED[name].fit(log_prob, label, prior, stratum, group))


def calibrated(
    fitted: Fitted,
    log_prob: LogProb,
    prior: Prior,
    stratum: Shaped[np.ndarray, " n"] | None = None,
) -> LogProb:
    """Calibrated log-probabilities; `stratum` is needed where the fit had one."""
    if not fitted.stratified:
        return CALIBRATORS[fitted.name].apply(fitted.parameters, log_prob, prior)
    if stratum is None:
        raise ValueError(f"{fitted.name} was fitted by stratum: give each record's")
    return STRATIFIED[fitted.name].apply(fitted.parameters, log_prob, prior, stratum)


def choose(
    log_prob: LogProb,
    label: Label,
    prior: Prior,
    group: Shaped[np.ndarray, " n"] | None = None,
    stratum: Shaped[np.ndarray, " n"] | None = None,
    names: Sequence[str] = tuple(CALIBRATORS),
    count: int = 5,
    seed: int = 0,
) -> Choice:
    """The simplest candidate within one standard error of the least cross-validated NLL.

    Folds keep a patient's records (`group`) together. Where there are strata, the winner and the
    Bayesian temperature are then tried with a calibrator for each stratum. Fewer than two patients
    a fold, and nothing can be chosen: "none" is.
    """
    group = np.arange(len(label)) if group is None else group
    fold = folds(group, count, seed)
    if len(np.unique(group)) < 2 * count:
        return Choice(fit("none", log_prob, label, prior), ())
    losses = {(name, False): _held_out(name, log_prob, label, prior, fold) for name in names}
    first = _simplest(losses, group)
    if stratum is not None and len(np.unique(stratum)) > 1:
        for name in dict.fromkeys((first[0], "bayesian")):
            if name != "none":
                held = _held_out(name, log_prob, label, prior, fold, stratum, group)
                losses[name, True] = held
    name, stratified = _simplest(losses, group)
    best = losses[min(losses, key=lambda key: losses[key].mean())]
    trials = tuple(
        Trial(*key, float(loss.mean()), float((loss - best).mean()), _error(loss - best, group))
        for key, loss in losses.items()
    )
    chosen = fit(name, log_prob, label, prior, stratum if stratified else None, group)
    return Choice(chosen, trials)


def _held_out(
    name: str,
    log_prob: np.ndarray,
    label: np.ndarray,
    prior: np.ndarray,
    fold: np.ndarray,
    stratum: np.ndarray | None = None,
    group: np.ndarray | None = None,
) -> Float[np.ndarray, " n"]:
    """The loss in nats of each record under the calibrator of the other folds."""
    loss = np.empty(len(label))
    for k in np.unique(fold):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        parts = [(None if s is None else s[train]) for s in (stratum, group)]
        found = fit(name, log_prob[train], label[train], prior, *parts)
        there = None if stratum is None else stratum[held]
        predicted = calibrated(found, log_prob[held], prior, there)
        loss[held] = -predicted[np.arange(len(held)), label[held]]
    return loss


def _simplest(losses: dict, group: np.ndarray) -> tuple[str, bool]:
    """The first within one standard error of the best (Breiman et al. 1984)."""
    best = min(losses, key=lambda key: losses[key].mean())
    for key, loss in losses.items():
        gap = loss - losses[best]
        if gap.mean() <= _error(gap, group):
            return key
    return best


def _error(gap: np.ndarray, group: np.ndarray) -> float:
    """The standard error of a mean over records, patients taken as independent."""
    index = np.unique(group, return_inverse=True)[1]
    total = np.bincount(index, gap - gap.mean())
    many = len(total)
    return float(np.sqrt((total**2).sum() * many / max(many - 1, 1)) / len(gap))
