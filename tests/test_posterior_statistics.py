"""Slow statistical tests: Laplace against long NUTS runs, and the coverage of its intervals."""

import jax
import numpy as np
import pytest

from fusionjax.posterior import certificate, laplace, nuts
from tests.test_posterior import simulated

pytestmark = pytest.mark.slow


def columns(posterior):
    parts = [np.asarray(theta).reshape(len(theta), -1) for theta in posterior.theta]
    return np.concatenate([np.asarray(posterior.tau), *parts], axis=1)


@pytest.mark.parametrize(
    ("rows", "sizes", "classes"), [(400, (6, 5), 3), (150, (4, 8, 3), 2)], ids=["three", "two"]
)
def test_laplace_against_nuts(key, rows, sizes, classes):
    observations, bias, _ = simulated(11, rows, sizes, classes, tau=np.full(len(sizes), 0.7))
    long = nuts.fit(key, observations, bias, draws=1500, warmup=1000)
    assert long.certificate.ok, long.certificate.notes
    reference, draws = columns(long), columns(laplace.fit(key, observations, bias, draws=4000))
    chains = reference.reshape(4, 1500, -1)
    effective = np.array(
        [certificate.mixing({"one": chains[:, :, i]})[1] for i in range(chains.shape[2])]
    )
    sd = reference.std(0)
    error = (draws.mean(0) - reference.mean(0)) / sd
    # Laplace's own error is a shift of the order of the posterior's skewness: a tenth of the sd.
    assert np.all(np.abs(error) < 5 / np.sqrt(effective) + 5 / np.sqrt(4000) + 0.1), error
    ratio = draws.std(0) / sd
    assert np.all(np.abs(np.log(ratio)) < 5 / np.sqrt(2 * effective) + 0.1), ratio
    noise = np.corrcoef(draws.T) - np.corrcoef(reference.T)
    assert np.sqrt(np.mean(noise**2)) < 0.08


def inside(draws, truth, stretch=1.0):
    """Whether the central 90 % interval of the draws, stretched about their mean, holds truth."""
    mean = draws.mean(0)
    low, high = np.quantile(mean + stretch * (draws - mean), [0.05, 0.95], axis=0)
    return (low <= truth) & (truth <= high)


def coverage(records: int, worlds: int):
    """Coverage of θ by honest, shrunk and stretched draws, and that of τ by honest ones."""
    hits, tau_hits = [], []
    for seed in range(worlds):
        observations, bias, (theta, tau) = simulated(seed, records, (3, 2), 3)
        posterior = laplace.fit(jax.random.key(seed), observations, bias)
        draws, truth = columns(posterior), np.r_[tau, *(part.ravel() for part in theta)]
        hits.append([inside(draws, truth, s)[2:].mean() for s in (1.0, 0.8**0.5, 1.25**0.5)])
        tau_hits.append(inside(draws, truth)[:2].mean())
    return np.mean(hits, axis=0), np.mean(tau_hits)


def test_ninety_percent_intervals_cover():
    (honest, shrunk, stretched), scales = coverage(records=150, worlds=300)
    assert 0.87 < honest < 0.93
    assert shrunk < 0.87
    assert stretched > 0.93
    assert 0.86 < scales < 0.94
