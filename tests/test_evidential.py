"""Dempster's rule and the mean of the evidence: by hand, by the papers' formulas, by their laws."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from jax import Array

from fusionjax.fusion.evidential.ecml import conflictive_degree, ecml
from fusionjax.fusion.evidential.etmc import etmc
from fusionjax.fusion.evidential.opinions import (
    Opinion,
    concentration,
    divergence,
    evidence,
    expected_loss,
    log_prob,
    opinion,
)
from fusionjax.fusion.evidential.tmc import dempster, tmc
from fusionjax.fusion.layers import present_mean
from fusionjax.types import Features

CLASSES = 3
UNIFORM = jnp.full(CLASSES, -jnp.log(CLASSES))
seeds = st.integers(0, 2**31 - 1)


def drawn(seed: int, modalities: int = 3) -> Array:
    """Evidence [1, modality, class] from none to much."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.gamma(0.5, 10, size=(1, modalities, CLASSES)), jnp.float32)


def combined(first: Opinion, second: Opinion) -> Opinion:
    """TMC's definition 4, as it stands there: conflict C is taken out and the rest divided."""
    b1, u1, b2, u2 = (np.asarray(a, float) for a in (*first, *second))
    conflict = np.outer(b1, b2).sum() - b1 @ b2
    belief = (b1 * b2 + b1 * u2 + b2 * u1) / (1 - conflict)
    return Opinion(jnp.asarray(belief), jnp.asarray(u1 * u2 / (1 - conflict)))


def averaged(first: Opinion, second: Opinion) -> Opinion:
    """ECML's aggregation of two: b = (b1 u2 + b2 u1)/(u1 + u2), u = 2 u1 u2/(u1 + u2)."""
    b1, u1, b2, u2 = (np.asarray(a, float) for a in (*first, *second))
    belief = (b1 * u2 + b2 * u1) / (u1 + u2)
    return Opinion(jnp.asarray(belief), jnp.asarray(2 * u1 * u2 / (u1 + u2)))


def same(found: Opinion, wanted: Opinion) -> None:
    np.testing.assert_allclose(found.belief, wanted.belief, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, wanted.uncertainty, rtol=1e-4)


def test_dempster_by_hand() -> None:
    """b¹ = (.6, .1, .1), u¹ = .2; b² = (.5, .2, .1), u² = .2.

    Σ b¹b² = .30 + .02 + .01; C = .8·.8 − .33 = .31; numerators .30 + .12 + .10 = .52,
    .02 + .02 + .04 = .08, .01 + .02 + .02 = .05, .04; each is divided by .69.
    """
    views = Opinion(jnp.array([[[0.6, 0.1, 0.1], [0.5, 0.2, 0.1]]]), jnp.array([[0.2, 0.2]]))
    found = opinion(dempster(evidence(views)))
    wanted = Opinion(jnp.array([[0.52, 0.08, 0.05]]) / 0.69, jnp.array([0.04]) / 0.69)
    same(found, wanted)


def test_average_by_hand() -> None:
    """Evidence (3, 0, 0) and (0, 1, 0): mean (1.5, .5, 0), S = 5, b = (.3, .1, 0), u = .6."""
    each = jnp.array([[[3.0, 0, 0], [0, 1.0, 0]]])
    found = opinion(present_mean(each, jnp.ones((1, 2), bool)))
    same(found, Opinion(jnp.array([[0.3, 0.1, 0.0]]), jnp.array([0.6])))


@given(seeds)
def test_dempster_is_the_papers_rule_applied_one_after_the_other(seed: int) -> None:
    each = drawn(seed)
    views = opinion(each[0])
    pairs = [Opinion(views.belief[i], views.uncertainty[i]) for i in range(3)]
    wanted = reduce(combined, pairs)
    found = opinion(dempster(each))
    same(Opinion(found.belief[0], found.uncertainty[0]), wanted)


@given(seeds)
def test_average_is_the_papers_rule_for_two(seed: int) -> None:
    each = drawn(seed, 2)
    views = opinion(each[0])
    pairs = [Opinion(views.belief[i], views.uncertainty[i]) for i in range(2)]
    found = opinion(present_mean(each, jnp.ones((1, 2), bool)))
    same(Opinion(found.belief[0], found.uncertainty[0]), averaged(*pairs))


@given(seeds)
def test_opinion_and_evidence_are_inverse_and_sum_to_one(seed: int) -> None:
    each = drawn(seed)
    found = opinion(each)
    np.testing.assert_allclose(found.belief.sum(axis=2) + found.uncertainty, 1, rtol=1e-5)
    np.testing.assert_allclose(evidence(found), each, rtol=1e-3, atol=1e-4)


@given(seeds)
def test_dempster_never_gets_less_certain_and_nothing_is_neutral(seed: int) -> None:
    """TMC: the combined uncertainty is at most each view's; a vacuous opinion changes nothing."""
    each = drawn(seed)
    together = opinion(dempster(each)).uncertainty[0]
    assert float(together) <= float(opinion(each).uncertainty.min()) * (1 + 1e-5)
    joined = jnp.concatenate([each, jnp.zeros((1, 1, CLASSES))], axis=1)
    same(opinion(dempster(joined)), opinion(dempster(each)))
    np.testing.assert_allclose(dempster(each[:, ::-1]), dempster(each), rtol=1e-4)


@given(seeds)
def test_average_gets_less_certain_exactly_when_the_newcomer_is(seed: int) -> None:
    """ECML: the uncertainty rises if the new view's is above the old one's, and falls if below."""
    each = drawn(seed, 2)
    old, new = opinion(each).uncertainty[0]
    together = opinion(present_mean(each, jnp.ones((1, 2), bool))).uncertainty[0]
    assert (float(new) > float(old)) == (float(together) > float(old))


def test_dempster_hides_conflict_and_the_average_shows_it() -> None:
    """Two sure and contradicting views: Dempster ends surer than either, the average as sure."""
    each = jnp.array([[[97.0, 0, 0], [0, 97.0, 0]]])
    here = jnp.ones((1, 2), bool)
    assert opinion(dempster(each)).uncertainty[0] < 0.02
    np.testing.assert_allclose(opinion(present_mean(each, here)).uncertainty, [0.03], rtol=1e-5)
    agreeing = jnp.array([[[97.0, 0, 0], [97.0, 0, 0]]])
    assert conflictive_degree(each, here, UNIFORM) > 100 * conflictive_degree(
        agreeing, here, UNIFORM
    )


def test_conflictive_degree_by_hand() -> None:
    """Evidence (6, 0, 0) and (0, 3, 0), uniform base rate.

    α/S = (7, 1, 1)/9 and (1, 4, 1)/6: half the distance is ½(11/18 + 10/18 + 1/18) = 22/36;
    certainties 6/9 and 3/6; two ordered pairs, one other modality: 2 · 22/36 · 1/3.
    """
    each = jnp.array([[[6.0, 0, 0], [0, 3.0, 0]]])
    found = conflictive_degree(each, jnp.ones((1, 2), bool), UNIFORM)
    np.testing.assert_allclose(found, [2 * 22 / 36 / 3], rtol=1e-5)
    alone = conflictive_degree(each, jnp.array([[True, False]]), UNIFORM)
    np.testing.assert_allclose(alone, [0.0])


@given(seeds)
def test_probability_is_belief_and_the_priors_share_of_the_rest(seed: int) -> None:
    prior = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    each = drawn(seed, 1)[:, 0]
    view = opinion(each)
    wanted = view.belief + view.uncertainty[:, None] * jnp.exp(prior)[None]
    np.testing.assert_allclose(jnp.exp(log_prob(each, prior)), wanted, rtol=1e-4)


def test_divergence_and_expected_loss_agree_with_draws() -> None:
    alpha, beta = np.array([2.5, 1.2, 3.0]), np.array([1.5, 0.9, 0.6])
    draws = scipy.stats.dirichlet(alpha).rvs(40_000, random_state=0)
    gaps = scipy.stats.dirichlet(alpha).logpdf(draws.T) - scipy.stats.dirichlet(beta).logpdf(
        draws.T
    )
    error = 5 * gaps.std() / 200
    found = float(divergence(jnp.asarray(alpha, jnp.float32), jnp.asarray(beta, jnp.float32)))
    assert abs(found - gaps.mean()) < error
    assert abs(found + 0.1 - gaps.mean()) > error
    label = jnp.array([0.0, 0, 1])
    loss = expected_loss(jnp.asarray(alpha - 1, jnp.float32), UNIFORM, label, 0.0)
    losses = -np.log(draws[:, 2])
    assert abs(float(loss) - losses.mean()) < 5 * losses.std() / 200


def test_misleading_evidence_costs_and_evidence_for_the_label_does_not() -> None:
    label = jnp.array([0.0, 0, 1])
    right, wrong = jnp.array([0.0, 0, 8]), jnp.array([8.0, 0, 0])
    penalties = [
        expected_loss(e, UNIFORM, label, 1.0) - expected_loss(e, UNIFORM, label, 0.0)
        for e in (right, wrong)
    ]
    np.testing.assert_allclose(penalties[0], 0, atol=1e-5)
    assert penalties[1] > 1


@pytest.mark.parametrize("build", [tmc, etmc, ecml])
def test_one_modality_alone_is_its_own_opinion(build) -> None:
    rng = np.random.default_rng(0)
    vector = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    features = (Features(vector, jnp.zeros((4, 1, 1)), jnp.ones((4, 1), bool)),)
    fusion = build(UNIFORM)
    params = fusion.init(jax.random.key(0), features)
    theta = params["theta"][0] + jnp.asarray(rng.normal(size=(CLASSES, 5)), jnp.float32)
    params = {**params, "theta": (theta,)}
    own = jax.nn.softplus(vector @ theta.T)
    if build is etmc:
        own = dempster(jnp.stack([own, jax.nn.softplus(vector @ params["together"].T)], axis=1))
    alpha = concentration(own, UNIFORM)
    found = fusion.apply(params, features, jnp.ones((4, 1), bool))
    np.testing.assert_allclose(jnp.exp(found), alpha / alpha.sum(axis=1, keepdims=True), rtol=1e-4)
