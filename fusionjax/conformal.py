"""Prediction sets that hold the true class with a promised probability.

Split conformal prediction: each class k of a patient has a score, the larger the stranger, and a
set holds the classes whose score is at most a limit. With the k-th smallest score of n calibration
records' own labels as the limit, k = ⌈(n + 1) coverage⌉, a new exchangeable patient's class is in
the set with at least that probability, whatever the model is worth; over splits, the limit covers
Beta(k, n + 1 − k). The likeliest class is always in the set, so that sets cover more than promised
where the model alone is right more often. Fewer than coverage/(1 − coverage) records can promise
nothing short of every class: the limit is then NaN and the set is empty, which says so; no set is
empty otherwise.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from fusionjax.errors import FusionError

FEWEST = 50

Prob = Float[np.ndarray, "n class"]
Score = Float[np.ndarray, "n class"]
Limit = Float[np.ndarray, " n"]


def lac(prob: Prob) -> Score:
    """1 − p: the smallest sets on average (Sadinle, Lei and Wasserman 2019)."""
    return 1 - np.asarray(prob, np.float64)


def aps(prob: Prob, uniform: Float[np.ndarray, " n"]) -> Score:
    """Probability of all likelier classes and a share of its own: sets that adapt to the patient.

    (Romano, Sesia and Candès 2020.) `uniform` holds one draw from [0, 1) a record, independent of
    all else: coverage is then exact; with 1 for everyone it is at least as high, and sets larger.
    """
    return raps(prob, uniform, 0.0, 0)


def raps(
    prob: Prob, uniform: Float[np.ndarray, " n"], penalty: float = 0.05, free: int = 2
) -> Score:
    """APS and a penalty for each rank beyond `free`: no long tails (Angelopoulos et al. 2021)."""
    order = np.argsort(-prob, axis=1, kind="stable")
    ranked = np.take_along_axis(np.asarray(prob, np.float64), order, axis=1)
    above = np.cumsum(ranked, axis=1) - ranked
    beyond = np.maximum(np.arange(1, prob.shape[1] + 1) - free, 0)
    score = np.empty(ranked.shape)
    np.put_along_axis(
        score, order, above + uniform[:, None] * ranked + penalty * beyond[None, :], axis=1
    )
    return score


def of_label(score: Score, label: Int[np.ndarray, " n"]) -> Limit:
    """Each record's score of its own class."""
    return np.take_along_axis(score, label[:, None], axis=1)[:, 0]


def smallest(coverage: float) -> int:
    """The fewest calibration records that can promise this coverage: 9 for 90 %, 19 for 95 %."""
    return max(math.ceil(coverage / (1 - coverage) - 1e-9), 1)


def limit(own: Float[np.ndarray, " n"], coverage: float) -> float:
    """The largest score that a set forgives, from calibration records' own scores; else NaN."""
    k = _rank(len(own), coverage)
    return float(np.partition(own, k - 1)[k - 1]) if k <= len(own) else math.nan


def weighted_limit(
    own: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
    asked: Float[np.ndarray, " m"],
    coverage: float,
) -> Float[np.ndarray, " m"]:
    """Limits under covariate shift (Tibshirani et al. 2019), one for each new record.

    `weight` and `asked` are density ratios, new to old, of the calibration and the new records, up
    to one constant. NaN where the new record alone outweighs what a set may miss.
    """
    order = np.argsort(own, kind="stable")
    mass = np.cumsum(weight[order])
    needed = coverage * (mass[-1] + asked) if len(own) else np.full(len(asked), np.inf)
    place = np.searchsorted(mass, needed - 1e-12)
    return np.append(own[order], np.nan)[np.minimum(place, len(own))]


class Limits(NamedTuple):
    """A limit for each stratum: the promise holds within it, not only on average.

    `pooled` strata, each too small, share one limit and are promised coverage together. `marginal`
    strata have that of all records: they were too few even together. None is no promise. `helped`
    patterns have a limit of their own by records from which modalities were hidden.
    """

    coverage: float
    limit: dict[str, float | None]
    everyone: float | None
    records: dict[str, int]
    pooled: tuple[str, ...]
    marginal: tuple[str, ...]
    helped: tuple[str, ...] = ()


NO_LIMITS = Limits(0.9, {}, None, {}, (), ())
"""Of no calibration records: nothing is promised to anyone."""


def by_stratum(
    own: Float[np.ndarray, " n"],
    stratum: Shaped[np.ndarray, " n"],
    coverage: float,
    fewest: int = FEWEST,
) -> Limits:
    """Mondrian limits (Vovk et al. 2005), by missingness pattern, site or label.

    Strata of fewer than `fewest` records are pooled: with 9 the promise could be kept, but by
    forgiving the strangest of them. Whether to pool is read off the calibration records' counts.
    """
    fewest = max(fewest, smallest(coverage))
    names, index, count = np.unique(stratum.astype(str), return_inverse=True, return_counts=True)
    small = count < fewest
    everyone = _plain(limit(own, coverage))
    limits = {
        str(name): _plain(limit(own[index == i], coverage))
        for i, name in enumerate(names)
        if not small[i]
    }
    together = own[small[index]]
    enough = len(together) >= fewest
    shared = _plain(limit(together, coverage)) if enough else everyone
    rest = tuple(str(name) for name in names[small])
    limits |= dict.fromkeys(rest, shared)
    return Limits(
        coverage,
        limits,
        everyone,
        {str(name): int(n) for name, n in zip(names, count, strict=True)},
        pooled=rest if enough else (),
        marginal=() if enough else rest,
    )


def by_pattern(
    own: Float[np.ndarray, " n"],
    pattern: Shaped[np.ndarray, " n"],
    natural: Bool[np.ndarray, " n"],
    coverage: float = 0.9,
    fewest: int = FEWEST,
) -> Limits:
    """Limits by missingness pattern, where hidden modalities may stand in for missing ones.

    A pattern that came `natural`ly `fewest` times is judged by those records alone. Where it did
    not, records from which the rest was hidden are added: the promise then holds if what is missing
    is missing at random. Patterns that are too small even so are pooled, with natural records only,
    so that no patient counts twice. The limit of an unknown pattern is that of all natural records.
    """
    fewest = max(fewest, smallest(coverage))
    names, index = np.unique(pattern.astype(str), return_inverse=True)
    came = np.bincount(index[natural], minlength=len(names))
    every = np.bincount(index, minlength=len(names))
    helped = (came < fewest) & (every >= fewest)
    kept = natural | helped[index]
    limits = by_stratum(own[kept], pattern[kept], coverage, fewest)
    everyone = _plain(limit(own[natural], coverage))
    plain = limits.limit | dict.fromkeys(limits.marginal, everyone)
    by_others = tuple(str(name) for name in names[helped])
    return limits._replace(limit=plain, everyone=everyone, helped=by_others)


def limits_of(limits: Limits, stratum: Shaped[np.ndarray, " n"]) -> Limit:
    """Each record's limit, NaN where nothing is promised; a new stratum gets that of everyone."""
    names, index = np.unique(stratum.astype(str), return_inverse=True)
    found = [limits.limit.get(str(name), limits.everyone) for name in names]
    return np.array([math.nan if one is None else one for one in found])[index]


def by_class(
    score: Score, label: Int[np.ndarray, " n"], coverage: float, fewest: int = 0
) -> Float[np.ndarray, " class"]:
    """A limit for each class: patients who have it are covered with this probability.

    Classes of fewer than `fewest` records, or than can promise anything, are pooled and promised
    it together. NaN for those that are too few even so, and for a class that was never seen.
    """
    limits = by_stratum(of_label(score, label), label, coverage, fewest)
    return limits_of_classes(limits, np.arange(score.shape[1]))


def limits_of_classes(
    limits: Limits, classes: Shaped[np.ndarray, " class"]
) -> Float[np.ndarray, " class"]:
    """Each class's limit of strata that are labels, NaN where it is that of everyone or unknown.

    Limits of all records promise a rare class nothing: those who have it may all be left out.
    """
    own = {name: one for name, one in limits.limit.items() if name not in limits.marginal}
    return limits_of(limits._replace(limit=own, everyone=None), classes)


def members(score: Score, most: Limit) -> Bool[np.ndarray, "n class"]:
    """The sets: classes of at most each record's limit, and the least strange; none for NaN."""
    least = score == score.min(axis=1, keepdims=True)
    return ((score <= most[:, None] + 1e-12) | least) & ~np.isnan(most)[:, None]


def members_by_class(
    score: Score, most: Float[np.ndarray, " class"]
) -> Bool[np.ndarray, "n class"]:
    """Sets by each class's own limit; raises FusionError where a class has no promise."""
    if np.isnan(most).any():
        raise FusionError(
            "class-conditional sets: too few calibration records for this coverage. "
            "Give more records, or promise less."
        )
    least = score == score.min(axis=1, keepdims=True)
    return (score <= most[None, :] + 1e-12) | least


class Coverage(NamedTuple):
    """How often sets held the truth, and between which shares 95 % of such tests would lie."""

    records: int
    covered: float
    size: float
    low: float
    high: float


def coverage_of(
    chosen: Bool[np.ndarray, "n class"],
    label: Int[np.ndarray, " n"],
    calibration: int,
    coverage: float,
) -> Coverage:
    """Coverage and mean size of sets that were calibrated on so many records.

    The band is the beta-binomial law of both samples (Angelopoulos and Bates 2023, App. C), beyond
    2000 tests that of the normal with its moments.
    """
    n = len(label)
    if not n or _rank(calibration, coverage) > calibration:
        return Coverage(n, math.nan, math.nan, math.nan, math.nan)
    held = chosen[np.arange(n), label]
    low, high = band(n, calibration, coverage)
    return Coverage(n, float(held.mean()), float(chosen.sum(axis=1).mean()), low, high)


def band(tests: int, calibration: int, coverage: float) -> tuple[float, float]:
    """Between which shares covered 95 % of tests lie, if no more than the promise is kept."""
    from scipy.stats import betabinom

    k = _rank(calibration, coverage)
    law = betabinom(tests, k, calibration + 1 - k)
    if tests <= 2000:
        low, high = law.ppf([0.025, 0.975]) / tests
    else:
        low, high = law.mean() / tests + 1.959964 * law.std() / tests * np.array([-1, 1])
    return float(low), float(min(high, 1.0))


def _rank(records: int, coverage: float) -> int:
    """Which of so many scores is the limit, from the smallest; beyond the last nothing is."""
    return max(math.ceil((records + 1) * coverage - 1e-9), 1)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
