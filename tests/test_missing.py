"""Handlers of missing modalities: every sibling against every law, the Gaussian against scipy."""

from functools import cache
from itertools import product
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.stats import multivariate_normal

from fusionjax import log_linear
from fusionjax.missing import (
    absence,
    average,
    drop,
    gaussian,
    indicator,
    linear,
    mean,
    normal,
    token,
    zero,
)
from fusionjax.missing.types import every_pattern
from fusionjax.posterior import Observations, observe
from fusionjax.presence import patterns

SIBLINGS = {m.__name__.split(".")[-1]: m for m in (drop, gaussian, average, zero, mean)}
READERS = {m.__name__.split(".")[-1]: m for m in (absence, token, indicator)}
WIDTHS, CLASSES = (2, 1, 2), 3


class World(NamedTuple):
    """Gaussian features that depend on each other given y, and the truth about every subset."""

    mean: np.ndarray
    covariance: np.ndarray
    prior: np.ndarray


def world() -> World:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5)) / 2 + np.eye(5)
    return World(1.5 * rng.normal(size=(CLASSES, 5)), root @ root.T, np.array([0.5, 0.3, 0.2]))


def columns(pattern: np.ndarray) -> np.ndarray:
    return np.repeat(pattern, WIDTHS)


def truth(at: World, x: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """log P(y | F_S) by Bayes' rule on scipy's densities."""
    shown = columns(pattern)
    joint = np.log(at.prior)[None, :] + np.zeros((len(x), 1))
    if shown.any():
        block = at.covariance[np.ix_(shown, shown)]
        joint = joint + np.stack(
            [multivariate_normal(m[shown], block).logpdf(x[:, shown]) for m in at.mean], axis=1
        )
    return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


class Cohort(NamedTuple):
    x: np.ndarray
    features: tuple[Array, ...]
    label: np.ndarray


def cohort(at: World, rows: int, seed: int) -> Cohort:
    rng = np.random.default_rng(seed)
    label = rng.choice(CLASSES, rows, p=at.prior)
    x = at.mean[label] + rng.multivariate_normal(np.zeros(5), at.covariance, rows)
    parts = np.split(x, np.cumsum(WIDTHS)[:-1], axis=1)
    features = tuple(jnp.asarray(np.c_[np.ones(rows), part], jnp.float32) for part in parts)
    return Cohort(x, features, label)


def observed(patients: Cohort, presence: np.ndarray) -> Observations:
    return observe(patients.features, jnp.asarray(presence), jnp.asarray(patients.label), CLASSES)


BIAS = jnp.log(jnp.asarray(world().prior, jnp.float32))


@cache
def fitted(name: str) -> object:
    """Each sibling on 600 records, a fifth of each modality missing at random."""
    patients = cohort(world(), 600, 1)
    presence = np.random.default_rng(2).random((600, 3)) < 0.8
    module: ModuleType = (SIBLINGS | READERS)[name]
    return module.fit(jax.random.key(0), observed(patients, presence), BIAS)


def said(name: str, features: tuple[Array, ...], presence: Array) -> Array:
    return (SIBLINGS | READERS)[name].log_prob(fitted(name), BIAS, features, presence)


def nll(log_prob: Array | np.ndarray, label: np.ndarray) -> float:
    return -float(np.asarray(log_prob)[np.arange(len(label)), label].mean())


@pytest.mark.parametrize("name", [*SIBLINGS, *READERS])
def test_what_stands_in_a_gap_changes_no_bit(name: str) -> None:
    patients = cohort(world(), 20, 3)
    presence = jnp.asarray(np.random.default_rng(4).random((20, 3)) < 0.5)
    spoilt = tuple(jnp.where(presence[:, [i]], f, jnp.nan) for i, f in enumerate(patients.features))
    plain = said(name, patients.features, presence)
    np.testing.assert_array_equal(plain, said(name, spoilt, presence))
    np.testing.assert_allclose(jnp.exp(plain).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", SIBLINGS)
def test_nothing_present_is_the_prior(name: str) -> None:
    patients = cohort(world(), 4, 3)
    got = jnp.exp(said(name, patients.features, jnp.zeros((4, 3), bool)))
    np.testing.assert_allclose(got, jnp.tile(jnp.exp(BIAS), (4, 1)), rtol=1e-4)


@pytest.mark.parametrize("name", [*SIBLINGS, *READERS])
def test_all_patterns_at_once_are_each_of_them_alone(name: str) -> None:
    patients = cohort(world(), 10, 5)
    module = (SIBLINGS | READERS)[name]
    together = every_pattern(module.log_prob, fitted(name), BIAS, patients.features)
    for pattern, got in zip(patterns(3), together, strict=True):
        alone = said(name, patients.features, jnp.tile(pattern, (10, 1)))
        np.testing.assert_allclose(got, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*SIBLINGS, *READERS])
def test_one_compilation_serves_every_pattern(name: str) -> None:
    patients, traces = cohort(world(), 6, 5), []
    module, params = (SIBLINGS | READERS)[name], fitted(name)

    @jax.jit
    def traced(features: tuple[Array, ...], presence: Array) -> Array:
        traces.append(name)
        return module.log_prob(params, BIAS, features, presence)

    for pattern in patterns(3):
        traced(patients.features, jnp.tile(pattern, (6, 1)))
    assert len(traces) == 1


def test_the_marginal_of_every_subset_is_bayes_rule_on_scipys_densities() -> None:
    at, patients = world(), cohort(world(), 50, 6)
    moments = normal.Moments(jnp.asarray(at.mean), jnp.asarray(at.covariance))
    params = gaussian.with_moments(moments, jnp.ones(CLASSES), normal.masks(patients.features))
    for shown in product((True, False), repeat=3):
        pattern = np.array(shown)
        got = gaussian.log_prob(
            params, BIAS, patients.features, jnp.asarray(np.tile(pattern, (50, 1)))
        )
        np.testing.assert_allclose(got, truth(at, patients.x, pattern), atol=2e-3)
    sub_block = jnp.where(normal.masks(patients.features)[1], params.theta[-1], 0)
    assert np.abs(params.theta[1] - sub_block).max() > 0.1


def test_the_rest_given_a_subset_is_the_conditional_gaussian() -> None:
    at, masked = world(), normal.masks(cohort(world(), 1, 0).features)
    with jax.enable_x64(True):
        found = normal.rest(jnp.asarray(at.covariance), jnp.asarray(masked))
    for shown, gain, left in zip(masked, *map(np.asarray, found), strict=True):
        a, b = np.flatnonzero(shown), np.flatnonzero(~shown)
        np.testing.assert_allclose(gain[np.ix_(a, a)], np.eye(len(a)))
        if len(b) and len(a):
            cross = at.covariance[np.ix_(b, a)] @ np.linalg.inv(at.covariance[np.ix_(a, a)])
            np.testing.assert_allclose(gain[np.ix_(b, a)], cross, atol=1e-9)
            exact = at.covariance[np.ix_(b, b)] - cross @ at.covariance[np.ix_(a, b)]
            np.testing.assert_allclose(left[np.ix_(b, b)], exact, atol=1e-9)
        assert not left[a].any()


def test_em_finds_the_moments_behind_the_gaps_and_filling_in_means_does_not() -> None:
    """The rarer class has 1,000 records, so a mean is known to about .05."""
    at, patients = world(), cohort(world(), 5000, 7)
    presence = np.random.default_rng(8).random((5000, 3)) < 0.7
    rows = observed(patients, presence)
    got = normal.fit(rows, rows.onehot)
    assert np.abs(got.mean - at.mean).max() < 0.25
    np.testing.assert_allclose(got.covariance, at.covariance, atol=0.12)
    known = np.repeat(presence, WIDTHS, axis=1)
    centre = np.nanmean(np.where(known, patients.x, np.nan), axis=0)
    filled = np.where(known, patients.x, centre[None, :])
    within = np.stack([filled[patients.label == k].mean(0) for k in range(CLASSES)])
    naive = np.cov((filled - within[patients.label]).T)
    assert np.abs(naive - at.covariance).max() > 0.25


def test_draws_of_the_moments_are_centred_and_narrow_as_records_grow() -> None:
    patients = cohort(world(), 400, 9)
    rows = observed(patients, np.ones((400, 3), bool))
    params = gaussian.fit(jax.random.key(0), rows, BIAS)
    masked = normal.masks(patients.features)
    found = gaussian.draws(jax.random.key(1), params, masked, 200)
    means = np.stack([d.moments.mean for d in found])
    variance = np.diag(params.moments.covariance)[None, :]
    sd = np.sqrt(variance / (np.asarray(params.records)[:, None] + 1))
    np.testing.assert_allclose(means.std(0), sd, rtol=0.2)
    assert (np.abs(means.mean(0) - params.moments.mean) < 5 * sd / np.sqrt(200)).all()
    covariance = np.stack([d.moments.covariance for d in found]).mean(0)
    np.testing.assert_allclose(covariance, params.moments.covariance, atol=0.12)


@pytest.mark.slow
def test_the_gaussian_siblings_meet_the_truth_of_every_subset() -> None:
    """Within .02 nats on 4,000 new records; dropping terms is not, for modalities are dependent."""
    at, patients = world(), cohort(world(), 4000, 10)
    train = cohort(world(), 3000, 11)
    rows = observed(train, np.ones((3000, 3), bool))
    for name in ("gaussian", "average"):
        params = SIBLINGS[name].fit(jax.random.key(0), rows, BIAS)
        each = every_pattern(SIBLINGS[name].log_prob, params, BIAS, patients.features)
        for pattern, got in zip(np.asarray(patterns(3)), each, strict=True):
            best = nll(truth(at, patients.x, pattern), patients.label)
            assert nll(got, patients.label) < best + 0.02, (name, pattern)
    complete = linear.theta(rows, BIAS)
    worst = 0.0
    for pattern in np.asarray(patterns(3)):
        shown = jnp.asarray(np.tile(pattern, (4000, 1)))
        plain = log_linear.log_prob(complete, BIAS, patients.features, shown)
        best = nll(truth(at, patients.x, pattern), patients.label)
        worst = max(worst, nll(plain, patients.label) - best)
    assert worst > 0.05


@pytest.mark.slow
def test_absence_is_read_where_it_tells_the_class() -> None:
    """By the siblings that read it, against terms that are dropped without a word."""
    train, test = cohort(world(), 2000, 12), cohort(world(), 2000, 13)
    rates = np.array([[0.1, 0.5, 0.2], [0.8, 0.2, 0.5], [0.3, 0.1, 0.9]])
    rng = np.random.default_rng(14)
    gaps = [rng.random((2000, 3)) >= rates[c.label] for c in (train, test)]
    seen, shown, each = observed(train, gaps[0]), jnp.asarray(gaps[1]), np.arange(2000)

    def losses(log_prob: Array) -> np.ndarray:
        return -np.asarray(log_prob, float)[each, np.asarray(test.label)]

    plain = linear.theta(linear.augmented(jax.random.key(0), seen)[0], BIAS)
    blind = losses(log_linear.log_prob(plain, BIAS, test.features, shown))
    for name in ("absence", "indicator"):
        module = (SIBLINGS | READERS)[name]
        params = module.fit(jax.random.key(0), seen, BIAS)
        gain = blind - losses(module.log_prob(params, BIAS, test.features, shown))
        assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain)), name


def test_many_modalities_are_refused() -> None:
    features = tuple(jnp.ones((3, 2)) for _ in range(9))
    rows = observe(features, jnp.ones((3, 9), bool), jnp.array([0, 1, 2]), CLASSES)
    for module in (drop, gaussian, average):
        with pytest.raises(ValueError, match="at most 8 modalities"):
            module.fit(jax.random.key(0), rows, BIAS)
