"""Slow statistical tests: engines against long NUTS runs, and the coverage of intervals."""

from functools import partial

import jax
import numpy as np
import pytest

from fusionjax.posterior import certificate, importance, laplace, nuts
from tests.test_posterior import simulated

pytestmark = pytest.mark.slow


def columns(posterior):
    parts = [np.asarray(theta).reshape(len(theta), -1) for theta in posterior.theta]
    return np.concatenate([np.asarray(posterior.tau), *parts], axis=1)


@pytest.mark.parametrize(
    ("rows", "sizes", "classes"), [(400, (6, 5), 3), (150, (4, 8, 3), 2)], ids=["three", "two"]
)
def test_moments_and_correlations_against_nuts(key, rows, sizes, classes):
    observations, bias, _ = simulated(11, rows, sizes, classes, tau=np.full(len(sizes), 0.7))
    long = nuts.fit(key, observations, bias, draws=1500, warmup=1000)
    assert long.certificate.ok, long.certificate.notes
    reference = columns(long)
    chains = reference.reshape(4, 1500, -1)
    effective = np.array(
        [certificate.mixing({"one": chains[:, :, i]})[1] for i in range(chains.shape[2])]
    )
    sd, correlation = reference.std(0), np.corrcoef(reference.T)
    fourth = np.mean(((reference - reference.mean(0)) / sd) ** 4, axis=0)
    # Beyond the noise, Laplace's own error: a twentieth of the sd, for τ_i a fifth, and in the sd.
    own = np.where(np.arange(len(sd)) < len(sizes), 0.2, 0.05)
    for fit, slack, wider, apart in (
        (laplace.fit, own, 0.15, 0.05),
        (partial(importance.fit, proposed=8000), 0.0, 0.0, 0.0),
    ):
        found = fit(key, observations, bias, draws=4000)
        draws = columns(found)
        noise = 1 / effective + 1 / len(draws) + 1 / (found.certificate.ess_bulk or np.inf)
        error = (draws.mean(0) - reference.mean(0)) / sd
        assert np.all(np.abs(error) < 5 * np.sqrt(noise) + slack), error
        ratio = draws.std(0) / sd
        assert np.all(np.abs(np.log(ratio)) < 5 * np.sqrt((fourth - 1) / 4 * noise) + wider), ratio
        off = np.sqrt(np.mean((np.corrcoef(draws.T) - correlation) ** 2))
        assert off < 2 * np.sqrt(np.max(noise)) + apart, off


def inside(draws, truth, stretch=1.0):
    """Whether the central 90 % interval of the draws, stretched about their mean, holds truth."""
    mean = draws.mean(0)
    low, high = np.quantile(mean + stretch * (draws - mean), [0.05, 0.95], axis=0)
    return (low <= truth) & (truth <= high)


def test_ninety_percent_intervals_cover():
    """Data sets drawn from the prior: honest draws cover θ and τ, shrunk and stretched do not."""
    hits, scale_hits = [], []
    for seed in range(500):
        observations, bias, (theta, tau) = simulated(seed, 300, (3, 2), 3)
        draws = columns(laplace.fit(jax.random.key(seed), observations, bias, draws=4000))
        truth = np.concatenate([tau, *(part.ravel() for part in theta)])
        scale_hits.append(inside(draws, truth)[:2].mean())
        hits.append([inside(draws, truth, s)[2:].mean() for s in (1.0, 0.8**0.5, 1.25**0.5)])
    honest, shrunk, stretched = np.mean(hits, axis=0)
    noise = np.std(hits, axis=0)[0] / np.sqrt(500)
    assert noise < 0.008
    assert 0.87 < honest < 0.93
    assert abs(honest - 0.9) < 2.5 * noise
    assert shrunk < 0.9 - 2.5 * noise
    assert stretched > 0.9 + 2.5 * noise
    assert 0.86 < np.mean(scale_hits) < 0.94
