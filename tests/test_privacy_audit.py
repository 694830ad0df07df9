"""Attacks find what is there, audits stay below what was promised, and broken fits do not."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax import train
from tests import train_child

pytest.importorskip("jax_privacy", reason="privacy is an extra: pip install 'fusionjax[privacy]'")

from fusionjax.privacy import PrivacyError, Promise, attack, canary, sgd
from fusionjax.privacy.guarantee import multiplier, sentence, to_json

# jax-privacy 2.0 calls what this optax has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:optax.global_norm:DeprecationWarning")


def test_a_fit_that_learns_by_heart_is_found_out_and_one_that_learns_nothing_is_not():
    rng = np.random.default_rng(0)
    label, size = rng.integers(2, size=200), 200

    def by_heart(member):
        sure = np.where(member, 0.95, rng.uniform(0.3, 0.7, size))
        prob = np.where(label[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
        return np.log(prob)

    def deaf(member):
        sure = rng.uniform(0.3, 0.7, size)[:, None]
        return np.log(np.where(label[:, None] == np.arange(2), sure, 1 - sure))

    leaky = attack.leaks(attack.shadows(by_heart, label, 12, 0), 1e-5, targets=4)
    tight = attack.leaks(attack.shadows(deaf, label, 12, 0), 1e-5, targets=4)
    assert [one.attack for one in leaky] == ["loss", "likelihood ratio"]
    assert all(one.auc > 0.99 and one.tpr > 0.95 and one.epsilon > 1.5 for one in leaky)
    assert all(0.4 < one.auc < 0.6 and one.tpr < 0.1 and one.epsilon < 0.5 for one in tight)


def test_confidence_is_the_logit_of_two_classes():
    found = attack.confidence(np.log([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1]))
    np.testing.assert_allclose(found, [np.log(4), -np.log(9)])


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_the_audit_of_an_honest_fit_stays_below_its_promise(epsilon):
    promise = Promise(epsilon)
    found = canary.audit(promise, multiplier(epsilon, promise.delta), random.Random(1))
    assert found.epsilon < epsilon


def test_the_audit_finds_a_fit_whose_noise_is_left_out():
    found = canary.audit(Promise(1.0), 1e-9, random.Random(0))
    assert found.correct == found.guesses
    assert found.epsilon > 1.0


def test_the_audit_finds_a_patient_who_is_counted_as_a_record():
    z = multiplier(1.0, 1e-5)
    understated = canary.audit(Promise(1.0), z, random.Random(0), canaries=60, records=60)
    honest = Promise(1.0, unit="patient", most=60)
    assert understated.epsilon > 1.0
    assert canary.audit(honest, z, random.Random(0), canaries=60, records=60).epsilon < 1.0


@pytest.mark.slow
def test_audits_of_honest_fits_exceed_their_promise_no_more_often_than_they_may():
    z, runs = multiplier(1.0, 1e-5), 40
    found = [canary.audit(Promise(1.0), z, random.Random(s), seed=s) for s in range(runs)]
    assert sum(one.epsilon > 1.0 for one in found) <= 2
    broken = [canary.audit(Promise(1.0), z / 30, random.Random(s), seed=s) for s in range(10)]
    assert np.median([one.epsilon for one in broken]) > 1.0


def logistic(weights, data, there):
    features, label = data
    return jnp.sum(jnp.where(there, jnp.logaddexp(0.0, -label * (features @ weights)), 0.0))


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = np.sign(x @ np.array([1.0, -1.0, 0.5]) + rng.logistic(size=400)).astype(np.float32)
    return x, y


def test_sgd_learns_by_patient_compiles_once_and_says_what_it_promises(records):
    config = sgd.Config(
        Promise(8.0, 1e-3, "patient", 2), steps=40, batch_size=40, learning_rate=0.1
    )
    group = np.arange(400) // 2
    found = sgd.fit(logistic, jnp.zeros(3), records, group, config, seed=0)
    weights = np.asarray(found.weights)
    assert found.compiled == 1
    assert weights @ [1.0, -1.0, 0.5] > 0.8 * np.linalg.norm(weights) * 1.5
    said = sentence(found.guarantee)
    assert said.startswith("REHEARSAL")
    for word in ("(8, 0.001)", "patient, one of 200", "Poisson", "clip: 1", "truncated"):
        assert word in said
    assert to_json(found.guarantee)["epsilon"] == 8.0


def test_sgd_trains_encoders_and_fusion_from_public_weights():
    """The loss of the whole is the likelihood of those who are there, and falls."""
    network, batch = train_child.network(), next(iter(train_child.loaders()[0].ordered()))
    loss = sgd.network_loss(network, 2)
    start = train.init(jax.random.key(0), network, batch)
    everyone, some = jnp.ones(len(batch.label), bool), jnp.arange(len(batch.label)) < 3
    own = train.log_prob(network, start, batch.inputs, batch.presence)[:3]
    expected = -own[np.arange(3), batch.label[:3]].sum()
    np.testing.assert_allclose(loss(start, batch, some), expected, rtol=1e-5)
    config = sgd.Config(Promise(8.0, 1e-3), steps=60, batch_size=8, learning_rate=0.02)
    found = sgd.fit(loss, start, batch, np.arange(len(some)), config, seed=0)
    assert loss(found.weights, batch, everyone) < 0.95 * loss(start, batch, everyone)


def test_sgd_keeps_its_promise_by_its_own_account():
    z = sgd.multiplier(Promise(8.0, 1e-3), 200, 40, 40)
    assert 7.9 < sgd.epsilon(z, 1e-3, 200, 40, 40) <= 8.0
    assert sgd.epsilon(z / 2, 1e-3, 200, 40, 40) > 8.0


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (sgd.Config(sampler="shuffled"), "sampler"),
        (sgd.Config(Promise(delta=0.1)), "delta"),
        (sgd.Config(Promise(unit="patient")), "most"),
        (sgd.Config(batch_size=500), "batch_size"),
    ],
)
def test_sgd_refuses_what_would_not_hold(records, config, names):
    with pytest.raises(PrivacyError, match=names):
        sgd.fit(logistic, jnp.zeros(3), records, np.arange(400), config, seed=0)


def test_one_patient_moves_a_step_by_no_more_than_the_clip(records):
    from jax_privacy import clipping

    x, y = records
    huge = np.concatenate([[[1e20, 0, 0]], x[1:]])
    grad = clipping.clipped_grad(
        logistic, l2_clip_norm=1.0, batch_argnums=(1, 2), keep_batch_dim=False
    )
    parts = (jnp.asarray(huge, jnp.float32)[:, None], jnp.asarray(-y)[:, None])
    there = jnp.ones((400, 1), bool)
    both = grad(jnp.ones(3), parts, there)
    less = grad(jnp.ones(3), parts, there.at[0].set(False))
    assert float(jnp.linalg.norm(both - less)) <= 1 + 1e-4
