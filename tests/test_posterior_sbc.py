"""Simulation-based calibration: truth drawn from the prior, and its rank among posterior draws.

Over many data sets the ranks are uniform if and only if the posteriors are the right ones on
average (Talts et al. 2018, "Validating Bayesian inference algorithms with simulation-based
calibration"). Ranks of single weights hardly see a wrong width, so the log-likelihood (Modrák et
al. 2023) and the Mahalanobis distance from the mean are ranked too: the same draws shrunk or
stretched by a tenth about their mean fail.
"""

from itertools import islice

import jax
import numpy as np
import pytest
from scipy import stats

from fusionjax.posterior import auto, importance, laplace, nuts
from tests.test_posterior import simulated

pytestmark = pytest.mark.slow

DRAWS = 400
SETS = 1000
SETTINGS = {
    "many records": {"rows": 300, "sizes": (3, 2), "classes": 3},
    "few records": {"rows": 40, "sizes": (4, 3), "classes": 3},
    "near separable": {"rows": 25, "sizes": (3, 3), "classes": 2},
    "a class of one in a hundred": {"rows": 200, "sizes": (3, 2), "classes": 2, "rarest": 0.01},
}


def flat(theta):
    return np.concatenate([np.asarray(t, float).reshape(len(t), -1) for t in theta], axis=1)


def free(theta):
    """All of θ but the last class: its weights are what the others' sum lacks to zero."""
    return flat(tuple(np.asarray(t)[:, :-1] for t in theta))


def log_likelihood(theta, observations, bias):
    design = np.concatenate([np.asarray(f, float) for f in observations.features], axis=1)
    whole = np.concatenate([np.asarray(t, float) for t in theta], axis=2)
    energy = np.asarray(bias, float) + np.einsum("np,dkp->dnk", design, whole)
    log_z = np.logaddexp.reduce(energy, axis=2)
    return np.einsum("dnk,nk->d", energy, np.asarray(observations.onehot)) - log_z.sum(1)


def rank(draws, truth, rng):
    """In (0, 1), ties broken at random."""
    below, same = np.sum(draws < truth, axis=0), np.sum(draws == truth, axis=0)
    return (below + rng.random(np.shape(truth)) * (same + 1)) / (len(draws) + 1)


def distances(points):
    """Mahalanobis distance of each point from the mean of all, the truth among them.

    Mean and covariance of the draws alone would fit the draws better than a truth that is one of
    their kind, and 400 of them well enough to see it.
    """
    apart = points - points.mean(axis=0)
    whiten = np.linalg.pinv(np.cov(points.T), rcond=1e-10, hermitian=True)
    return np.einsum("dp,pq,dq->d", apart, whiten, apart)


def ranks(fit, seed, stretches, **setting):
    """For each stretch: the ranks of τ, some of θ, the log-likelihood and the distance."""
    observations, bias, (theta, tau) = simulated(seed, **setting)
    found = fit(jax.random.key(seed), observations, bias)
    rng = np.random.default_rng(seed)
    truth = tuple(t[None] for t in theta)
    mean = [np.asarray(t, float).mean(0) for t in found.theta]
    rows = []
    for stretch in stretches:
        moved = tuple(
            m + stretch * (np.asarray(t) - m) for m, t in zip(mean, found.theta, strict=True)
        )
        distance = distances(np.concatenate([free(moved), free(truth)]))
        pairs = [
            (
                log_likelihood(moved, observations, bias),
                log_likelihood(truth, observations, bias)[0],
            )
        ]
        pairs += [(distance[:-1], distance[-1])]
        pairs += [(d, t) for d, t in zip(flat(moved)[:, ::2].T, flat(truth)[0, ::2], strict=True)]
        pairs += [(d, t) for d, t in zip(np.asarray(found.tau).T, tau, strict=True)]
        rows.append([rank(d, t, rng) for d, t in pairs])
    return np.array(rows), found.certificate


def p_values(ranked):
    """Of uniformity, by Kolmogorov and Smirnov, for every quantity; ranks [set, quantity]."""
    return np.array([stats.kstest(column, "uniform").pvalue for column in ranked.T])


def engine_nuts(key, observations, bias):
    return nuts.fit(key, observations, bias, draws=DRAWS // 4, warmup=150)


def engine(module):
    return lambda key, observations, bias: module.fit(key, observations, bias, draws=DRAWS)


ENGINES = {"auto": engine(auto), "importance": engine(importance), "nuts": engine_nuts}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ENGINES)
def test_ranks_are_uniform_and_those_of_wrong_widths_are_not(name, setting):
    fit, stretches = ENGINES[name], (1.0, 0.8**0.5, 1.25**0.5)
    every = (ranks(fit, seed, stretches, **SETTINGS[setting]) for seed in range(4 * SETS))
    # Which data sets are certified depends on the data alone, so the ranks stay uniform.
    kept = (r for r, c in every if name != "importance" or c.ok)
    ranked = np.stack(list(islice(kept, SETS)), axis=1)
    assert ranked.shape[1] == SETS
    honest, shrunk, stretched = map(p_values, ranked)
    assert np.min(honest) > 0.01 / len(honest), honest
    # The log-likelihood and the distance, whichever sees it.
    assert np.min(shrunk[:2]) < 1e-3
    assert np.min(stretched[:2]) < 1e-3


@pytest.mark.parametrize(
    ("setting", "own"),
    [
        ("many records", 0.03),
        ("few records", 0.1),
        ("near separable", 0.03),
        ("a class of one in a hundred", 0.03),
    ],
)
def test_laplace_where_its_certificate_is_good(setting, own):
    """It is approximate: beyond the noise, ranks are off by its own error in probability.

    That of the distance where records are few, that of all else is smaller; see docs/posterior.md.
    """
    found = [ranks(engine(laplace), seed, (1.0,), **SETTINGS[setting]) for seed in range(SETS)]
    ranked = np.stack([r for r, c in found if c.ok], axis=1)[0]
    assert ranked.shape[0] > 0.4 * SETS
    noise = 1.63 / np.sqrt(len(ranked))
    off = np.array([stats.kstest(column, "uniform").statistic for column in ranked.T])
    print(f"{setting}: {len(ranked)} certified, distance {off[1]:.3f}, noise {noise:.3f}, {off}")
    assert off[1] < noise + own, off
    assert np.max(np.delete(off, 1)) < noise + 0.03, off
