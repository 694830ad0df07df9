"""Prediction from the Gaussian of the energies: against draws, closed forms and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, polygamma

from fusionjax import gaussian_predictive as outlook
from fusionjax.gaussian_predictive import Energies
from fusionjax.log_linear import log_prob
from fusionjax.posterior import laplace, moments, newton, proposals
from fusionjax.predict import predictive
from tests.test_posterior import simulated
from tests.test_predict import case


def some_energies(classes: int, sd: float, batch: int = 40) -> Energies:
    rng = np.random.default_rng(classes)
    basis = newton.zero_sum_basis(classes)
    root = basis @ rng.normal(size=(batch, classes - 1, classes - 1)) * sd / np.sqrt(classes - 1)
    mean = 1.5 * rng.normal(size=(batch, classes))
    covariance = root @ root.transpose(0, 2, 1)
    return Energies(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))


def many(at: Energies, draws: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, its deviation over draws, and mean entropy, by NumPy."""
    rng, rows = np.random.default_rng(7), []
    for mean, covariance in zip(*map(np.asarray, at), strict=True):
        energy = rng.multivariate_normal(mean, covariance, draws, "ignore", method="eigh")
        prob = np.exp(energy - energy.max(1, keepdims=True))
        prob /= prob.sum(1, keepdims=True)
        entropy = -np.sum(prob * np.log(np.maximum(prob, 1e-300)), axis=1).mean()
        rows.append((prob.mean(0), prob.std(0), entropy))
    prob, spread, entropy = zip(*rows, strict=True)
    return np.array(prob), np.array(spread), np.array(entropy)


# The Gaussian


def test_energies_have_the_moments_of_the_draws_energies():
    theta, bias, features, presence = case(3)
    at = outlook.energies(moments.of_draws(theta), bias, features, presence, 0.7)
    terms = [
        np.einsum("dyp,np->dny", np.float64(t), np.where(here[:, None], f, 0))
        for t, f, here in zip(theta, features, np.asarray(presence).T, strict=True)
    ]
    zero_sum = 0.7 * (sum(terms) - np.mean(sum(terms), axis=2, keepdims=True))
    expected = np.array([np.cov(row.T) for row in zero_sum.transpose(1, 0, 2)])
    np.testing.assert_allclose(at.mean, zero_sum.mean(0) + np.asarray(bias), atol=1e-5)
    np.testing.assert_allclose(at.covariance, expected, atol=1e-5)
    with pytest.raises(ValueError, match="two draws"):
        moments.of_draws(tuple(t[:1] for t in theta))


def test_laplaces_moments_are_those_of_its_draws(key):
    observations, bias, _ = simulated(2, 80, (3, 2), 3, tau=(0.8, 0.8))
    ground = proposals.groundwork(key, observations, bias)
    found = moments.of_surrogate(key, ground, points=256)
    u = proposals.draw(jax.random.key(1), ground, 40_000).u.reshape(40_000, -1)
    sd = u.std(0)
    error = (np.asarray(found.mean).ravel() - u.mean(0)) / sd
    assert np.max(np.abs(error)) < 5 / np.sqrt(len(u)) + 0.02
    off = (np.asarray(found.covariance) - np.cov(u.T)) / np.outer(sd, sd)
    assert np.max(np.abs(off)) < 0.08
    # With the scales held at their mode, and not integrated, the same test fails.
    held = ground._replace(
        scales=ground.scales._replace(
            tau=ground.scales.mode[None], log_weight=np.zeros(1)
        )
    )  # fmt: skip
    narrow = moments.of_surrogate(key, held, points=1)
    off = (np.asarray(narrow.covariance) - np.cov(u.T)) / np.outer(sd, sd)
    assert np.max(np.abs(off)) > 0.1


# Its softmax


@pytest.mark.parametrize(("classes", "sd"), [(2, 1.0), (3, 0.5), (6, 2.0)])
def test_draws_of_the_energies_are_numpys(key, classes, sd):
    at = some_energies(classes, sd)
    prob, spread, entropy = many(at)
    found = outlook.drawn(key, at, 10_000)
    mcse = spread * np.sqrt(1 / 20_000 + 1 / 10_000) + 1e-5
    assert np.max(np.abs(found.prob - prob) / mcse) < 5
    np.testing.assert_allclose(found.aleatoric, entropy, atol=0.02)
    np.testing.assert_allclose(found.total, found.aleatoric + found.epistemic, atol=1e-5)
    wide = outlook.drawn(key, at._replace(covariance=1.3 * at.covariance), 10_000)
    assert np.max(np.abs(wide.prob - prob) / mcse) > 5


@pytest.mark.parametrize(("classes", "sd", "most"), [(2, 1, 0.015), (2, 3, 0.015), (3, 0.3, 0.03)])
def test_probit_is_near_to_many_draws_and_the_mode_is_not(classes, sd, most):
    at = some_energies(classes, float(sd))
    prob, spread, _ = many(at)
    noise = 5 * np.max(spread) / np.sqrt(20_000)
    assert np.max(np.abs(outlook.probit(at) - prob)) < most + noise
    assert np.max(np.abs(outlook.of_dirichlet(outlook.matched(at)).prob - prob)) < most + noise
    if sd >= 1:
        assert np.max(np.abs(jax.nn.softmax(at.mean, axis=1) - prob)) > 2 * (most + noise)


def test_probit_needs_no_gauge():
    at, rng = some_energies(3, 1.0), np.random.default_rng(0)
    shift = jnp.asarray(rng.normal(size=(40, 1)), jnp.float32)
    other = jnp.asarray(rng.normal(size=(40, 3)), jnp.float32)
    # A random constant on all classes, correlated with each of the energies.
    covariance = at.covariance + other[:, :, None] + other[:, None, :] + 9.0
    moved = outlook.probit(Energies(at.mean + shift, covariance))
    np.testing.assert_allclose(moved, outlook.probit(at), atol=1e-5)


def test_bridge_inverts_a_dirichlets_moments():
    """Its own approximation of them, which is the true ones' to the order 1/α."""
    alpha = np.random.default_rng(1).uniform(0.5, 30.0, size=(20, 4))
    log_alpha = np.log(alpha)
    inverse = 1 / alpha
    mean = log_alpha - log_alpha.mean(1, keepdims=True)
    off = (inverse[:, :, None] + inverse[:, None, :]) / 4
    covariance = inverse[:, :, None] * np.eye(4) - off + inverse.mean(1)[:, None, None] / 4
    at = Energies(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))
    np.testing.assert_allclose(outlook.bridge(at), alpha, rtol=1e-3)
    large = np.full((1, 3), 60.0) * np.array([[1.0, 2.0, 3.0]])
    centre, spread = np.eye(3) - 1 / 3, polygamma(1, large[0])
    exact = Energies(
        jnp.asarray(digamma(large) @ centre, jnp.float32),
        jnp.asarray((centre * spread) @ centre.T, jnp.float32)[None],
    )
    np.testing.assert_allclose(outlook.bridge(exact), large, rtol=0.02)
    np.testing.assert_allclose(outlook.matched(exact), large, rtol=0.02)


def test_entropies_of_a_dirichlet_are_those_of_draws_from_it():
    alpha = np.array([[0.7, 2.0, 5.0], [30.0, 1.0, 1.0]])
    found = outlook.of_dirichlet(jnp.asarray(alpha, jnp.float32))
    drawn = np.stack([np.random.default_rng(2).dirichlet(a, 200_000) for a in alpha])
    entropy = -np.sum(drawn * np.log(np.maximum(drawn, 1e-300)), axis=2).mean(1)
    np.testing.assert_allclose(found.aleatoric, entropy, atol=5e-3)
    np.testing.assert_allclose(found.prob, alpha / alpha.sum(1, keepdims=True), rtol=1e-5)


def test_with_nothing_present_the_prior_is_left(key):
    theta, bias, features, presence = case(5)
    at = outlook.energies(moments.of_draws(theta), bias, features, jnp.zeros_like(presence))
    found = (
        outlook.probit(at),
        outlook.of_dirichlet(outlook.matched(at)).prob,
        outlook.drawn(key, at, 10).prob,
    )
    for prob in found:
        np.testing.assert_allclose(prob, np.tile(jax.nn.softmax(bias), (7, 1)), atol=1e-5)


# Draws of θ, and all of it together


def test_accumulated_is_the_predictive():
    at = case(4)
    whole, found = predictive(*at, 1.7), outlook.accumulated(*at, 1.7)
    for name in outlook.Outlook._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), atol=1e-5)


def test_laplaces_prediction_without_draws_is_that_of_many_draws(key):
    observations, bias, _ = simulated(4, 150, (4, 3), 3, tau=(0.7, 0.7))
    ground = proposals.groundwork(key, observations, bias)
    theta = laplace.sample(key, ground, draws=8000).theta
    features, presence = tuple(f[:50] for f in observations.features), observations.presence[:50]
    full = outlook.accumulated(theta, bias, features, presence)
    at = outlook.energies(moments.of_surrogate(key, ground), bias, features, presence)
    drawn = outlook.drawn(key, at, 4000)
    # The energies are a mixture over τ of Gaussians, and hardly distinguishable from one.
    np.testing.assert_allclose(drawn.prob, full.prob, atol=0.5 * 5 / np.sqrt(8000) + 0.005)
    np.testing.assert_allclose(outlook.probit(at), full.prob, atol=0.04)
    np.testing.assert_allclose(drawn.epistemic, full.epistemic, atol=0.02)


def temporary(function, *given, **static) -> int:
    """Bytes that the compiled function takes beside its arguments and results."""
    return function.lower(*given, **static).compile().memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_the_draws(key):
    at = some_energies(3, 1.0)
    few, lots = (temporary(outlook.drawn, key, at, draws=n) for n in (10, 1_000_000))
    assert lots <= few + 64
    few, lots = (temporary(outlook.accumulated, *case(0, draws=n), 1.0) for n in (10, 2000))
    assert lots <= few + 64
    every = [
        temporary(jax.jit(jax.vmap(log_prob, in_axes=(0, None, None, None))), *case(0, draws=n))
        for n in (10, 2000)
    ]
    assert every[1] > 50 * every[0]
