"""Evidence against numerical integration, LOO against ArviZ and posteriors fitted again."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from fusionjax.posterior import importance, loo, newton, proposals, psis, worth
from fusionjax.posterior.types import INTERCEPT, Observations
from tests.test_posterior import simulated

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz


# The evidence


def integrated(observations: Observations, bias) -> float:
    """log P(y) by brute force, for two classes and one weight (on the constant) a modality.

    P(y | v) on a grid of v = τz, times P(v) = ∫ HalfNormal(τ) N(v; 0, τ²) dτ of every cell.
    """
    axis = (np.arange(240) - 119.5) * 0.05
    log_tau = np.linspace(np.log(1e-5), np.log(8.0), 3000)
    tau = np.exp(log_tau)
    cell = [stats.norm.cdf((axis + end)[None, :] / tau[:, None]) for end in (0.025, -0.025)]
    density = stats.halfnorm.pdf(tau) * tau * (log_tau[1] - log_tau[0])
    prior = density @ (cell[0] - cell[1])
    design = INTERCEPT * np.concatenate([np.asarray(f, float) for f in observations.features], 1)
    grids = np.meshgrid(*[axis] * design.shape[1], indexing="ij")
    v = np.stack(grids, -1).reshape(-1, design.shape[1])
    energy = np.asarray(bias, float) + (v @ design.T)[..., None] * newton.zero_sum_basis(2)[:, 0]
    log_prob = energy - logsumexp(energy, axis=-1, keepdims=True)
    likelihood = np.einsum("gnk,nk,n->g", log_prob, observations.onehot, observations.weight)
    log_prior = sum(np.log(g) for g in np.meshgrid(*[prior] * design.shape[1], indexing="ij"))
    return float(logsumexp(likelihood + np.ravel(log_prior)))


@pytest.fixture(scope="module")
def tiny():
    return simulated(3, 12, (1, 1), 2, tau=(6.0, 4.0))[:2]


@pytest.mark.parametrize("shown", [(True, True), (True, False), (False, True)])
def test_evidence_is_the_integral(key, tiny, shown):
    observations, bias = tiny
    (found,) = worth.evaluate(key, observations, bias, [shown], proposed=8192)
    kept = [i for i in range(2) if shown[i]]
    alone = observations._replace(
        features=tuple(observations.features[i] for i in kept),
        presence=observations.presence[:, np.array(kept)],
    )
    exact = integrated(alone, bias)
    assert found.evidence.ok
    assert found.evidence.mcse < 0.05
    error = abs(found.evidence.value - exact)
    assert error < 5 * found.evidence.mcse + 0.002
    # The prior is half of the answer: with scales half as large it is another.
    assert abs(found.evidence.value - integrated(_scaled(alone), bias)) > 3 * error + 0.01


def _scaled(observations: Observations) -> Observations:
    return observations._replace(features=tuple(f / 2 for f in observations.features))


def test_weights_mend_laplaces_evidence(key):
    """Few records, strong signal: without the weights the surrogate's evidence is off."""
    observations, bias, _ = simulated(8, 8, (1, 1), 2, tau=(9.0, 9.0))
    ground = proposals.groundwork(key, observations, bias)
    plain = float(logsumexp(ground.scales.log_weight) - np.log(len(ground.scales.tau)))
    found, exact = worth.evidence(key, ground, 8192), integrated(observations, bias)
    assert abs(found.value - exact) < 5 * found.mcse + 0.002
    assert abs(found.value - exact) < abs(plain - exact)


def test_with_nothing_the_evidence_is_the_class_frequencies(key, tiny):
    observations, bias = tiny
    (found,) = worth.evaluate(key, observations, bias, [(False, False)])
    log_prob = np.asarray(jax.nn.log_softmax(bias))[np.argmax(observations.onehot, axis=1)]
    assert found.evidence.value == pytest.approx(log_prob.sum(), rel=1e-6)
    np.testing.assert_allclose(found.loo.elpd, log_prob, rtol=1e-6)


# LOO


@pytest.fixture(scope="module")
def fitted():
    observations, bias, _ = simulated(4, 60, (3, 2), 3, tau=(0.8, 0.8))
    found = importance.fit(jax.random.key(1), observations, bias, draws=1000)
    return observations, bias, found


def by_hand(theta, observations, bias):
    design = np.concatenate([np.asarray(f, float) for f in observations.features], axis=1)
    whole = np.concatenate([np.asarray(t, float) for t in theta], axis=2)
    energy = np.asarray(bias, float) + np.einsum("np,dkp->dnk", design, whole)
    log_prob = energy - logsumexp(energy, axis=2, keepdims=True)
    return np.einsum("dnk,nk->dn", log_prob, np.asarray(observations.onehot))


def test_loo_is_arvizs(fitted, monkeypatch):
    observations, bias, found = fitted
    log_likelihood = by_hand(found.theta, observations, bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = arviz.from_dict(
            posterior={"x": np.zeros((1, 1000))}, log_likelihood={"y": log_likelihood[None]}
        )
        theirs = arviz.loo(data, pointwise=True, reff=1.0)
    ours = loo.leave_one_out(found.theta, observations, bias)
    np.testing.assert_allclose(ours.elpd, theirs.loo_i.values, atol=2e-3)
    # Where nothing is present the draws are at one: of that ArviZ has no k̂, and ours is 0.
    shape, nothing = theirs.pareto_k.values, ~np.any(np.asarray(observations.presence), axis=1)
    np.testing.assert_array_equal(np.isinf(shape), nothing)
    np.testing.assert_allclose(ours.k_hat[~nothing], shape[~nothing], atol=0.02)
    np.testing.assert_array_equal(ours.k_hat[nothing], 0.0)
    estimate = loo.total(ours)
    assert estimate.value == pytest.approx(theirs.elpd_loo, abs=0.02)
    # ArviZ has the records' deviation over all of them, ours that of a sample.
    assert estimate.se == pytest.approx(theirs.se, rel=0.02)
    monkeypatch.setattr(loo, "BLOCK", 25)
    again = loo.leave_one_out(found.theta, observations, bias)
    np.testing.assert_allclose(again.elpd, ours.elpd, atol=1e-5)


def test_rows_of_one_record_are_left_out_together(fitted):
    observations, bias, found = fitted
    plain = loo.leave_one_out(found.theta, observations, bias)
    order = np.random.default_rng(0).permutation(120)
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x])[order], observations)
    half = twice._replace(weight=twice.weight / 2)
    record = np.tile(np.arange(60), 2)[order]
    found_twice = loo.leave_one_out(found.theta, half, bias, record)
    _, first = np.unique(record, return_index=True)
    np.testing.assert_allclose(found_twice.elpd, plain.elpd[record[np.sort(first)]], atol=1e-4)
    with pytest.raises(ValueError, match="names"):
        loo.leave_one_out(found.theta, half, bias, record[:5])


@pytest.mark.slow
def test_loo_is_the_posterior_fitted_without_the_record(key):
    observations, bias, _ = simulated(9, 30, (2, 2), 2, tau=(0.8, 0.8))
    found = importance.fit(key, observations, bias, draws=4000, proposed=16384)
    ours = loo.leave_one_out(found.theta, observations, bias)
    exact, seen = [], []
    for n in range(30):
        others = observations._replace(weight=observations.weight.at[n].set(0.0))
        again = importance.fit(jax.random.key(n), others, bias, draws=4000, proposed=16384)
        log_likelihood = by_hand(again.theta, observations, bias)[:, n]
        exact.append(logsumexp(log_likelihood) - np.log(4000))
        seen.append(logsumexp(by_hand(found.theta, observations, bias)[:, n]) - np.log(4000))
    good = ours.k_hat < ours.most_k_hat
    assert good.sum() > 25
    error = np.abs(ours.elpd - exact)[good]
    assert np.max(error) < 0.1
    assert abs(np.sum(ours.elpd - exact)) < 0.3
    # What the draws that saw the record say of it is more than that.
    assert np.sum(seen) - np.sum(exact) > 1.0


# Worth


@pytest.fixture(scope="module")
def judged():
    """Modality 0 says much, modality 1 nothing."""
    rng = np.random.default_rng(0)
    observations, bias, _ = simulated(1, 150, (3, 3), 3, tau=(1.5, 0.5))
    noise = jnp.asarray(rng.normal(size=(150, 3)), jnp.float32) * observations.presence[:, 1:]
    useless = observations._replace(features=(observations.features[0], noise))
    return useless, worth.evaluate(jax.random.key(0), useless, bias)


def test_what_says_something_is_worth_having_and_what_does_not_is_not(judged):
    useful, useless = worth.worth(judged[1])
    assert useful.evidence.value > 10
    assert useful.alone.value > 10
    assert useful.elpd.value > 2 * useful.elpd.se
    assert useful.inclusion is not None
    assert useful.inclusion > 0.99
    assert useless.evidence.value < 0
    assert useless.elpd.value < 2 * useless.elpd.se
    assert useless.inclusion is not None
    assert useless.inclusion < 0.5


def test_evidence_and_loo_of_the_whole_are_the_sums_of_what_is_said(judged):
    found = judged[1]
    by = {one.shown: one for one in found}
    step = by[True, True].evidence.value - by[False, True].evidence.value
    assert worth.worth(found)[0].evidence.value == pytest.approx(step)
    said = json.loads(json.dumps(worth.as_json(found, ("labs", "note"))))
    assert said["subsets"][-1]["modalities"] == []
    assert said["worth"][1]["modality"] == "note"
    each = said["worth"][0]["elpd_loo_difference"]
    whole, rest = (by[s].loo.elpd for s in ((True, True), (False, True)))
    assert each["value"] == pytest.approx(np.sum(whole - rest))
    assert each["se"] == pytest.approx(np.sqrt(150) * np.std(whole - rest, ddof=1))


def test_many_modalities_are_not_all_crossed():
    assert len(worth.subsets(3)) == 8
    assert len(set(worth.subsets(6))) == 14
    tau = [
        worth.Subset(s, worth.Evidence(0.0, 0.0, 0.0, ok=True), _flat()) for s in worth.subsets(6)
    ]
    assert worth.worth(tau)[5].inclusion is None
    with pytest.raises(KeyError):
        worth.worth(tau[:3])


def _flat() -> loo.Loo:
    return loo.Loo(np.zeros(4), np.zeros(4), psis.most_k_hat(400))
