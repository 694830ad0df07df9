"""How well each record is predicted by all the others; no posterior is fitted again.

log P(y_n | y_−n, F_n) from the draws that saw y_n, weighed by 1/P(y_n | F_n, θ), Pareto-smoothed
(Vehtari, Gelman and Gabry 2017, "Practical Bayesian model evaluation using leave-one-out
cross-validation and WAIC"). The shape k̂ of each record's weights says whether it can be believed.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fusionjax.log_linear import log_prob
from fusionjax.posterior import psis
from fusionjax.posterior.types import Observations

BLOCK = 1024


class Loo(NamedTuple):
    """Of each record: log P(y_n | y_−n, F_n) in nats, and the Pareto shape of its weights."""

    elpd: Float[np.ndarray, " record"]
    k_hat: Float[np.ndarray, " record"]
    most_k_hat: float


class Estimate(NamedTuple):
    """A sum over records with its standard error over records, and how many k̂ are too large."""

    value: float
    se: float
    bad: int


def leave_one_out(
    theta: tuple[Float[Array, "draw class _"], ...],
    observations: Observations,
    bias: Float[Array, " class"],
    record: Int[np.ndarray, " row"] | None = None,
) -> Loo:
    """From the draws of any engine; the rows are taken some at a time, so memory is flat in them.

    `record` names the record of every row where one stands in several (`presence.augment`): all its
    rows are left out together, and its first row is what is predicted. Records are in the order of
    their first rows.
    """
    rows = len(observations.weight)
    record = np.arange(rows) if record is None else np.asarray(record)
    if record.shape != (rows,):
        raise ValueError(f"`record` names {record.shape} rows, the observations have {rows}")
    _, first = np.unique(record, return_index=True)
    elpd, shape = [], []
    for start in range(0, len(first), BLOCK):
        head = np.sort(first)[start : start + BLOCK]
        mine = np.flatnonzero(np.isin(record, record[head]))
        seen = _log_likelihood(theta, _take(observations, mine), bias)
        owner = record[mine][:, None] == record[head][None, :]
        own = np.searchsorted(mine, head)
        weighed = seen * np.asarray(observations.weight)[mine][None, :]
        for predicted, log_ratio in zip(seen[:, own].T, -(weighed @ owner).T, strict=True):
            log_weight, k_hat = psis.smooth(log_ratio)
            elpd.append(_log_mean(predicted, log_weight))
            shape.append(k_hat)
    return Loo(np.array(elpd), np.array(shape), psis.most_k_hat(len(theta[0])))


def total(loo: Loo) -> Estimate:
    """elpd_loo: the sum over records."""
    return _estimate(loo.elpd, loo.k_hat > loo.most_k_hat)


def difference(loo: Loo, other: Loo) -> Estimate:
    """elpd_loo of the first less that of the other, on the same records: paired, so surer."""
    bad = (loo.k_hat > loo.most_k_hat) | (other.k_hat > other.most_k_hat)
    return _estimate(loo.elpd - other.elpd, bad)


def _estimate(each, bad) -> Estimate:
    count = len(each)
    se = math.sqrt(count) * float(np.std(each, ddof=1)) if count > 1 else math.inf
    return Estimate(float(np.sum(each)), se, int(np.sum(bad)))


def _log_mean(values, log_weight) -> float:
    """log of the weighted mean of exp(values)."""
    top = np.max(values)
    return float(top + np.log(psis.normalised(log_weight) @ np.exp(values - top)))


def _take(observations: Observations, rows: np.ndarray) -> Observations:
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[rows]), observations)


def _log_likelihood(theta, rows: Observations, bias) -> Float[np.ndarray, "draw row"]:
    """log P(y | F, θ) of every row under every draw; padded, so that few shapes are compiled."""
    count = len(rows.weight)
    padded = jax.tree.map(
        lambda x: jnp.pad(x, ((0, -count % BLOCK),) + ((0, 0),) * (x.ndim - 1)), rows
    )
    return np.asarray(_by_draw(theta, padded, bias), float)[:, :count]


@jax.jit
def _by_draw(theta, rows: Observations, bias):
    def one(theta):
        found = log_prob(theta, bias, rows.features, rows.presence)
        return jnp.sum(rows.onehot * found, axis=1)

    return jax.lax.map(one, theta)
