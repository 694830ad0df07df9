"""The Bayesian temperature with a scale for each stratum, in a hierarchy that is summed exactly.

    log scale_s ~ N(μ, τ²),   μ ~ N(0, 1/4),   τ ~ half-normal(1/4)

Given μ and τ the strata are independent and one-dimensional, so the posterior is a sum over grids
of τ, of μ and of each stratum's log scale. A stratum of 10 records gets nearly the common scale
with the strata's spread in its predictive; one of 1000 its own; one never seen N(μ, τ²).
"""

import numpy as np

from fusionjax.calibrate.bayesian import (
    PRIOR_SD,
    averaged,
    log_likelihood,
    on_grid,
    summarised,
)
from fusionjax.calibrate.stratified import Stratified
from fusionjax.calibrate.temperature_scaling import HIGHEST, LOWEST
from fusionjax.calibrate.types import Parameters, check_labels, evidence

TAU_SD = 0.25
TAUS = np.geomspace(0.02, 1.0, 12)
MUS = 41
# 0.01 apart: finer than the narrowest τ and, at some 10⁴ records a stratum, than its likelihood.
LOG_SCALE = np.arange(np.log(LOWEST), np.log(HIGHEST) + 1e-9, 0.01)


def _fit(
    log_prob: np.ndarray,
    label: np.ndarray,
    prior: np.ndarray,
    stratum: np.ndarray,
    group: np.ndarray,
) -> Parameters:
    found = evidence(log_prob, prior)
    check_labels(label, len(prior))
    names = np.unique(stratum.astype(str))
    every = [np.flatnonzero(stratum.astype(str) == name) for name in names]
    log_likelihoods = np.array(
        [_interpolated(found[rows], label[rows], prior) for rows in every]
    ).reshape(len(names), len(LOG_SCALE))
    density, weight = _population(log_likelihoods)
    own = [_posterior(density, weight, one) for one in log_likelihoods]
    return {
        "everyone": _coarse(np.tensordot(weight, density, 2)),
        "strata": {name: _coarse(one) for name, one in zip(names, own, strict=True)},
    }


def _apply(
    parameters: Parameters, log_prob: np.ndarray, prior: np.ndarray, stratum: np.ndarray
) -> np.ndarray:
    names, index = np.unique(stratum.astype(str), return_inverse=True)
    scaled = np.empty(log_prob.shape)
    for i, name in enumerate(names):
        rows = np.flatnonzero(index == i)
        known = parameters["strata"].get(str(name), parameters["everyone"])
        scaled[rows] = averaged(known, log_prob[rows], prior)
    return scaled


def _interpolated(found: np.ndarray, label: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """A stratum's log-likelihood on LOG_SCALE, from some 40 to 200 evaluations of it."""
    from scipy.interpolate import PchipInterpolator

    *_, (points, values) = on_grid(lambda at: log_likelihood(found, label, prior, at))
    return PchipInterpolator(points, values)(np.clip(LOG_SCALE, points[0], points[-1]))


def _population(log_likelihoods: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Densities of log scale [τ, μ, scale], each summing to 1, and the posterior weight [τ, μ]."""
    center, spread = _moments(log_likelihoods.sum(axis=0))
    # The strata's own means may lie apart from the pooled one: both widths are let into the grid.
    half = 6 * np.sqrt(spread**2 + TAUS**2 / max(len(log_likelihoods), 1)) + TAUS
    mu = center + half[:, None] * np.linspace(-1, 1, MUS)[None]
    gap = LOG_SCALE[None, None] - mu[:, :, None]
    density = np.exp(-(gap**2) / (2 * TAUS[:, None, None] ** 2)) + 1e-300
    density /= density.sum(axis=2, keepdims=True)
    log_weight = -(mu**2) / (2 * PRIOR_SD**2) - (TAUS**2 / (2 * TAU_SD**2))[:, None]
    # Cells: μ is spaced by `half`, τ by its own size, as its grid is geometric.
    log_weight = log_weight + np.log(half * TAUS)[:, None]
    for one in log_likelihoods:
        log_weight += np.log(density @ np.exp(one - one.max()) + 1e-300)
    weight = np.exp(log_weight - log_weight.max())
    return density, weight / weight.sum()


def _posterior(density: np.ndarray, weight: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    """A stratum's posterior on LOG_SCALE, μ and τ summed out."""
    likelihood = np.exp(log_likelihood - log_likelihood.max())
    evidence_of = density @ likelihood + 1e-300
    found = np.tensordot(weight / evidence_of, density, 2) * likelihood
    return found / found.sum()


def _moments(log_density: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of log scale under a likelihood and the prior."""
    value = log_density - LOG_SCALE**2 / (2 * PRIOR_SD**2)
    weight = np.exp(value - value.max())
    weight /= weight.sum()
    mean = float(weight @ LOG_SCALE)
    return mean, float(np.sqrt(weight @ (LOG_SCALE - mean) ** 2))


def _coarse(weight: np.ndarray) -> Parameters:
    """Parameters with at most 200 nodes: neighbours are joined at their mean."""
    bins = np.minimum((np.cumsum(weight) - weight / 2) * 200, 199).astype(int)
    mass = np.bincount(bins, weight, minlength=200)
    kept = mass > 0
    mean = np.bincount(bins, weight * LOG_SCALE, minlength=200)[kept] / mass[kept]
    return summarised(mean, mass[kept])


HIERARCHICAL = Stratified(_fit, _apply)
