"""The exact model against enumeration, and the laws that hold for any input."""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array

from fusionjax.log_linear import (
    Theta,
    contrast,
    energy,
    evidence,
    log_prob,
    log_z,
    negative_log_likelihood,
    scores,
)

BATCH = 6


class World(NamedTuple):
    theta: Theta
    bias: Array
    features: tuple[Array, ...]
    presence: Array


def world(seed: int, classes: int, kinds: tuple[str, ...]) -> World:
    """Random weights, features and presence; one modality a kind of θ."""
    rng = np.random.default_rng(seed)
    theta, features = [], []
    for i, kind in enumerate(kinds):
        width = 2 + i if kind == "full" else classes
        shape = {"full": (classes, width), "class": (classes,), "scalar": ()}[kind]
        theta.append(jnp.asarray(rng.normal(size=shape), jnp.float32))
        features.append(jnp.asarray(rng.normal(size=(BATCH, width)) * 3, jnp.float32))
    bias = jnp.log(jnp.asarray(rng.dirichlet(np.ones(classes) * 3), jnp.float32))
    presence = jnp.asarray(rng.random((BATCH, len(kinds))) < 0.6)
    return World(tuple(theta), bias, tuple(features), presence)


KINDS = [("full",), ("full", "full"), ("scalar", "class"), ("full", "scalar", "class", "full")]
worlds = st.builds(
    world, st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 5]), st.sampled_from(KINDS)
)


def objective(w: World) -> Array:
    """A loss that uses every class of every record, so that its gradient does too."""
    onehot = jax.nn.one_hot(jnp.arange(BATCH) % len(w.bias), len(w.bias))
    return negative_log_likelihood(log_prob(*w), onehot).sum()


def bits(tree: object) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def score(theta: np.ndarray, feature: np.ndarray, y: int) -> float:
    """One class's score of one record, from its definition."""
    if theta.ndim == 2:
        return float(sum(t * f for t, f in zip(theta[y], feature, strict=True)))
    return float((theta[y] if theta.ndim else theta) * feature[y])


@given(worlds)
def test_probability_equals_the_definition_class_by_class(w: World) -> None:
    """E, Z and P written out with loops in float64."""
    theta, features = jax.tree.map(lambda a: np.asarray(a, float), (w.theta, w.features))
    got, bias, presence = np.exp(log_prob(*w)), np.asarray(w.bias), np.asarray(w.presence)
    for n in range(BATCH):
        weights = np.exp(bias.astype(float))
        for y in range(len(bias)):
            for i in np.flatnonzero(presence[n]):
                weights[y] *= np.exp(score(theta[i], features[i][n], y))
        np.testing.assert_allclose(got[n], weights / weights.sum(), rtol=2e-4, atol=1e-7)


def test_equals_bayes_rule_by_enumerating_independent_findings() -> None:
    """θ_{i,y,z} = log P(z_i = z | y) gives P(y | X_S) with the missing findings summed out."""
    rng = np.random.default_rng(0)
    prior, levels = rng.dirichlet(np.ones(3)), (2, 3, 4)
    likelihood = [rng.dirichlet(np.ones(k), size=3) for k in levels]
    joint = np.einsum("y,ya,yb,yc->yabc", prior, *likelihood)
    theta = tuple(jnp.asarray(np.log(p), jnp.float32) for p in likelihood)
    for findings in product(*map(range, levels)):
        for present in product((True, False), repeat=3):
            seen = tuple(z if o else slice(None) for z, o in zip(findings, present, strict=True))
            bayes = joint[(slice(None), *seen)].reshape(3, -1).sum(axis=1)
            features = tuple(
                jax.nn.one_hot(jnp.array([z]), k) for z, k in zip(findings, levels, strict=True)
            )
            bias = jnp.asarray(np.log(prior), jnp.float32)
            got = jnp.exp(log_prob(theta, bias, features, jnp.array([present])))[0]
            np.testing.assert_allclose(got, bayes / bayes.sum(), rtol=1e-5)


@given(worlds)
def test_probabilities_sum_to_one(w: World) -> None:
    np.testing.assert_allclose(jnp.exp(log_prob(*w)).sum(axis=1), 1, rtol=1e-5)


@given(worlds)
def test_log_prob_is_energy_less_log_z(w: World) -> None:
    e = energy(*w)
    np.testing.assert_allclose(log_prob(*w), e - log_z(e)[:, None], rtol=1e-4, atol=1e-4)


@given(worlds, st.sampled_from([np.nan, np.inf, -np.inf, 1e38, -0.0]))
def test_payload_of_a_missing_modality_changes_no_bit(w: World, payload: float) -> None:
    """Value and gradient by θ, bias and features, under jit."""
    filled = tuple(jnp.where(w.presence[:, i, None], f, payload) for i, f in enumerate(w.features))

    @jax.jit
    def both(theta: Theta, bias: Array, features: tuple[Array, ...]) -> tuple[Array, object]:
        at = World(theta, bias, features, w.presence)
        slope = jax.grad(lambda t, b, f: objective(World(t, b, f, w.presence)), (0, 1, 2))
        return log_prob(*at), evidence(theta, features, w.presence), slope(theta, bias, features)

    plain = both(w.theta, w.bias, w.features)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(plain))
    assert bits(plain) == bits(both(w.theta, w.bias, filled))


@given(worlds.filter(lambda w: len(w.theta) > 1), st.integers(0, 3))
def test_masked_equals_a_model_without_the_modality(w: World, which: int) -> None:
    gone = which % len(w.theta)
    masked = w._replace(presence=w.presence.at[:, gone].set(False))
    rest = [i for i in range(len(w.theta)) if i != gone]
    without = World(
        tuple(w.theta[i] for i in rest),
        w.bias,
        tuple(w.features[i] for i in rest),
        w.presence[:, jnp.array(rest)],
    )
    np.testing.assert_allclose(log_prob(*masked), log_prob(*without), rtol=1e-5, atol=1e-5)


@given(worlds)
def test_nothing_present_is_the_prior(w: World) -> None:
    got = log_prob(*w._replace(presence=jnp.zeros_like(w.presence)))
    assert bits(got) == bits(jnp.tile(jax.nn.log_softmax(w.bias), (BATCH, 1)))


@given(worlds)
def test_jit_equals_eager(w: World) -> None:
    np.testing.assert_allclose(jax.jit(log_prob)(*w), log_prob(*w), rtol=1e-4, atol=1e-4)


@given(worlds, st.randoms(use_true_random=False))
def test_order_of_modalities_does_not_matter(w: World, random: object) -> None:
    order = list(range(len(w.theta)))
    random.shuffle(order)
    turned = World(
        tuple(w.theta[i] for i in order),
        w.bias,
        tuple(w.features[i] for i in order),
        w.presence[:, jnp.array(order)],
    )
    np.testing.assert_allclose(log_prob(*turned), log_prob(*w), rtol=1e-4, atol=1e-4)


@given(worlds, st.randoms(use_true_random=False))
def test_order_of_classes_does_not_matter(w: World, random: object) -> None:
    order = list(range(len(w.bias)))
    random.shuffle(order)
    order = jnp.array(order)
    turned = World(
        tuple(t[order] if t.ndim else t for t in w.theta),
        w.bias[order],
        tuple(f if t.ndim == 2 else f[:, order] for t, f in zip(w.theta, w.features, strict=True)),
        w.presence,
    )
    np.testing.assert_allclose(log_prob(*turned), log_prob(*w)[:, order], rtol=1e-4, atol=1e-4)


@given(worlds, st.floats(-20, 20, width=32))
def test_a_constant_added_to_every_class_changes_nothing(w: World, constant: float) -> None:
    """In the bias for P; in θ, which is where a gauge could show, for the evidence as well."""
    raised = w._replace(
        bias=w.bias + constant,
        theta=tuple(t + constant if t.ndim == 2 else t for t in w.theta),
    )
    np.testing.assert_allclose(log_prob(*raised), log_prob(*w), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        evidence(raised.theta, w.features, w.presence),
        evidence(w.theta, w.features, w.presence),
        rtol=1e-3,
        atol=1e-3,
    )


@given(worlds)
def test_evidence_adds_up_to_the_log_odds(w: World) -> None:
    parts = evidence(w.theta, w.features, w.presence)
    rows = np.arange(BATCH)
    first, second = rows % len(w.bias), (rows + 1) % len(w.bias)
    sums = contrast(parts, jnp.asarray(first), jnp.asarray(second)).sum(axis=1)
    bias, logs = np.asarray(w.bias), np.asarray(log_prob(*w))
    odds = logs[rows, first] - logs[rows, second]
    np.testing.assert_allclose(bias[first] - bias[second] + sums, odds, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(parts.sum(axis=2), 0, atol=1e-4)
    assert not np.asarray(parts)[~np.asarray(w.presence)].any()


def test_enormous_energies_neither_overflow_nor_lose_the_difference() -> None:
    features, presence = (jnp.array([[1e6]]),), jnp.array([[True]])
    got = log_prob(
        (jnp.array([[1.0], [1.0], [-1.0]]),), jnp.log(jnp.ones(3) / 3), features, presence
    )
    np.testing.assert_allclose(got[0, :2], np.log(0.5), rtol=1e-6)
    assert got[0, 2] == pytest.approx(-2e6, rel=1e-6)


def test_new_values_of_the_same_shape_retrace_nothing() -> None:
    traces = []

    @jax.jit
    def slope(w: World) -> Theta:
        traces.append(1)
        return jax.grad(lambda theta: objective(w._replace(theta=theta)))(w.theta)

    for seed in range(4):
        slope(world(seed, 3, ("full", "class")))
    assert len(traces) == 1


@pytest.mark.parametrize("theta", [jnp.ones((3, 4)), jnp.ones(4)])
@pytest.mark.parametrize("width", [1, 5])
def test_features_of_another_width_are_refused(theta: Array, width: int) -> None:
    """Width 1 too, which arithmetic would broadcast."""
    with pytest.raises(ValueError, match=f"weighs 4 columns, the features have {width}"):
        scores((theta,), (jnp.ones((2, width)),), jnp.ones((2, 1), bool))
