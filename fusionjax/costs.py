"""What each decision costs, as the user states it, and what to decide at these costs.

The costs stand in a TOML file, in any unit:

    refer = 1.0             # to decide nothing and send the patient on
    wrong = 5.0             # any wrong diagnosis that is not named below
    [of.embolism]           # of patients who have an embolism …
    healthy = 100.0         # … and are called healthy
"""

import tomllib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionjax import metrics
from fusionjax.card.values import choice, pairs, real, section
from fusionjax.errors import CardError
from fusionjax.metrics import Estimate
from fusionjax.triage import cheapest, expected_cost

REFER = "refer"
MOST = 1e12


class Costs(NamedTuple):
    """`cost[y, d]` is what it costs to call a patient d who has y; `refer`, to decide nothing."""

    cost: Float[np.ndarray, "class class"]
    refer: float


class Decision(NamedTuple):
    """`decided` is a class, or −1: refer; `cost` is what that is expected to cost."""

    decided: Int[np.ndarray, " n"]
    cost: Float[np.ndarray, " n"]


def load(path: Path, classes: tuple[str, ...]) -> Costs:
    """Read a file of costs; a right diagnosis costs 0 where it is not named. Raises CardError."""
    if REFER in classes:
        mend = f"Rename it on the card: a decision {REFER!r} would be read as a referral."
        raise CardError(path, REFER, "is a class too", mend)
    amount, one = real(0.0, MOST), choice(*classes)
    grammar = {REFER: amount, "wrong": amount, "of": pairs(one, pairs(one, amount))}
    said = section(path, "", _toml(path), grammar, (REFER,))
    cost = np.where(np.eye(len(classes), dtype=bool), 0.0, said.get("wrong", np.nan))
    for truth, named in said.get("of", {}).items():
        for decided, value in named.items():
            cost[classes.index(truth), classes.index(decided)] = value
    unsaid = np.argwhere(np.isnan(cost))
    if len(unsaid):
        truth, decided = (classes[k] for k in unsaid[0])
        mend = "Say wrong = …, which holds for every wrong diagnosis that is not named."
        raise CardError(path, f"of.{truth}.{decided}", "has no cost", mend)
    return Costs(cost, said[REFER])


def decide(costs: Costs, prob: Float[np.ndarray, "n class"]) -> Decision:
    """The decision of least expected cost for each patient."""
    least = expected_cost(prob, costs.cost).min(axis=1)
    return Decision(cheapest(prob, costs.cost, costs.refer), np.minimum(least, costs.refer))


def scored(
    costs: Costs,
    prob: Float[np.ndarray, "n class"],
    label: Int[np.ndarray, " n"],
    group: np.ndarray,
    seed: int = 0,
) -> dict[str, Estimate]:
    """What a patient cost on average, by how it was decided; every label is known.

    At least expected cost; by the likeliest diagnosis for everyone; and that rule's cost less the
    first's, paired. Intervals resample patients.
    """
    decided = decide(costs, prob).decided
    own = np.where(decided < 0, costs.refer, costs.cost[label, np.maximum(decided, 0)])
    likeliest = costs.cost[label, prob.argmax(axis=1)]
    paid = {"cheapest": own, "likeliest": likeliest, "difference": likeliest - own}
    return {
        name: metrics.interval(partial(metrics.mean, each), len(label), group, seed)
        for name, each in paid.items()
    }


def as_json(
    costs: Costs, decision: Decision, paid: dict[str, Estimate], classes: tuple[str, ...]
) -> dict[str, Any]:
    """The costs, how many records get each decision, and what that cost, as JSON values."""
    names = (*classes, REFER)
    counts = np.bincount(decision.decided % len(names), minlength=len(names))
    return {
        REFER: costs.refer,
        "of": {
            truth: dict(zip(classes, row, strict=True))
            for truth, row in zip(classes, costs.cost.tolist(), strict=True)
        },
        "decisions": [
            {"decision": name, "records": int(count)}
            for name, count in zip(names, counts, strict=True)
        ],
        "paid": {
            name: {k: v if np.isfinite(v) else None for k, v in each._asdict().items()}
            for name, each in paid.items()
        },
    }


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError:
        raise CardError(path, "costs", "cannot be read", "Name a TOML file of costs.") from None
    except (ValueError, RecursionError) as error:
        raise CardError(path, "costs", f"is not TOML: {error}", "See https://toml.io.") from None
