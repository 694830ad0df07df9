"""Is this modality worth having? The log marginal likelihood of subsets of the modalities, and LOO.

For a subset S both are of the model that has the modalities in S and no others, on the same
records: one of which nothing in S is present has the prior's probability. log P(y | F_S) integrates
θ and τ: the surrogate's evidence, τ by `scales`, times the mean of the weights that make the
surrogate's draws those of the posterior. So it is no Laplace approximation, but an estimate that
has a Monte Carlo error, and the weights' k̂ to say whether that is finite.

Give it the rows as they were observed, each with weight 1: with rows under dropout
(`presence.augment`) the likelihood is a composite one, and its integral no probability of labels.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from fusionjax.keys import split
from fusionjax.posterior import loo, newton, proposals, psis
from fusionjax.posterior.certificate import LEAST_EXCESS
from fusionjax.posterior.loo import Estimate, Loo
from fusionjax.posterior.proposals import Groundwork
from fusionjax.posterior.types import Observations
from fusionjax.presence import patterns
from fusionjax.types import Key

PROPOSED = 2048
DRAWS = 1000
MOST_FOR_ALL = 4


class Evidence(NamedTuple):
    """log P(y | F_S) in nats, its Monte Carlo standard error, and k̂ of the weights behind it."""

    value: float
    mcse: float
    k_hat: float
    ok: bool


class Subset(NamedTuple):
    """The model with the modalities `shown`, and no others."""

    shown: tuple[bool, ...]
    evidence: Evidence
    loo: Loo


class Worth(NamedTuple):
    """What modality `modality` adds to the others: nats of evidence, and of prediction by LOO.

    `alone` is what it adds to the class frequencies. `inclusion` is P(it is among the right subset
    | y) where every subset is as likely as another before y; None where not all were tried.
    """

    modality: int
    evidence: Evidence
    elpd: Estimate
    alone: Evidence
    inclusion: float | None


def subsets(modalities: int) -> tuple[tuple[bool, ...], ...]:
    """All of them up to four modalities; of more the whole, each left out, each alone, and none."""
    none = (False,) * modalities
    if modalities <= MOST_FOR_ALL:
        return (*(tuple(row) for row in np.asarray(patterns(modalities)).tolist()), none)
    each = [tuple(i == j for j in range(modalities)) for i in range(modalities)]
    others = [tuple(not here for here in one) for one in each]
    return ((True,) * modalities, *others, *each, none)


def evaluate(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    shown: Sequence[tuple[bool, ...]] | None = None,
    *,
    proposed: int = PROPOSED,
) -> tuple[Subset, ...]:
    """Evidence and LOO of the subsets `shown` (else `subsets`); one Laplace fit each.

    Raises ValueError where `observations` cannot be followed (see `posterior.check`).
    """
    shown = subsets(len(observations.features)) if shown is None else tuple(shown)
    keys = split(key, len(shown))
    return tuple(
        _subset(k, observations, bias, s, proposed) for k, s in zip(keys, shown, strict=True)
    )


def evidence(key: Key, ground: Groundwork, proposed: int = PROPOSED) -> Evidence:
    """log P(y) of the groundwork's own records and modalities."""
    return _evidence(ground, proposals.draw(key, ground, proposed).log_ratio)


def worth(found: Sequence[Subset]) -> tuple[Worth, ...]:
    """Of each modality, by what `evaluate` found; the whole must be among it, and the empty set.

    Raises KeyError where a subset that is compared was not tried.
    """
    by = {one.shown: one for one in found}
    modalities = len(found[0].shown)
    whole, none = by[(True,) * modalities], by[(False,) * modalities]
    every = len(by) == 2**modalities
    top = max(one.evidence.value for one in found)
    chance = {s: math.exp(one.evidence.value - top) for s, one in by.items()}
    result = []
    for i in range(modalities):
        alone = by[tuple(j == i for j in range(modalities))]
        rest = by[tuple(j != i for j in range(modalities))]
        inclusion = sum(p for s, p in chance.items() if s[i]) / sum(chance.values())
        result.append(
            Worth(
                modality=i,
                evidence=_ratio(whole.evidence, rest.evidence),
                elpd=loo.difference(whole.loo, rest.loo),
                alone=_ratio(alone.evidence, none.evidence),
                inclusion=inclusion if every else None,
            )
        )
    return tuple(result)


def as_json(found: Sequence[Subset], names: Sequence[str]) -> dict[str, Any]:
    """What a report shows: every subset by its modalities' names, and what each modality adds."""
    tried = [
        {
            "modalities": [name for name, here in zip(names, one.shown, strict=True) if here],
            "log_evidence": one.evidence._asdict(),
            "elpd_loo": loo.total(one.loo)._asdict(),
        }
        for one in found
    ]
    each = [
        {
            "modality": names[one.modality],
            "log_bayes_factor": one.evidence._asdict(),
            "elpd_loo_difference": one.elpd._asdict(),
            "log_bayes_factor_alone": one.alone._asdict(),
            "inclusion": one.inclusion,
        }
        for one in worth(found)
    ]
    return {"subsets": tried, "worth": each}


def _subset(key, observations: Observations, bias, shown, proposed) -> Subset:
    if not any(shown):
        return _nothing(observations, bias, shown)
    scale_key, draw_key, pick_key = split(key, 3)
    kept = np.flatnonzero(shown)
    features = tuple(observations.features[i] for i in kept)
    alone = observations._replace(features=features, presence=observations.presence[:, kept])
    ground = proposals.groundwork(scale_key, alone, bias)
    drawn = proposals.draw(draw_key, ground, proposed)
    chosen = psis.resample(pick_key, psis.smooth(drawn.log_ratio)[0], DRAWS)
    theta = proposals.theta(drawn.u[chosen], newton.sizes(alone))
    found = loo.leave_one_out(theta, alone, bias)
    return Subset(tuple(shown), _evidence(ground, drawn.log_ratio), found)


def _nothing(observations: Observations, bias, shown) -> Subset:
    """Exactly: the class frequencies, whatever the records."""
    log_prob = np.asarray(observations.onehot, float) @ np.asarray(jax.nn.log_softmax(bias), float)
    value = float(np.asarray(observations.weight, float) @ log_prob)
    exact = Loo(log_prob, np.zeros(len(log_prob)), 0.7)
    return Subset(tuple(shown), Evidence(value, 0.0, 0.0, ok=True), exact)


def _evidence(ground: Groundwork, log_ratio: Float[np.ndarray, " draw"]) -> Evidence:
    smoothed, k_hat = psis.smooth(log_ratio)
    scales, scales_mcse = _log_mean(ground.scales.log_weight)
    # What is smoothed is relative to the largest weight.
    weights, weights_mcse = _log_mean(smoothed + np.max(log_ratio))
    # As in a certificate: the shape of a tail that carries nothing does not matter.
    little = k_hat < np.inf and psis.tail_excess(log_ratio) < LEAST_EXCESS
    ok = bool(k_hat < psis.most_k_hat(len(log_ratio)) or little)
    return Evidence(scales + weights, math.hypot(scales_mcse, weights_mcse), k_hat, ok)


def _log_mean(log_weight) -> tuple[float, float]:
    """log of the mean weight and its Monte Carlo error, were the weights independent."""
    top = float(np.max(log_weight))
    weight = np.exp(log_weight - top)
    mean = float(np.mean(weight))
    error = float(np.std(weight)) / math.sqrt(len(weight)) / mean
    return top + math.log(mean), error


def _ratio(first: Evidence, second: Evidence) -> Evidence:
    mcse = math.hypot(first.mcse, second.mcse)
    k_hat, ok = max(first.k_hat, second.k_hat), first.ok and second.ok
    return Evidence(first.value - second.value, mcse, k_hat, ok)
