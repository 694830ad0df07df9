"""Every fusion against every law, and the reliability mixture against enumeration."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array

from fusionjax.fusion.concat_mlp import concat_mlp
from fusionjax.fusion.log_linear import log_linear
from fusionjax.fusion.reliability import (
    Prior,
    expert_log_probs,
    log_prob,
    reliability,
    reliable,
)
from fusionjax.types import Features, Fusion, Params

BATCH, CLASSES, MODALITIES = 8, 3, 3
BIAS = jnp.log(jnp.array([0.5, 0.3, 0.2]))
PI = jnp.array([0.6, 0.9, 0.3])
ONEHOT = jax.nn.one_hot(jnp.arange(BATCH) % CLASSES, CLASSES)
FUSIONS: dict[str, Callable[[Array], Fusion]] = {
    "log-linear full": lambda bias: log_linear(bias),
    "log-linear class": lambda bias: log_linear(bias, "class"),
    "log-linear scalar": lambda bias: log_linear(bias, "scalar"),
    "concatenating MLP": lambda bias: concat_mlp(bias, hidden=5),
    "reliability": lambda bias: reliability(bias, PI),
    "reliability 0": lambda bias: reliability(bias, jnp.zeros(3)),
    "reliability learned": lambda bias: reliability(bias, PI, Prior()),
    "reliability 1": lambda bias: reliability(bias, jnp.ones(3)),
}

names = st.sampled_from(sorted(FUSIONS))
seeds = st.integers(0, 2**31 - 1)
payloads = st.sampled_from([np.nan, np.inf, -np.inf, 1e38])


class Case(NamedTuple):
    params: Params
    features: tuple[Features, ...]
    presence: Array


def features_of(vector: Array) -> Features:
    batch = len(vector)
    return Features(vector, jnp.zeros((batch, 1, 2)), jnp.ones((batch, 1), bool))


def case(name: str, seed: int) -> Case:
    """Random presence, random features that can be class scores, params moved from their start."""
    rng = np.random.default_rng(seed)
    columns = 2 * rng.normal(size=(MODALITIES, BATCH, CLASSES + 1))
    columns[:, :, 0] = 1
    features = tuple(features_of(jnp.asarray(v, jnp.float32)) for v in columns)
    start = FUSIONS[name](BIAS).init(jax.random.key(seed), features)
    params = jax.tree.map(lambda a: a + jnp.asarray(rng.normal(size=a.shape), a.dtype), start)
    return Case(params, features, jnp.asarray(rng.random((BATCH, MODALITIES)) < 0.6))


@cache
def applied(name: str) -> Callable[..., Array]:
    return jax.jit(FUSIONS[name](BIAS).apply)


@cache
def value_and_gradient(name: str) -> Callable[..., object]:
    """log P, and the mean loss with its gradient by params and feature vectors, jitted."""
    fusion = FUSIONS[name](BIAS)

    def mean_loss(params: Params, vectors: tuple[Array, ...], presence: Array) -> Array:
        return fusion.loss(params, tuple(map(features_of, vectors)), presence, ONEHOT).mean()

    def both(params: Params, vectors: tuple[Array, ...], presence: Array) -> object:
        value = fusion.apply(params, tuple(map(features_of, vectors)), presence)
        return value, jax.value_and_grad(mean_loss, (0, 1))(params, vectors, presence)

    return jax.jit(both)


def bits(tree: object) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@given(names, seeds, payloads)
def test_payload_of_a_missing_modality_changes_no_bit(name: str, seed: int, payload: float) -> None:
    params, features, presence = case(name, seed)
    vectors = tuple(f.vector for f in features)
    filled = tuple(jnp.where(presence[:, i, None], v, payload) for i, v in enumerate(vectors))
    plain = value_and_gradient(name)(params, vectors, presence)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(plain))
    assert bits(plain) == bits(value_and_gradient(name)(params, filled, presence))


@given(names, seeds)
def test_nothing_present_is_the_prior(name: str, seed: int) -> None:
    params, features, presence = case(name, seed)
    got = applied(name)(params, features, jnp.zeros_like(presence))
    np.testing.assert_allclose(jnp.exp(got), jnp.tile(jnp.exp(BIAS), (BATCH, 1)), rtol=1e-6)


@given(names, seeds)
def test_probabilities_sum_to_one_and_jit_equals_eager(name: str, seed: int) -> None:
    params, features, presence = case(name, seed)
    eager = FUSIONS[name](BIAS).apply(params, features, presence)
    np.testing.assert_allclose(jnp.exp(eager).sum(axis=1), 1, rtol=1e-5)
    jitted = applied(name)(params, features, presence)
    np.testing.assert_allclose(jitted, eager, rtol=1e-4, atol=1e-5)


@given(names, seeds)
def test_a_constant_added_to_the_bias_changes_nothing(name: str, seed: int) -> None:
    params, features, presence = case(name, seed)
    raised = FUSIONS[name](BIAS + 3).apply(params, features, presence)
    plain = applied(name)(params, features, presence)
    np.testing.assert_allclose(raised, plain, rtol=1e-4, atol=1e-4)


@given(st.sampled_from(["log-linear full", "log-linear scalar", "reliability 1"]), seeds)
def test_order_of_modalities_does_not_matter(name: str, seed: int) -> None:
    params, features, presence = case(name, seed)
    turned = applied(name)({"theta": params["theta"][::-1]}, features[::-1], presence[:, ::-1])
    plain = applied(name)(params, features, presence)
    np.testing.assert_allclose(turned, plain, rtol=1e-4, atol=1e-4)


@given(st.sampled_from(["log-linear full", "reliability", "reliability 1"]), seeds)
def test_order_of_classes_does_not_matter(name: str, seed: int) -> None:
    order = jnp.array([2, 0, 1])
    params, features, presence = case(name, seed)
    theta = tuple(t[order] for t in params["theta"])
    turned = FUSIONS[name](BIAS[order]).apply({"theta": theta}, features, presence)
    plain = applied(name)(params, features, presence)[:, order]
    np.testing.assert_allclose(turned, plain, rtol=1e-4, atol=1e-4)


@given(st.sampled_from(["log-linear full", "reliability"]), seeds)
def test_masked_equals_a_model_without_the_modality(name: str, seed: int) -> None:
    """The last of three; the reliability mixture's π go with their modalities."""
    params, features, presence = case(name, seed)
    masked = applied(name)(params, features, presence.at[:, 2].set(False))
    fusion = reliability(BIAS, PI[:2]) if name == "reliability" else log_linear(BIAS)
    without = fusion.apply({"theta": params["theta"][:2]}, features[:2], presence[:, :2])
    np.testing.assert_allclose(masked, without, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted({*FUSIONS} - {"reliability learned"}))
def test_loss_is_the_negative_log_likelihood(name: str) -> None:
    params, features, presence = case(name, 3)
    value, (loss, _) = value_and_gradient(name)(params, tuple(f.vector for f in features), presence)
    rows = np.arange(BATCH)
    np.testing.assert_allclose(loss, -np.asarray(value)[rows, rows % CLASSES].mean(), rtol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
def test_new_values_of_the_same_shape_retrace_nothing(name: str) -> None:
    traces = []
    fusion = FUSIONS[name](BIAS)

    @jax.jit
    def traced(at: Case) -> Array:
        traces.append(name)
        return fusion.apply(*at)

    for seed in range(3):
        traced(case(name, seed))
    assert len(traces) == 1


@pytest.mark.parametrize("name", ["log-linear full", "concatenating MLP", "reliability"])
def test_training_starts_near_the_prior_and_can_leave_it(name: str, key: Array) -> None:
    features = case(name, 0).features
    start = FUSIONS[name](BIAS).init(key, features)
    everything = jnp.ones((BATCH, MODALITIES), bool)
    vectors = tuple(f.vector for f in features)
    value, (_, (slope, _)) = value_and_gradient(name)(start, vectors, everything)
    np.testing.assert_allclose(value, jnp.tile(BIAS, (BATCH, 1)), atol=0.3)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope)) > 0.01


@pytest.mark.parametrize("kind", ["class", "scalar"])
def test_weights_on_class_scores_want_one_score_a_class(kind: str, key: Array) -> None:
    features = (features_of(jnp.ones((BATCH, CLASSES + 3))),)
    with pytest.raises(ValueError, match=r"have \[5\]: give encoders 3 features"):
        log_linear(BIAS, kind).init(key, features)


class Mixture(NamedTuple):
    """Inputs of the reliability mixture itself."""

    experts: Array
    bias: Array
    presence: Array
    pi: Array


def mixture(seed: int, modalities: int, pi: float | None) -> Mixture:
    rng = np.random.default_rng(seed)
    experts = np.log(rng.dirichlet(np.full(CLASSES, 0.5), size=(BATCH, modalities)) + 1e-6)
    experts -= np.log(np.exp(experts).sum(axis=2, keepdims=True))
    return Mixture(
        jnp.asarray(experts, jnp.float32),
        jnp.log(jnp.asarray(rng.dirichlet(np.full(CLASSES, 3.0)), jnp.float32)),
        jnp.asarray(rng.random((BATCH, modalities)) < 0.7),
        jnp.asarray(rng.random(modalities) if pi is None else np.full(modalities, pi), jnp.float32),
    )


mixtures = st.builds(mixture, seeds, st.integers(1, 4), st.none())


def brute_force(m: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """P(y | X) and P(r_i = 1 | X) by summing P(y, r | X) over every r in {0, 1}^M."""
    experts, bias, pi = (np.asarray(a, float) for a in (m.experts, m.bias, m.pi))
    presence, prior = np.asarray(m.presence), np.exp(bias) / np.exp(bias).sum()
    prob, believed = np.zeros((BATCH, CLASSES)), np.zeros(presence.shape)
    for n in range(BATCH):
        for r in product((0, 1), repeat=len(pi)):
            weight = prior.copy()
            for i in range(len(pi)):
                trust = pi[i] if presence[n, i] else 0.0
                weight *= trust * np.exp(experts[n, i]) / prior if r[i] else 1 - trust
            prob[n] += weight
            believed[n] += weight.sum() * np.array(r)
        believed[n] /= prob[n].sum()
        prob[n] /= prob[n].sum()
    return prob, believed


@given(mixtures)
def test_mixture_equals_the_sum_over_all_patterns_of_belief(m: Mixture) -> None:
    prob, believed = brute_force(m)
    np.testing.assert_allclose(jnp.exp(log_prob(*m)), prob, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(reliable(*m), believed, rtol=1e-3, atol=1e-5)


@given(seeds)
def test_pi_1_is_the_prior_corrected_product_of_experts(seed: int) -> None:
    m = mixture(seed, 3, 1.0)
    present = np.asarray(m.presence)[:, :, None]
    ratio = np.where(present, np.asarray(m.experts, float) - np.asarray(m.bias), 0)
    product_of_experts = np.exp(np.asarray(m.bias) + ratio.sum(axis=1))
    product_of_experts /= product_of_experts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(jnp.exp(log_prob(*m)), product_of_experts, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(reliable(*m), m.presence, atol=1e-5)


@given(seeds)
def test_pi_1_is_log_linear_fusion_with_the_same_theta(seed: int) -> None:
    at = case("reliability 1", seed)
    np.testing.assert_allclose(
        applied("reliability 1")(*at), applied("log-linear full")(*at), rtol=1e-3, atol=1e-3
    )


@given(seeds)
def test_pi_0_is_the_prior(seed: int) -> None:
    m = mixture(seed, 3, 0.0)
    np.testing.assert_allclose(
        log_prob(*m), jnp.tile(jax.nn.log_softmax(m.bias), (BATCH, 1)), rtol=1e-5
    )
    np.testing.assert_array_equal(reliable(*m), jnp.zeros((BATCH, 3)))


@given(seeds)
def test_nan_from_a_missing_expert_reaches_no_value_and_no_gradient(seed: int) -> None:
    m = mixture(seed, 3, None)
    filled = m._replace(experts=jnp.where(m.presence[:, :, None], m.experts, jnp.nan))

    def all_of_it(m: Mixture) -> object:
        slope = jax.grad(lambda experts: log_prob(experts, *m[1:])[:, 0].sum())(m.experts)
        return log_prob(*m), reliable(*m), slope

    plain = all_of_it(m)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(plain))
    assert bits(plain) == bits(all_of_it(filled))


def test_experts_are_normalised_and_know_nothing_of_each_other() -> None:
    params, features, _ = case("reliability", 0)
    vectors = tuple(f.vector for f in features)
    experts = expert_log_probs(params["theta"], BIAS, vectors)
    np.testing.assert_allclose(jnp.exp(experts).sum(axis=2), 1, rtol=1e-5)
    alone = expert_log_probs(params["theta"][1:2], BIAS, vectors[1:2])
    np.testing.assert_allclose(alone[:, 0], experts[:, 1], rtol=1e-5)


def test_the_modality_that_contradicts_the_rest_is_the_one_doubted() -> None:
    says = jnp.log(jnp.array([[0.96, 0.02, 0.02], [0.02, 0.96, 0.02]]))
    experts = says[jnp.array([0, 0, 1])][None]
    got = reliable(experts, jnp.log(jnp.ones(3) / 3), jnp.ones((1, 3), bool), jnp.full(3, 0.6))[0]
    assert (got[:2] > 0.6).all()
    assert got[2] < 0.3
