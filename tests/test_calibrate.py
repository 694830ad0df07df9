"""Temperature on the evidence: recovers, leaves alone, never diverges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from fusionjax import calibrate

PRIOR = np.array([0.5, 0.3, 0.2])


def calibrated(rng, n, prior=PRIOR):
    """Gaussian findings given the class, with their exact posterior: labels match by design."""
    label = rng.choice(len(prior), size=n, p=prior)
    center = 1.5 * np.eye(len(prior))
    x = center[label] + rng.normal(size=(n, len(prior)))
    likelihood = -((x[:, None, :] - center[None, :, :]) ** 2).sum(axis=2) / 2
    return log_softmax(np.log(prior)[None, :] + likelihood, axis=1), label


def mean_nll(log_prob, label):
    return -log_prob[np.arange(len(label)), label].mean()


@pytest.mark.parametrize("distortion", [0.3, 0.7, 1.0, 2.0, 5.0])
def test_a_known_distortion_is_undone(distortion):
    log_prob, label = calibrated(np.random.default_rng(0), 20_000)
    distorted = calibrate.apply(log_prob, PRIOR, distortion)
    scale = calibrate.temperature(distorted, label, PRIOR)
    assert scale * distortion == pytest.approx(1, abs=0.04)
    np.testing.assert_allclose(
        calibrate.apply(distorted, PRIOR, 1 / distortion), log_prob, rtol=1e-9
    )


def test_calibrated_inputs_keep_scale_1_within_noise():
    """The z-score of the scale by its Fisher information is a standard normal over data sets."""
    rng, z = np.random.default_rng(1), []
    for _ in range(200):
        log_prob, label = calibrated(rng, 200)
        evidence, prob = log_prob - np.log(PRIOR)[None, :], np.exp(log_prob)
        spread = (prob * evidence**2).sum(axis=1) - (prob * evidence).sum(axis=1) ** 2
        z.append((calibrate.temperature(log_prob, label, PRIOR) - 1) * np.sqrt(spread.sum()))
    assert abs(np.mean(z)) < 0.3
    assert 0.8 < np.std(z) < 1.25


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.floats(0.2, 4))
def test_no_other_scale_is_better(seed, n, distortion):
    rng = np.random.default_rng(seed)
    log_prob, label = calibrated(rng, n)
    log_prob = calibrate.apply(log_prob, PRIOR, distortion)
    scale = calibrate.temperature(log_prob, label, PRIOR)
    assert calibrate.LOWEST <= scale <= calibrate.HIGHEST
    if len(np.unique(label)) < 2:
        assert scale == 1
        return
    best = mean_nll(calibrate.apply(log_prob, PRIOR, scale), label)
    for other in np.geomspace(calibrate.LOWEST, calibrate.HIGHEST, 25):
        assert best <= mean_nll(calibrate.apply(log_prob, PRIOR, other), label) + 1e-9


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20))
def test_apply_gives_probabilities_and_leaves_the_prior(seed, scale):
    log_prob, _ = calibrated(np.random.default_rng(seed), 5)
    log_prob[0] = np.log(PRIOR)
    scaled = calibrate.apply(log_prob, PRIOR, scale)
    np.testing.assert_allclose(np.exp(scaled).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(scaled[0]), PRIOR)
    np.testing.assert_allclose(calibrate.apply(log_prob, PRIOR, 1.0), log_prob, atol=1e-12)


def test_perfect_separation_ends_at_the_bound():
    label, prior = np.array([0, 1, 2, 0, 1, 2]), np.full(3, 1 / 3)
    for certainty in (0.4, 0.9, 0.999):
        prob = np.full((6, 3), (1 - certainty) / 2)
        prob[np.arange(6), label] = certainty
        scale = calibrate.temperature(np.log(prob), label, prior)
        assert scale == pytest.approx(calibrate.HIGHEST)
        assert np.isfinite(calibrate.apply(np.log(prob), prior, scale)).all()


def test_probabilities_0_and_1_stay_finite():
    label, prior = np.array([0, 1, 2, 0, 1, 2]), np.full(3, 1 / 3)
    with np.errstate(divide="ignore"):
        log_prob = np.log(np.eye(3)[label])
    scale = calibrate.temperature(log_prob, label, prior)
    assert 1 <= scale <= calibrate.HIGHEST
    assert np.isfinite(calibrate.apply(log_prob, prior, scale)).all()


def test_certain_and_always_wrong_ends_at_the_other_bound():
    label, prior = np.array([0, 1] * 5), np.array([0.5, 0.5])
    with np.errstate(divide="ignore"):
        log_prob = np.log(np.eye(2)[1 - label])
    assert calibrate.temperature(log_prob, label, prior) == pytest.approx(calibrate.LOWEST)


def test_float32_in_is_solved_in_float64():
    log_prob, label = calibrated(np.random.default_rng(2), 500)
    single = calibrate.temperature(log_prob.astype(np.float32), label, PRIOR.astype(np.float32))
    assert single == pytest.approx(calibrate.temperature(log_prob, label, PRIOR), rel=1e-4)


def test_records_that_cannot_tell_leave_scale_1():
    log_prob, _ = calibrated(np.random.default_rng(3), 6)
    assert calibrate.temperature(log_prob, np.zeros(6, int), PRIOR) == 1
    assert calibrate.temperature(log_prob[:0], np.zeros(0, int), PRIOR) == 1
    flat = np.tile(np.log(PRIOR), (6, 1))
    assert calibrate.temperature(flat, np.array([0, 1, 2, 0, 1, 2]), PRIOR) == 1


@pytest.mark.parametrize(
    ("log_prob", "label", "prior", "message"),
    [
        ([[np.nan, 0.0]], [0], [0.5, 0.5], "NaN"),
        ([[-1.0, -1.0]], [-1], [0.5, 0.5], "unlabelled"),
        ([[-1.0, -1.0]], [0], [1.0, 0.0], "positive"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(log_prob, label, prior, message):
    with pytest.raises(ValueError, match=message):
        calibrate.temperature(np.array(log_prob), np.array(label), np.array(prior))


@pytest.mark.parametrize("best", [0.06, 0.4, 1.0, 3.0, 18.0])
def test_predictive_scale_finds_the_least(best):
    calls = []

    def nll(scale):
        calls.append(scale)
        return np.log(scale / best) ** 2 + 1

    assert calibrate.predictive_scale(nll) == pytest.approx(best, rel=5e-3)
    assert len(calls) < 30


def test_predictive_scale_agrees_with_temperature():
    log_prob, label = calibrated(np.random.default_rng(4), 400)
    log_prob = calibrate.apply(log_prob, PRIOR, 2.5)
    found = calibrate.predictive_scale(
        lambda scale: float(mean_nll(calibrate.apply(log_prob, PRIOR, scale), label))
    )
    assert found == pytest.approx(calibrate.temperature(log_prob, label, PRIOR), rel=5e-3)


def test_predictive_scale_survives_what_is_not_a_number():
    assert calibrate.predictive_scale(lambda scale: float("nan")) == 1
    assert calibrate.predictive_scale(lambda scale: 3.0) == 1
    found = calibrate.predictive_scale(
        lambda scale: float("inf") if scale > 2 else (scale - 1.5) ** 2
    )
    assert found == pytest.approx(1.5, rel=5e-3)


def test_a_few_separable_records_do_not_ask_for_any_scale():
    log_prob = np.log(np.array([[0.7, 0.2, 0.1]] * 20))
    label = np.zeros(20, int)

    def nll(scale):
        return float(mean_nll(calibrate.apply(log_prob, PRIOR, scale), label))

    free = calibrate.predictive_scale(nll)
    held = calibrate.predictive_scale(lambda s: nll(s) + calibrate.reluctance(s, 20))
    assert 1 < held < 5 < free
    assert calibrate.reluctance(1.0, 20) == 0
