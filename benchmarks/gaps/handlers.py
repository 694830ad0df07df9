"""Every handler of missing modalities, the oracle, and how good what they say is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from benchmarks.gaps import cohort as cohorts
from benchmarks.gaps.cohort import Cohort, Part
from fusionjax import metrics
from fusionjax.missing import (
    absence,
    average,
    drop,
    gaussian,
    indicator,
    linear,
    mean,
    token,
    zero,
)
from fusionjax.missing.types import Handler
from fusionjax.posterior import observe
from fusionjax.types import Params

MODULES = (drop, gaussian, average, absence, token, indicator, mean, zero)
HANDLERS = {m.__name__.split(".")[-1]: Handler(m.fit, m.log_prob) for m in MODULES}


def fit_all(train: Part, bias: Any, names: tuple[str, ...] = tuple(HANDLERS)) -> dict[str, Params]:
    """Every handler on the same training records."""
    rows = cohorts.observations(train, len(bias))
    return {name: HANDLERS[name].fit(jax.random.key(0), rows, bias) for name in names}


def oracle(cohort: Cohort, pattern: np.ndarray, test: Part) -> Float[np.ndarray, "row class"]:
    """P(y | F_S) of a log-linear model that was trained on the modalities of S alone."""
    kept = np.flatnonzero(pattern)
    able = np.asarray(cohort.train.presence)[:, kept].all(axis=1)
    inside = tuple(cohort.train.features[i][able] for i in kept)
    label = jnp.asarray(cohort.train.label[able])
    vector = jnp.concatenate([f[:, int(i > 0) :] for i, f in enumerate(inside)], axis=1)
    everyone = jnp.ones((len(vector), 1), bool)
    rows = observe((vector,), everyone, label, len(cohort.bias))
    theta = linear.theta(rows, cohort.bias)
    shown = jnp.concatenate([test.features[i][:, int(n > 0) :] for n, i in enumerate(kept)], axis=1)
    said = linear.log_prob_of_vector(theta, cohort.bias, shown)
    return np.exp(np.asarray(said, np.float64))


def scores(
    prob: Float[np.ndarray, "row class"], label: Int[np.ndarray, " row"]
) -> dict[str, float]:
    """NLL, accuracy, debiased ECE and the area under the risk-coverage curve."""
    return {
        "nll": _short(metrics.nll(prob, label)),
        "accuracy": _short(metrics.accuracy(prob, label)),
        "ece": _short(metrics.ece(prob, label)),
        "aurc": _short(aurc(prob, label)),
    }


def aurc(prob: Float[np.ndarray, "row class"], label: Int[np.ndarray, " row"]) -> float:
    """Mean error of the most confident share of records, over all shares (Geifman et al. 2019)."""
    order = np.argsort(-prob.max(axis=1), kind="stable")
    wrong = (prob.argmax(axis=1) != label)[order]
    return float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))


def nll(prob: Float[np.ndarray, "row class"], label: Int[np.ndarray, " row"]) -> float:
    """Mean negative log-likelihood in nats."""
    return float(metrics.nll(prob, label))


def _short(value: Any) -> float:
    return round(float(value), 4)
