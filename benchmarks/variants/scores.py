"""From predictions to a ranking: one temperature each, metrics, paired intervals, Holm, ranks.

Intervals and tests resample patients: a patient is drawn, or not, in every seed that tested them.
They say how far other patients might change the comparison of these fits; the spread over seeds
says how far other splits and starts would.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm, rankdata

from benchmarks.variants.features import Data
from benchmarks.variants.heads import Outcome
from fusionjax import metrics
from fusionjax.calibrate.bayesian import BAYESIAN

RESAMPLES = 2000
PER_RECORD = ("nll", "brier", "error")
"""Means over records of a loss: these have intervals and paired tests."""
METRICS = ("accuracy", "auroc", "nll", "brier", "ece", "aurc")


class Scored(NamedTuple):
    """A contender's calibrated log-probabilities and what they are worth.

    `losses` are [seed, record, PER_RECORD], NaN where a record was not tested; `values` are
    metric → [seed, scenario].
    """

    validation_nll: Float[np.ndarray, " seed"]
    test: Float[np.ndarray, "seed scenario place class"]
    scale: Float[np.ndarray, " seed"]
    losses: Float[np.ndarray, "seed record 3"]
    values: dict[str, Float[np.ndarray, "seed scenario"]]


class Gap(NamedTuple):
    """Mean loss of one contender less that of another, with interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


def score(outcome: Outcome, data: Data) -> Scored:
    """One temperature by validation records for each seed, then every metric.

    It has a prior and is averaged over what these leave open: the likeliest one of a hundred
    records that are all right is the sharpest there is, and then validation would choose by it.
    """
    valid, test, scales = [], [], []
    for seed, bias in enumerate(data.bias):
        prior = np.exp(bias.astype(float) - np.logaddexp.reduce(bias.astype(float)))
        kept = data.validation.there[seed]
        label = data.label[data.validation.index[seed][kept]]
        before = outcome.validation[seed][kept].astype(float)
        temper = BAYESIAN.fit(before, label, prior)
        after = BAYESIAN.apply(temper, before, prior)
        valid.append(per_record(np.exp(after), label)[:, 0].mean())
        test.append(
            [BAYESIAN.apply(temper, one.astype(float), prior) for one in outcome.test[seed]]
        )
        scales.append(temper["mean"])
    found = np.asarray(test)
    return Scored(
        np.asarray(valid), found, np.asarray(scales), _losses(found, data), _values(found, data)
    )


def per_record(
    prob: Float[np.ndarray, "n class"], label: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """PER_RECORD of each record; every mean, interval, test and rank is of these.

    As in `metrics.nll` a probability counts as at least 2.2e-16, the spacing of float64 at 1, and a
    record costs 36 nats at most: beyond that one record would say everything of a contender.
    """
    onehot = label[:, None] == np.arange(prob.shape[1])[None]
    nll = -np.log(np.clip(prob[onehot], np.finfo(np.float64).eps, 1))
    brier = ((prob - onehot) ** 2).sum(axis=1)
    return np.stack([nll, brier, prob.argmax(axis=1) != label], axis=1)


def aurc(prob: Float[np.ndarray, "n class"], label: Int[np.ndarray, " n"]) -> float:
    """Area under the risk-coverage curve: mean error of the k surest records, over all k.

    Geifman et al. (2019); records of equal confidence are taken in the order in which they stand.
    """
    order = np.argsort(-prob.max(axis=1), kind="stable")
    wrong = (prob.argmax(axis=1) != label)[order]
    return float((np.cumsum(wrong) / np.arange(1, len(label) + 1)).mean())


def interval(losses: Float[np.ndarray, "seed record"], group: np.ndarray) -> metrics.Estimate:
    """The mean over tested records and its 95 % percentile interval over resampled patients."""
    draws, value = _means(losses[None], group)
    low, high = np.quantile(draws[0], [0.025, 0.975])
    return metrics.Estimate(float(value[0]), float(low), float(high))


def gap(
    one: Float[np.ndarray, "seed record"],
    other: Float[np.ndarray, "seed record"],
    group: np.ndarray,
) -> Gap:
    """The paired difference of two contenders on the same records.

    p is that of a normal with the bootstrap's standard error: percentiles of a bootstrap cannot
    give the small p-values that a correction for many comparisons asks for.
    """
    draws, value = _means((one - other)[None], group)
    low, high = np.quantile(draws[0], [0.025, 0.975])
    error = float(draws[0].std())
    p = 1.0 if error == 0 else float(2 * norm.sf(abs(value[0]) / error))
    return Gap(float(value[0]), float(low), float(high), p)


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's (1979) step-down correction: reject where the corrected p is below the level."""
    order = np.argsort(p)
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(scaled, 1.0)
    return corrected


def ranks(scored: Mapping[str, Scored], metric: int) -> dict[str, float]:
    """Each contender's mean rank over seeds by its mean loss, 1 the best."""
    names = list(scored)
    table = np.array([np.nanmean(scored[n].losses[:, :, metric], axis=1) for n in names])
    return dict(zip(names, rankdata(table, axis=0).mean(axis=1).tolist(), strict=True))


def cliques(
    order: list[str], scored: Mapping[str, Scored], metric: int, group: np.ndarray
) -> list[tuple[int, int]]:
    """Longest runs (first, last) of neighbours in `order` among whom no pair differs.

    Pairs are compared by `gap`, corrected by Holm over all pairs: the bars of a critical-difference
    diagram (Demšar 2006), with paired tests on patients in the place of Nemenyi's on ranks.
    """
    pairs = [(i, j) for i in range(len(order)) for j in range(i + 1, len(order))]
    losses = np.array([scored[n].losses[:, :, metric] for n in order])
    draws, value = _means(losses, group)
    error = np.array([np.std(draws[i] - draws[j]) for i, j in pairs])
    apart = np.array([abs(value[i] - value[j]) for i, j in pairs])
    p = np.where(error > 0, 2 * norm.sf(apart / np.where(error > 0, error, 1)), 1.0)
    differ = {pair for pair, q in zip(pairs, holm(p), strict=True) if q < 0.05}
    runs = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and not any(
            (i, last + 1) in differ for i in range(first, last + 1)
        ):
            last += 1
        if last > first and not any(a <= first and last <= b for a, b in runs):
            runs.append((first, last))
    return runs


def chosen(scored: Mapping[str, Scored], names: list[str]) -> tuple[Scored, list[str]]:
    """What validation chose: in each seed the contender of least validation NLL, and which."""
    table = np.array([scored[n].validation_nll for n in names])
    picks = [names[i] for i in table.argmin(axis=0)]
    parts = [scored[name] for name in picks]

    def of(field: str) -> np.ndarray:
        return np.stack([getattr(part, field)[seed] for seed, part in enumerate(parts)])

    values = {m: np.stack([p.values[m][s] for s, p in enumerate(parts)]) for m in parts[0].values}
    found = Scored(of("validation_nll"), of("test"), of("scale"), of("losses"), values)
    return found, picks


def _losses(test: np.ndarray, data: Data) -> np.ndarray:
    """Of the first scenario, in which records are as they are."""
    found = np.full((len(test), len(data.label), len(PER_RECORD)), np.nan)
    for seed, (index, there) in enumerate(zip(*data.test, strict=True)):
        rows = index[there]
        found[seed, rows] = per_record(np.exp(test[seed, 0][there]), data.label[rows])
    return found


def _values(test: np.ndarray, data: Data) -> dict[str, np.ndarray]:
    found = {name: np.full(test.shape[:2], math.nan) for name in METRICS}
    for seed, (index, there) in enumerate(zip(*data.test, strict=True)):
        label = data.label[index[there]]
        for scenario in range(test.shape[1]):
            for name, value in _measured(np.exp(test[seed, scenario][there]), label).items():
                found[name][seed, scenario] = value
    return found


def _measured(prob: np.ndarray, label: np.ndarray) -> dict[str, float]:
    nll, brier, error = per_record(prob, label).mean(axis=0)
    auroc, ece = float(metrics.auroc(prob, label)), float(metrics.ece(prob, label))
    found = (1 - error, auroc, nll, brier, ece, aurc(prob, label))
    return dict(zip(METRICS, found, strict=True))


def _means(
    losses: Float[np.ndarray, "contender seed record"], group: np.ndarray
) -> tuple[Float[np.ndarray, "contender draw"], Float[np.ndarray, " contender"]]:
    """Means over tested records: of resamples of the patients, and of all of them."""
    groups = int(group.max()) + 1
    flat = np.broadcast_to(group, losses.shape[1:]).ravel()
    tested = ~np.isnan(losses[0]).ravel()
    count = np.bincount(flat[tested], minlength=groups).astype(float)
    sums = np.array(
        [np.bincount(flat[tested], one.ravel()[tested], minlength=groups) for one in losses]
    )
    used = np.flatnonzero(count)
    rng = np.random.default_rng(0)
    weight = rng.multinomial(len(used), np.full(len(used), 1 / len(used)), size=RESAMPLES)
    total = weight @ count[used]
    return (weight @ sums[:, used].T / total[:, None]).T, sums.sum(axis=1) / count.sum()
