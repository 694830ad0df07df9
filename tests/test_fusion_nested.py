"""Variants that are special cases of each other give the same probabilities, to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import Array

from fusionjax import log_linear as exact
from fusionjax.fusion.concat_mlp import concat_mlp
from fusionjax.fusion.gated import energy_weighted as energy
from fusionjax.fusion.gated.mixture_of_experts import log_shares, mixture_of_experts
from fusionjax.fusion.interaction.pairwise_experts import pairwise_experts
from fusionjax.fusion.log_linear import log_linear
from fusionjax.fusion.opinion.corrected_product import corrected_product
from fusionjax.fusion.opinion.log_opinion_pool import log_opinion_pool
from fusionjax.fusion.opinion.majority_vote import majority_vote
from fusionjax.fusion.opinion.mean_logit import mean_logit
from fusionjax.fusion.opinion.mean_probability import mean_probability
from fusionjax.fusion.opinion.product_of_experts import product_of_experts
from fusionjax.fusion.opinion.stacking import stacking
from fusionjax.fusion.reliability import expert_log_probs, reliability
from fusionjax.fusion.representation.concat_linear import concat_linear
from fusionjax.fusion.representation.latent import Belief, Scores, divergence, nll_bound
from fusionjax.fusion.representation.latent_product import product
from fusionjax.fusion.single import single
from fusionjax.presence import blank
from fusionjax.types import Features, Params

CLASSES, MODALITIES, BATCH, COLUMNS = 3, 3, 8, 4
BIAS = jnp.log(jnp.array([0.5, 0.3, 0.2]))
UNIFORM = jnp.zeros(CLASSES)
seeds = st.integers(0, 2**31 - 1)


def drawn(seed: int) -> tuple[Params, tuple[Features, ...], Array]:
    """θ [class, p_i] of each modality, features, and presence without an empty record."""
    rng = np.random.default_rng(seed)
    theta = tuple(jnp.asarray(t, jnp.float32) for t in rng.normal(size=(3, CLASSES, COLUMNS)))
    vectors = rng.normal(size=(MODALITIES, BATCH, COLUMNS)).astype(np.float32)
    vectors[:, :, 0] = 1
    one = jnp.zeros((BATCH, 1, 2)), jnp.ones((BATCH, 1), bool)
    features = tuple(Features(jnp.asarray(v), *one) for v in vectors)
    presence = rng.random((BATCH, MODALITIES)) < 0.6
    presence[~presence.any(axis=1), 0] = True
    return {"theta": theta, "pool": {}}, features, jnp.asarray(presence)


def experts(params: Params, features: tuple[Features, ...], presence: Array, bias: Array) -> Array:
    vectors = blank(tuple(f.vector for f in features), presence)
    return expert_log_probs(params["theta"], bias, vectors)


def close(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(jnp.exp(found), jnp.exp(wanted), rtol=1e-4, atol=1e-6)


@given(seeds)
def test_product_of_experts_is_log_linear_with_theta_one(seed: int) -> None:
    """On the experts' log-probabilities, without a prior of its own."""
    params, features, presence = drawn(seed)
    each = experts(params, features, presence, BIAS)
    scores = tuple(each[:, i] for i in range(MODALITIES))
    ones = (jnp.ones(()),) * MODALITIES
    wanted = exact.log_prob(ones, jnp.zeros(CLASSES), scores, presence)
    close(product_of_experts(BIAS).apply(params, features, presence), wanted)


@given(seeds)
def test_corrected_product_is_log_linear_reliability_one_and_the_pool_of_weight_one(
    seed: int,
) -> None:
    params, features, presence = drawn(seed)
    wanted = log_linear(BIAS).apply(params, features, presence)
    found = corrected_product(BIAS).apply(params, features, presence)
    close(found, wanted)
    close(reliability(BIAS, jnp.ones(MODALITIES)).apply(params, features, presence), found)
    for weight in (jnp.ones(()), jnp.ones(CLASSES)):
        kind = "class" if weight.ndim else "scalar"
        pool = {**params, "pool": {"weight": (weight,) * MODALITIES}}
        close(log_opinion_pool(BIAS, kind).apply(pool, features, presence), found)
    identity = jnp.concatenate([jnp.zeros((CLASSES, 1)), jnp.eye(CLASSES)], axis=1)
    level_1 = {**params, "pool": {"level_1": (identity,) * MODALITIES}}
    close(stacking(BIAS).apply(level_1, features, presence), found)


@given(seeds)
def test_products_agree_under_a_uniform_prior_and_not_under_another(seed: int) -> None:
    params, features, _ = drawn(seed)
    presence = jnp.ones((BATCH, MODALITIES), bool)
    plain = product_of_experts(UNIFORM).apply(params, features, presence)
    close(corrected_product(UNIFORM).apply(params, features, presence), plain)
    close(reliability(UNIFORM, jnp.ones(MODALITIES)).apply(params, features, presence), plain)
    gap = product_of_experts(BIAS).apply(params, features, presence) - corrected_product(
        BIAS
    ).apply(params, features, presence)
    assert np.abs(gap).max() > 0.1


@given(seeds)
def test_concatenation_with_a_linear_layer_is_log_linear_with_full_theta(seed: int) -> None:
    params, features, presence = drawn(seed)
    kernel = jnp.concatenate(params["theta"], axis=1).T
    found = concat_linear(BIAS).apply({"Dense_0": {"kernel": kernel}}, features, presence)
    close(found, log_linear(BIAS).apply(params, features, presence))


def test_concatenating_mlp_that_ignores_its_features_is_the_prior() -> None:
    _, features, presence = drawn(0)
    mlp = concat_mlp(BIAS)
    start = mlp.init(jax.random.key(0), features)
    close(mlp.apply(start, features, presence), jnp.tile(BIAS, (BATCH, 1)))


@given(seeds)
def test_pools_of_one_modality_are_its_expert(seed: int) -> None:
    params, features, _ = drawn(seed)
    for i in range(MODALITIES):
        only = jnp.tile(jnp.arange(MODALITIES) == i, (BATCH, 1))
        wanted = experts(params, features, only, BIAS)[:, i]
        for pool in (mean_probability, mean_logit, product_of_experts, corrected_product):
            close(pool(BIAS).apply(params, features, only), wanted)
        alone = single(BIAS, i).apply({"theta": params["theta"][i : i + 1]}, features, only)
        close(alone, wanted)


@given(seeds)
def test_means_are_means(seed: int) -> None:
    params, features, presence = drawn(seed)
    each = np.asarray(experts(params, features, presence, BIAS), float)
    here = np.asarray(presence)[:, :, None]
    count = here.sum(axis=1)
    linear = np.log((np.exp(each) * here).sum(axis=1) / count)
    close(mean_probability(BIAS).apply(params, features, presence), jnp.asarray(linear))
    logit = (each * here).sum(axis=1) / count
    logit -= np.log(np.exp(logit).sum(axis=1, keepdims=True))
    close(mean_logit(BIAS).apply(params, features, presence), jnp.asarray(logit))
    votes = np.eye(CLASSES)[each.argmax(axis=2)]
    shares = (np.exp(BIAS) + (votes * here).sum(axis=1)) / (1 + count)
    close(majority_vote(BIAS).apply(params, features, presence), jnp.log(jnp.asarray(shares)))


@given(seeds)
def test_mixture_of_experts_without_a_gate_is_the_mean_of_probabilities(seed: int) -> None:
    params, features, presence = drawn(seed)
    gate = (jnp.zeros((MODALITIES, COLUMNS)),) * MODALITIES
    found = mixture_of_experts(BIAS).apply({**params, "gate": gate}, features, presence)
    close(found, mean_probability(BIAS).apply(params, features, presence))


@given(seeds)
def test_a_gate_gives_nothing_to_the_missing(seed: int) -> None:
    _, features, presence = drawn(seed)
    rng = np.random.default_rng(seed)
    gate = tuple(jnp.asarray(g, jnp.float32) for g in rng.normal(size=(3, MODALITIES, COLUMNS)))
    vectors = blank(tuple(f.vector for f in features), presence)
    shares = np.exp(log_shares(gate, vectors, presence))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (shares[~np.asarray(presence)] == 0).all()


def test_pairwise_experts_with_silent_pairs_are_log_linear() -> None:
    params, features, presence = drawn(1)
    fusion = pairwise_experts(BIAS)
    start = fusion.init(jax.random.key(0), features)
    silent = jax.tree.map(jnp.zeros_like, start)
    own = {f"modality_{i}": {"kernel": t.T} for i, t in enumerate(params["theta"])}
    found = fusion.apply({**silent, "Projections_0": own}, features, presence)
    close(found, log_linear(BIAS).apply(params, features, presence))


@given(seeds)
def test_energy_weighs_the_confident_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(BATCH, MODALITIES, CLASSES)).astype(np.float32)
    logits -= logits.mean(axis=2, keepdims=True)
    weight = energy.weight(jnp.asarray(logits))
    assert (energy.weight(jnp.asarray(2 * logits)) >= weight).all()
    assert (weight > 0).all()


def test_ranking_loss_by_hand() -> None:
    """κ = .9 and .5, w = .2 and .3: the better one lags by .1 and should lead by .4."""
    right, weight = jnp.array([[0.9], [0.5]]), jnp.array([[0.2], [0.3]])
    both = energy.misranked(weight, right, jnp.ones((2, 1), bool))
    np.testing.assert_allclose(both, [0.5, 0.5], rtol=1e-6)
    led = energy.misranked(jnp.array([[0.7], [0.3]]), right, jnp.ones((2, 1), bool))
    np.testing.assert_allclose(led, [0, 0], atol=1e-6)
    missing = energy.misranked(weight, right, jnp.array([[True], [False]]))
    np.testing.assert_allclose(missing, [0, 0])


def test_product_of_beliefs_adds_precisions() -> None:
    """N(1, 1/3) and N(−2, 1) with N(0, 1): precision 5, mean (3·1 − 2)/5."""
    each = Belief(jnp.array([[[1.0], [-2.0]]]), jnp.array([[[3.0], [1.0]]]))
    found = product(each, jnp.ones((1, 2), bool))
    np.testing.assert_allclose(found.precision, [[5.0]])
    np.testing.assert_allclose(found.mean, [[0.2]], rtol=1e-6)
    nobody = product(each, jnp.zeros((1, 2), bool))
    np.testing.assert_allclose([nobody.mean, nobody.precision], [[[0.0]], [[1.0]]])
    np.testing.assert_allclose(divergence(nobody), [0.0], atol=1e-7)


def test_bound_lies_above_the_expected_loss_and_meets_it_without_variance() -> None:
    rng = np.random.default_rng(0)
    mean = jnp.asarray(rng.normal(size=(BATCH, CLASSES)), jnp.float32)
    variance = jnp.asarray(rng.random((BATCH, CLASSES)), jnp.float32)
    onehot = jax.nn.one_hot(jnp.arange(BATCH) % CLASSES, CLASSES)
    noise = jnp.asarray(rng.normal(size=(20_000, BATCH, CLASSES)), jnp.float32)
    energy = BIAS[None, None] + mean[None] + jnp.sqrt(variance)[None] * noise
    expected = -(jax.nn.log_softmax(energy, axis=2) * onehot[None]).sum(axis=2).mean(axis=0)
    assert (nll_bound(Scores(mean, variance), BIAS, onehot) > expected - 0.02).all()
    still = nll_bound(Scores(mean, jnp.zeros_like(mean)), BIAS, onehot)
    exactly = -(jax.nn.log_softmax(BIAS[None] + mean, axis=1) * onehot).sum(axis=1)
    np.testing.assert_allclose(still, exactly, rtol=1e-5, atol=1e-6)
