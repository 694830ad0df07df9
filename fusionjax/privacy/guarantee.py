"""What is promised to whom: (ε, δ), the unit, the sampler, the clip and the noise that pay for it.

Two data sets are neighbours if one of them has the records of one unit, a record or a patient,
blanked ("zero-out"; Ponomareva et al. 2023, "How to DP-fy ML"): the number of units is public.
Accounting is dp-accounting's. Composed releases are Gaussian on a grid and accounted by Rényi
divergence, which a discrete Gaussian never exceeds (Canonne, Kamath and Steinke 2020, theorem 4);
Poisson-sampled steps by the distribution of their privacy loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped

from fusionjax.errors import FusionError

Sampler = Literal["all", "poisson", "shuffled"]


class PrivacyError(FusionError):
    """A configuration whose guarantee would not hold: what is wrong, and how to mend it."""

    def __init__(self, where: str, problem: str, mend: str):
        self.where, self.problem, self.mend = where, problem, mend
        super().__init__(f"{where}: {problem}. {mend}")


@dataclass(frozen=True)
class Promise:
    """What a private fit may spend, and on whose behalf it is counted."""

    epsilon: float = 3.0
    """ε of (ε, δ)-differential privacy."""
    delta: float = 1e-5
    """δ; it must be below 1 in as many units as there are."""
    unit: Literal["record", "patient"] = "record"
    """Whose presence is hidden: one record's, or all the records' of one patient together."""
    most: int | None = None
    """Records that count of a patient, where the patient is the unit; further ones are left out."""


class Guarantee(NamedTuple):
    """A promise that was kept: what every private result carries.

    `noise` names each release and its noise multiplier, deviation over sensitivity; `public` says
    what was taken as public and cost nothing. With `rehearsal` the noise came from a seed, so that
    whoever knows it can take it off again: then nothing is promised.
    """

    epsilon: float
    delta: float
    unit: str
    units: int
    most: int
    sampler: str
    clip: float
    noise: tuple[tuple[str, float], ...]
    accountant: str
    public: tuple[str, ...]
    rehearsal: bool


def sentence(given: Guarantee) -> str:
    """The guarantee in words, for a console, a report, and a certificate's notes."""
    noise = ", ".join(f"{name} {multiplier:.2f}" for name, multiplier in given.noise)
    counted = f" with at most {given.most} records each" if given.unit == "patient" else ""
    return (
        ("REHEARSAL, the noise came from a seed and nothing is promised: " * given.rehearsal)
        + f"({given.epsilon:g}, {given.delta:g})-differentially private; the unit is the "
        f"{given.unit}, one of {given.units}{counted}, blanked; sampler: {given.sampler}; clip: "
        f"{given.clip:.3g}; noise multipliers: {noise}; accounted by {given.accountant}; "
        f"public: {'; '.join(given.public)}"
    )


def to_json(given: Guarantee) -> dict[str, Any]:
    """The guarantee as JSON values, with its sentence."""
    return {**given._asdict(), "noise": dict(given.noise), "sentence": sentence(given)}


def check(promise: Promise, units: int, sampler: Sampler = "all") -> None:
    """Raise PrivacyError where `promise` would not hold of this many units under this sampler."""
    if not (0 < promise.epsilon < math.inf):
        raise PrivacyError("epsilon", f"is {promise.epsilon}", "Give a positive number.")
    if not 0 < promise.delta < 1:
        raise PrivacyError("delta", f"is {promise.delta}", "Give a number between 0 and 1.")
    if promise.delta * units >= 1:
        raise PrivacyError(
            "delta",
            f"is {promise.delta:g} with {units} {promise.unit}s: to publish one of them whole would"
            " keep such a promise",
            f"Give less than {1 / max(units, 1):.1g}, better a tenth of that.",
        )
    if promise.unit == "patient" and promise.most is None:
        raise PrivacyError(
            "most",
            "is not given, and a patient may have any number of records",
            "Say how many records of a patient count at most.",
        )
    if promise.most is not None and (promise.most < 1 or promise.unit != "patient"):
        raise PrivacyError(
            "most",
            f"is {promise.most} with the {promise.unit} as unit",
            "Give it for patients, ≥ 1.",
        )
    if sampler == "shuffled":
        raise PrivacyError(
            "sampler",
            "is shuffled batches, and the accounting holds for Poisson sampling alone (Chua et al. "
            '2024, "How private are DP-SGD implementations?")',
            "Sample by Poisson.",
        )


class Units(NamedTuple):
    """Which unit a record belongs to (−1 for records left out), and how many units there are."""

    of: np.ndarray
    count: int


def units(promise: Promise, group: Shaped[np.ndarray, " record"]) -> Units:
    """The unit of every record; of a patient the first `most` records count, in their order."""
    if promise.unit == "record":
        return Units(np.arange(len(group)), len(group))
    names, of = np.unique(group, return_inverse=True)
    order = np.argsort(of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(of))[:-1]])
    place = np.empty(len(of), int)
    place[order] = np.arange(len(of)) - starts[of[order]]
    return Units(np.where(place < (promise.most or 1), of, -1), len(names))


@cache
def multiplier(epsilon: float, delta: float) -> float:
    """The noise multiplier at which one Gaussian release, or several that share it, costs (ε, δ).

    Releases with multipliers z/√w_t and Σ w_t = 1 cost as much as one with z: divergences add.
    """
    dp = _dp_accounting()
    return float(
        dp.calibrate_dp_mechanism(
            _renyi, lambda z: dp.GaussianDpEvent(z), target_epsilon=epsilon, target_delta=delta
        )
    )


def epsilon(multipliers: Sequence[float], delta: float) -> float:
    """ε of Gaussian releases, one after another, with these noise multipliers."""
    accountant = _renyi()
    for z in multipliers:
        accountant.compose(_dp_accounting().GaussianDpEvent(z))
    return float(accountant.get_epsilon(delta))


def _renyi() -> Any:
    dp = _dp_accounting()
    return dp.rdp.RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_SPECIAL)


def _dp_accounting() -> ModuleType:
    try:
        import dp_accounting
    except ImportError as error:
        raise PrivacyError(
            "dp-accounting", "is not installed", "pip install 'fusionjax[privacy]'."
        ) from error
    return dp_accounting
