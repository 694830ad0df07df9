"""The mixture's fits: enumeration, what swaps and the prior do to π, and draws of θ and π."""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array

from fusionjax.corrupt.swap import donors, exchanged
from fusionjax.fusion import reliability
from fusionjax.fusion.reliability import Prior, expert_log_probs, log_prob, reliable
from fusionjax.mixture import jointly, predict, singly
from fusionjax.mixture.singly import Seen
from fusionjax.posterior import observe
from tests.test_fusion import features_of

CLASSES, MODALITIES, BATCH = 3, 3, 6
seeds = st.integers(0, 2**31 - 1)


class Case(NamedTuple):
    experts: Array
    bias: Array
    presence: Array
    pi: Array
    joint: Array


def case(seed: int) -> Case:
    """Random experts, presence, π for each record, and a joint model that agrees with nobody."""
    rng = np.random.default_rng(seed)
    prob = rng.dirichlet(np.full(CLASSES, 0.7), size=(BATCH, MODALITIES)) + 1e-4
    return Case(
        jnp.asarray(np.log(prob / prob.sum(2, keepdims=True)), jnp.float32),
        jnp.asarray(np.log(rng.dirichlet(np.full(CLASSES, 3.0))), jnp.float32),
        jnp.asarray(rng.random((BATCH, MODALITIES)) < 0.7),
        jnp.asarray(rng.uniform(0.05, 0.95, (BATCH, MODALITIES)), jnp.float32),
        jnp.asarray(np.log(rng.dirichlet(np.ones(CLASSES), BATCH)), jnp.float32),
    )


def enumerated(at: Case, with_joint: bool) -> tuple[np.ndarray, np.ndarray]:
    """P(y | X) and P(r_i = 1 | X), by summing P(y, r | X) over every r of what is present."""
    experts, prior, pi, joint = (
        np.asarray(a, float) for a in (at.experts, jnp.exp(at.bias), at.pi, jnp.exp(at.joint))
    )
    prior = prior / prior.sum()
    prob, believed = np.zeros((BATCH, CLASSES)), np.zeros((BATCH, MODALITIES))
    for n in range(BATCH):
        here = np.flatnonzero(np.asarray(at.presence)[n])
        for r in product((0, 1), repeat=len(here)):
            weight = prior.copy()
            for i, trusted in zip(here, r, strict=True):
                ratio = np.exp(experts[n, i]) / prior
                weight *= pi[n, i] * ratio if trusted else 1 - pi[n, i]
            if with_joint and all(r):
                weight = weight.sum() * joint[n]
            prob[n] += weight
            believed[n, here] += weight.sum() * np.array(r)
        believed[n] /= prob[n].sum()
        prob[n] /= prob[n].sum()
    return prob, believed


@given(seeds, st.booleans())
def test_mixture_equals_the_sum_over_all_patterns(seed: int, with_joint: bool) -> None:
    at = case(seed)
    prob, believed = enumerated(at, with_joint)
    joint = at.joint if with_joint else None
    got = jnp.exp(log_prob(at.experts, at.bias, at.presence, at.pi, joint))
    np.testing.assert_allclose(got, prob, rtol=2e-3, atol=1e-5)
    mine = reliable(at.experts, at.bias, at.presence, at.pi)
    np.testing.assert_allclose(mine, believed, rtol=1e-3, atol=1e-5)
    wrong = reliable(at.experts, at.bias, at.presence, at.pi[::-1])
    assert np.abs(wrong - believed).max() > 1e-2


@given(seeds)
def test_a_joint_model_that_is_the_product_changes_nothing(seed: int) -> None:
    at = case(seed)
    product_of_experts = log_prob(at.experts, at.bias, at.presence, jnp.ones(MODALITIES))
    with_joint = log_prob(at.experts, at.bias, at.presence, at.pi, product_of_experts)
    plain = log_prob(at.experts, at.bias, at.presence, at.pi)
    np.testing.assert_allclose(with_joint, plain, rtol=1e-3, atol=2e-4)


@given(seeds)
def test_a_joint_model_alone_speaks_where_all_is_believed(seed: int) -> None:
    at = case(seed)
    got = log_prob(at.experts, at.bias, at.presence, jnp.ones(MODALITIES), at.joint)
    np.testing.assert_allclose(jnp.exp(got), jnp.exp(at.joint), atol=1e-4)


def world(seed: int, rows: int, swap: float) -> tuple[Seen, Array]:
    """Experts who know the exact P(y | x_i), x_i independent given y, and swaps among patients."""
    rng = np.random.default_rng(seed)
    prior = np.array([0.5, 0.3, 0.2])
    label = rng.choice(CLASSES, rows, p=prior)
    centre = 2.5 * np.eye(CLASSES)
    experts = []
    for _ in range(MODALITIES):
        x = centre[label] + rng.normal(size=(rows, CLASSES))
        energy = np.log(prior) + x @ centre.T - (centre**2).sum(1) / 2
        experts.append(energy - np.logaddexp.reduce(energy, axis=1, keepdims=True))
    shown = tuple(jnp.asarray(e, jnp.float32) for e in experts)
    presence = jnp.ones((rows, MODALITIES), bool)
    donor = donors(jax.random.key(seed), presence, jnp.full(MODALITIES, swap))
    stacked = jnp.stack(exchanged(shown, donor), axis=1)
    bias = jnp.asarray(np.log(prior), jnp.float32)
    return Seen(stacked, presence, jax.nn.one_hot(label, CLASSES)), bias


def fitted_pi(seed: int, rows: int, swap: float, prior: Prior | None) -> Array:
    seen, bias = world(seed, rows, swap)
    return singly.fit(seen, bias, jnp.ones(MODALITIES), prior, shared=False).pi


@pytest.mark.slow
def test_clean_records_drive_pi_to_1_and_swaps_to_their_rate() -> None:
    """By design: π is the rate of what the records were shown with, not a property of the data."""
    assert (fitted_pi(0, 4000, 0.0, None) > 0.99).all()
    for swap in (0.1, 0.4):
        np.testing.assert_allclose(fitted_pi(1, 8000, swap, None), 1 - swap, atol=0.04)


def test_the_prior_holds_with_few_records_and_is_outvoted_by_many() -> None:
    prior = Prior(80.0, 20.0)
    few, many = (fitted_pi(2, rows, 0.0, prior) for rows in (20, 20_000))
    assert (few < 0.9).all()
    assert (many > 0.93).all()
    assert (fitted_pi(2, 20, 0.0, None) > 0.99).all()


def test_each_expert_gets_the_scale_that_suits_it_alone() -> None:
    seen, bias = world(3, 4000, 0.0)
    stretched = singly.sharpened(seen.experts, bias, jnp.array([1.0, 2.0, 0.5]))
    found = singly.scales(seen._replace(experts=stretched), bias)
    np.testing.assert_allclose(found, [1.0, 0.5, 2.0], rtol=0.1)


def drawn(seed: int, draws: int) -> tuple[tuple[Array, ...], Array, tuple[Array, ...]]:
    rng = np.random.default_rng(seed)
    theta = tuple(jnp.asarray(rng.normal(size=(draws, CLASSES, 4)), jnp.float32) for _ in range(3))
    pi = jnp.asarray(rng.uniform(0.2, 0.9, (draws, 3)), jnp.float32)
    columns = rng.normal(size=(3, BATCH, 4))
    columns[:, :, 0] = 1
    return theta, pi, tuple(jnp.asarray(c, jnp.float32) for c in columns)


def test_predictive_is_the_mean_over_draws() -> None:
    at, (theta, pi, features) = case(4), drawn(4, 5)
    scale = jnp.array([1.0, 0.5, 2.0])
    got = predict.predictive(theta, pi, at.bias, features, at.presence, scale)
    prob, believed = [], []
    for d in range(5):
        experts = expert_log_probs(tuple(t[d] for t in theta), at.bias, features)
        experts = singly.sharpened(experts, at.bias, scale)
        prob.append(jnp.exp(log_prob(experts, at.bias, at.presence, pi[d])))
        believed.append(reliable(experts, at.bias, at.presence, pi[d]))
    np.testing.assert_allclose(jnp.exp(got.log_prob), sum(prob) / 5, rtol=1e-4)
    np.testing.assert_allclose(got.reliable, sum(believed) / 5, rtol=1e-4, atol=1e-6)
    nothing = predict.predictive(theta, pi, at.bias, features, jnp.zeros_like(at.presence))
    np.testing.assert_allclose(jnp.exp(nothing.log_prob[0]), jax.nn.softmax(at.bias), rtol=1e-5)


def test_what_stands_in_a_missing_modality_changes_no_judgement() -> None:
    at, (theta, pi, features) = case(5), drawn(5, 3)
    spoilt = tuple(jnp.where(at.presence[:, [i]], f, jnp.nan) for i, f in enumerate(features))
    plain, other = (
        predict.predictive(theta, pi, at.bias, f, at.presence) for f in (features, spoilt)
    )
    np.testing.assert_array_equal(plain.log_prob, other.log_prob)
    np.testing.assert_array_equal(plain.reliable, other.reliable)


def simulated(seed: int, rows: int, swap: float) -> tuple[tuple[Array, ...], Array, Array, Array]:
    """Features of two modalities that tell the class, with swaps; labels and the log prior."""
    rng = np.random.default_rng(seed)
    label = rng.choice(CLASSES, rows, p=[0.5, 0.3, 0.2])
    features = tuple(
        np.c_[np.ones(rows), 2.0 * np.eye(CLASSES)[label] + rng.normal(size=(rows, CLASSES))]
        for _ in range(2)
    )
    shown = tuple(jnp.asarray(f, jnp.float32) for f in features)
    presence = jnp.asarray(rng.random((rows, 2)) < 0.9)
    donor = donors(jax.random.key(seed), presence, jnp.full(2, swap))
    bias = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    return exchanged(shown, donor), presence, jnp.asarray(label), bias


@pytest.mark.slow
def test_jointly_the_draws_of_pi_hold_the_rate_of_swaps() -> None:
    """And a program that does not know of swaps is worse on new ones: its posterior has π = 1."""
    features, presence, label, bias = simulated(0, 600, 0.25)
    observations = observe(features, presence, label, CLASSES)
    found = jointly.fit(jax.random.key(1), observations, bias, Prior(0.0, 0.0), draws=800)
    assert found.certificate.ok, found.certificate.notes
    low, high = np.quantile(found.pi, [0.005, 0.995], axis=0)
    assert (low < 0.75).all()
    assert (high > 0.75).all()
    assert (low > 0.3).all(), "the interval must not be all of it"
    features, presence, label, bias = simulated(1, 2000, 0.25)
    onehot = jax.nn.one_hot(label, CLASSES)

    def nll(pi: Array) -> float:
        judged = predict.predictive(found.theta, pi, bias, features, presence)
        return float(-(onehot * judged.log_prob).sum(axis=1).mean())

    assert nll(found.pi) < nll(jnp.full_like(found.pi, 0.999)) - 0.02


def test_the_joint_program_has_the_mixtures_likelihood() -> None:
    features, presence, label, bias = simulated(2, 40, 0.2)
    observations = observe(features, presence, label, CLASSES)
    rng = np.random.default_rng(0)
    theta = tuple(jnp.asarray(rng.normal(size=(CLASSES, 4)), jnp.float32) for _ in range(2))
    pi = jnp.array([0.7, 0.9])
    got = jointly.log_likelihood(theta, pi, observations, bias)
    experts = np.asarray(expert_log_probs(theta, bias, observations.features), float)
    total, prior = 0.0, np.exp(np.asarray(bias, float))
    for n, y in enumerate(np.asarray(label)):
        weight = prior.copy()
        for i in np.flatnonzero(np.asarray(presence)[n]):
            weight *= 1 - float(pi[i]) + float(pi[i]) * np.exp(experts[n, i]) / prior
        total += np.log(weight[y] / weight.sum())
    assert float(got) == pytest.approx(total, rel=1e-4)


def test_a_gate_starts_at_pi_and_its_prior_is_counted_once() -> None:
    features, presence, label, bias = simulated(3, 50, 0.2)
    pi, prior = jnp.array([0.6, 0.8]), Prior(8.0, 2.0)
    plain, gated = (
        reliability.reliability(bias, pi),
        reliability.reliability(bias, pi, prior, records=50),
    )
    inputs = tuple(features_of(f) for f in features)
    params = gated.init(jax.random.key(0), inputs)
    onehot = jax.nn.one_hot(label, CLASSES)
    np.testing.assert_allclose(
        gated.apply(params, inputs, presence), plain.apply(params, inputs, presence), rtol=1e-5
    )
    extra = gated.loss(params, inputs, presence, onehot) - plain.loss(
        params, inputs, presence, onehot
    )
    density = 8 * jnp.log(pi) + 2 * jnp.log1p(-pi)
    expected = -(presence * density[None, :]).sum(axis=1) / 50
    np.testing.assert_allclose(extra, expected, atol=1e-5)
