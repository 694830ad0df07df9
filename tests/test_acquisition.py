"""The expected fall in entropy: against simulation of the measurement, and its laws."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import entr

from fusionjax import acquisition
from fusionjax.missing import gaussian, normal
from tests.test_missing import BIAS, CLASSES, cohort, world


def model() -> gaussian.Params:
    at = world()
    moments = normal.Moments(
        jnp.asarray(at.mean, jnp.float32), jnp.asarray(at.covariance, jnp.float32)
    )
    return gaussian.with_moments(
        moments, jnp.ones(CLASSES), normal.masks(cohort(at, 1, 0).features)
    )


def entropy(params: gaussian.Params, features: tuple, presence: jnp.ndarray) -> np.ndarray:
    prob = np.exp(np.asarray(gaussian.log_prob(params, BIAS, features, presence), float))
    return entr(prob).sum(axis=1)


def test_what_is_promised_is_what_happens_on_average() -> None:
    """Over 4,000 patients of the model's own world, for each modality, within 5 standard errors."""
    params, patients = model(), cohort(world(), 4000, 1)
    presence = jnp.tile(jnp.array([False, True, False]), (4000, 1))
    promised = acquisition.expected(
        jax.random.key(0), params, BIAS, patients.features, presence, draws=128
    )
    before = entropy(params, patients.features, presence)
    np.testing.assert_allclose(promised.entropy, before, atol=1e-4)
    for i in (0, 2):
        after = entropy(params, patients.features, presence.at[:, i].set(True))
        gap = (before - after) - np.asarray(promised.fall[:, i])
        assert abs(gap.mean()) < 5 * gap.std() / np.sqrt(4000)
        # It tells patients apart: those to whom more is promised get more.
        high = np.asarray(promised.fall[:, i]) > np.median(promised.fall[:, i])
        assert (before - after)[high].mean() > (before - after)[~high].mean() + 0.02


def test_one_patient_against_nested_simulation() -> None:
    """Measuring modality 2 of one patient, simulated from P(F_2 | F_1) with y drawn first."""
    params, at, patients = model(), world(), cohort(world(), 1, 2)
    presence = jnp.array([[False, True, False]])
    promised = acquisition.expected(
        jax.random.key(0), params, BIAS, patients.features, presence, draws=4096
    )
    rng, many = np.random.default_rng(3), 20_000
    prob = np.exp(np.asarray(gaussian.log_prob(params, BIAS, patients.features, presence), float))[
        0
    ]
    label = rng.choice(CLASSES, many, p=prob / prob.sum())
    a, b = [2], [3, 4]
    gain = at.covariance[np.ix_(b, a)] / at.covariance[2, 2]
    left = at.covariance[np.ix_(b, b)] - gain @ at.covariance[np.ix_(a, b)]
    centre = at.mean[label][:, b] + (patients.x[0, 2] - at.mean[label][:, a]) @ gain.T
    drawn = centre + rng.multivariate_normal(np.zeros(2), left, many)
    features = tuple(jnp.tile(f, (many, 1)) for f in patients.features[:2])
    third = jnp.asarray(np.c_[np.ones(many), drawn], jnp.float32)
    told = jnp.tile(jnp.array([False, True, True]), (many, 1))
    after = entropy(params, (*features, third), told)
    fall = entropy(params, patients.features, presence)[0] - after
    error = fall.std() / np.sqrt(many)
    assert abs(float(promised.fall[0, 2]) - fall.mean()) < 5 * error + 0.003


def test_no_promise_is_negative_and_what_is_known_promises_nothing() -> None:
    params, patients = model(), cohort(world(), 300, 4)
    presence = jnp.asarray(np.random.default_rng(5).random((300, 3)) < 0.5)
    got = acquisition.expected(jax.random.key(0), params, BIAS, patients.features, presence)
    assert (got.fall > -0.02).all()
    assert not np.asarray(got.fall)[np.asarray(presence)].any()
    best = acquisition.best(got, presence)
    missing = ~np.asarray(presence)
    assert (best[missing.any(axis=1)] >= 0).all()
    assert missing[np.flatnonzero(best >= 0), best[best >= 0].astype(int)].all()
    assert (best[~missing.any(axis=1)] == -1).all()


def test_a_modality_that_tells_nothing_promises_nothing() -> None:
    at, patients = world(), cohort(world(), 100, 6)
    mean, covariance = at.mean.copy(), at.covariance.copy()
    mean[:, 3:] = 0
    covariance[3:, :3] = covariance[:3, 3:] = 0
    moments = normal.Moments(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))
    params = gaussian.with_moments(moments, jnp.ones(CLASSES), normal.masks(patients.features))
    presence = jnp.tile(jnp.array([True, False, False]), (100, 1))
    got = acquisition.expected(jax.random.key(0), params, BIAS, patients.features, presence)
    np.testing.assert_allclose(got.fall[:, 2], 0, atol=1e-4)
    assert (got.fall[:, 1] > 0.001).any()
