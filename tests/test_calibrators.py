"""Every calibrator by the same laws, and each against an independent statement of what it fits."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fusionjax import calibrate
from fusionjax.calibrate import linear, venn_abers
from fusionjax.calibrate.one_vs_rest import log_odds
from tests.test_calibrate import PRIOR, calibrated, mean_nll

NAMES = tuple(calibrate.CALIBRATORS)
FLEXIBLE = ("isotonic", "venn_abers", "histogram")
KEEP_ORDER = ("none", "temperature", "bayesian", "platt", "beta", "isotonic", "venn_abers")
PAIR = np.array([0.6, 0.4])


def fit_and_apply(name, log_prob, label, prior, asked=None):
    fitted = calibrate.fit(name, log_prob, label, prior)
    return calibrate.calibrated(fitted, log_prob if asked is None else asked, prior)


def excess(name, distort, fit_on, prior=PRIOR, test=20_000):
    """Held-out NLL in nats above that of the truth, after fitting on distorted records."""
    rng = np.random.default_rng(fit_on)
    log_prob, label = calibrated(rng, fit_on, prior)
    asked, truth = calibrated(rng, test, prior)
    found = fit_and_apply(name, distort(log_prob), label, prior, distort(asked))
    return mean_nll(found, truth) - mean_nll(asked, truth)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), classes=st.integers(2, 4))
def test_any_records_give_probabilities_and_json(name, seed, n, classes):
    """Few records, classes unseen, ties, probabilities of 0 and 1: finite, normalised, saved."""
    rng = np.random.default_rng(seed)
    prob = rng.multinomial(3, rng.dirichlet(np.ones(classes)), n) / 3
    label = rng.integers(0, rng.integers(1, classes + 1), n)
    prior = np.full(classes, 1 / classes)
    with np.errstate(divide="ignore"):
        log_prob = np.log(prob)
    fitted = calibrate.fit(name, log_prob, label, prior)
    found = calibrate.calibrated(fitted, log_prob, prior)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    saved = calibrate.Fitted(**json.loads(json.dumps(fitted._asdict(), allow_nan=False)))
    np.testing.assert_array_equal(calibrate.calibrated(saved, log_prob, prior), found)
    order = rng.permutation(n)
    again = calibrate.fit(name, log_prob[order], label[order], prior)
    np.testing.assert_allclose(calibrate.calibrated(again, log_prob, prior), found, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_no_records_change_little(name):
    empty = calibrate.fit(name, np.zeros((0, 3)), np.zeros(0, int), PRIOR)
    found = calibrate.calibrated(empty, np.log(PRIOR)[None], PRIOR)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_wrong_temperature_is_undone(name, scale):
    if name == "none":
        assert excess(name, lambda lp: calibrate.apply(lp, PRIOR, scale), 5000) > 0.05
        return
    allowed = 0.012 if name in FLEXIBLE else 0.004
    assert excess(name, lambda lp: calibrate.apply(lp, PRIOR, scale), 5000) < allowed


@pytest.mark.parametrize(
    ("able", "unable", "distort"),
    [
        (
            ("vector", "matrix"),
            ("temperature", "bayesian"),
            lambda x: x * np.array([1.8, 0.5, 1.0])[None] + np.array([0.6, -0.6, 0.0])[None],
        ),
        (
            ("matrix",),
            ("temperature", "vector"),
            lambda x: x @ np.array([[1.0, 0.5, 0.0], [-0.5, 1.0, 0.0], [0.0, 0.5, 1.0]]).T,
        ),
    ],
)
def test_a_distortion_of_its_own_family_is_undone_and_by_no_smaller_one(able, unable, distort):
    def distorted(log_prob):
        centred = linear.centred(log_prob - np.log(PRIOR)[None])
        return log_softmax(np.log(PRIOR)[None] + distort(centred), axis=1)

    for name in able:
        assert excess(name, distorted, 20_000) < 0.006, name
    for name in unable:
        assert excess(name, distorted, 20_000) > 0.01, name


def test_dirichlet_undoes_a_linear_map_of_log_probabilities():
    def distorted(log_prob):
        return log_softmax(log_prob * np.array([1.5, 0.6, 1.0])[None] + 0.5, axis=1)

    assert excess("dirichlet", distorted, 20_000) < 0.002
    assert excess("temperature", distorted, 20_000) > 0.005


@pytest.mark.parametrize("name", ["beta", "isotonic", "venn_abers"])
def test_a_two_class_map_that_no_line_undoes(name):
    """p is beta given the class, so beta calibration is exact where Platt's is not."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 40_000)
    p = np.where(label == 1, rng.beta(4, 1, 40_000), rng.beta(1, 0.3, 40_000))
    log_prob = np.log(np.stack([1 - p, p], axis=1) + 1e-300)
    fit, test, even = slice(0, 20_000), slice(20_000, None), np.array([0.5, 0.5])
    losses = {
        each: mean_nll(
            fit_and_apply(each, log_prob[fit], label[fit], even, log_prob[test]), label[test]
        )
        for each in (name, "platt")
    }
    assert losses[name] < losses["platt"] - 0.01


@pytest.mark.parametrize("name", NAMES)
def test_calibrated_records_lose_no_more_than_noise(name):
    """Mean excess over 10 data sets of 300: half a nat a record for each parameter, or a bin."""
    worst = {"none": 0, "temperature": 1, "bayesian": 1, "platt": 6, "beta": 9, "vector": 6}
    worst |= {"matrix": 9, "dirichlet": 12, "isotonic": 18, "venn_abers": 20, "histogram": 24}
    every = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        log_prob, label = calibrated(rng, 300)
        asked, truth = calibrated(rng, 5000)
        found = fit_and_apply(name, log_prob, label, PRIOR, asked)
        every.append(mean_nll(found, truth) - mean_nll(asked, truth))
    error = np.std(every) / 10**0.5
    assert np.mean(every) < worst[name] / 600 + 2 * error


@pytest.mark.parametrize("name", KEEP_ORDER)
def test_order_is_kept_with_two_classes(name):
    rng = np.random.default_rng(3)
    log_prob, label = calibrated(rng, 400, PAIR)
    found = fit_and_apply(name, calibrate.apply(log_prob, PAIR, 2.0), label, PAIR, log_prob)
    order = np.argsort(log_prob[:, 1], kind="stable")
    assert (np.diff(found[order, 1]) >= -1e-9).all()


@pytest.mark.parametrize("name", ["temperature", "bayesian"])
def test_the_likeliest_stays_the_likeliest_without_a_prior(name):
    log_prob, label = calibrated(np.random.default_rng(4), 300)
    even = np.full(3, 1 / 3)
    found = fit_and_apply(name, log_prob, label, even)
    np.testing.assert_array_equal(found.argmax(axis=1), log_prob.argmax(axis=1))


def test_platt_is_logistic_regression_on_soft_targets():
    """scikit-learn, with each record once as a positive and once as a negative, by its target."""
    log_prob, label = calibrated(np.random.default_rng(5), 300, PAIR)
    odds, many = log_odds(log_prob)[:, 1], int(label.sum())
    target = np.where(label == 1, (many + 1) / (many + 2), 1 / (300 - many + 2))
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.tile(odds, 2)[:, None], np.repeat([1, 0], 300), np.concatenate([target, 1 - target])
    )
    (ours,) = calibrate.fit("platt", log_prob, label, PAIR).parameters["classes"]
    assert ours["slope"] == pytest.approx(peer.coef_[0, 0], rel=1e-4)
    assert ours["intercept"] == pytest.approx(peer.intercept_[0], abs=1e-4)


def test_beta_with_no_prior_would_be_logistic_regression():
    """On many records the prior is nothing, and a and b are scikit-learn's coefficients."""
    log_prob, label = calibrated(np.random.default_rng(6), 30_000, PAIR)
    features = np.stack([log_prob[:, 1], -log_prob[:, 0]], axis=1)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(features, label)
    (ours,) = calibrate.fit("beta", log_prob, label, PAIR).parameters["classes"]
    assert (ours["a"], ours["b"]) == pytest.approx(tuple(peer.coef_[0]), abs=0.02)
    assert ours["c"] == pytest.approx(peer.intercept_[0], abs=0.02)


def test_the_free_linear_map_is_multinomial_regression():
    log_prob, label = calibrated(np.random.default_rng(7), 800)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(log_prob, label)
    free = linear.fit(log_prob, label, PRIOR, linear.Spread(1e4, 1e4, 1e4, 1e4))
    found = linear.apply(free, log_prob, PRIOR)
    np.testing.assert_allclose(found, peer.predict_log_proba(log_prob), atol=2e-3)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 25))
def test_venn_abers_is_two_isotonic_regressions_a_record(seed, n):
    rng = np.random.default_rng(seed)
    odds = rng.integers(-4, 5, n) / 2
    positive = rng.random(n) < expit(odds)
    fitted = venn_abers._fit(odds, positive)
    asked = np.linspace(-3, 3, 13)
    p0, p1 = venn_abers.interval(fitted, asked)
    for added, got in ((0, p0), (1, p1)):
        for at, value in zip(asked, got, strict=True):
            peer = IsotonicRegression().fit(np.append(odds, at), np.append(positive, added))
            assert value == pytest.approx(peer.predict([at])[0], abs=1e-9)
    assert (p0 <= p1).all()


def test_venn_abers_intervals_hold_the_calibrated_probability():
    """Perfect calibration of one of the two: mean of the label lies between the mean p₀ and p₁."""
    rng = np.random.default_rng(8)
    log_prob, label = calibrated(rng, 500, PAIR)
    asked, truth = calibrated(rng, 20_000, PAIR)
    (own,) = calibrate.fit("venn_abers", log_prob, label, PAIR).parameters["classes"]
    p0, p1 = venn_abers.interval(own, log_odds(asked)[:, 1])
    assert p0.mean() - 0.02 < truth.mean() < p1.mean() + 0.02
    assert (p1 - p0).mean() < 0.1


def test_isotonic_is_scikit_learns_at_the_records_where_counts_allow():
    log_prob, label = calibrated(np.random.default_rng(9), 400, PAIR)
    odds = log_odds(log_prob)[:, 1]
    peer = IsotonicRegression().fit(odds, label).predict(odds)
    found = np.exp(fit_and_apply("isotonic", log_prob, label, PAIR))[:, 1]
    np.testing.assert_allclose(found, np.clip(peer, 1 / 402, 401 / 402), atol=1e-9)


def test_histogram_in_closed_form():
    odds = np.repeat([-1.0, 1.0], 20)
    label = np.array([0] * 16 + [1] * 4 + [0] * 5 + [1] * 15)
    log_prob = np.log(np.stack([expit(-odds), expit(odds)], axis=1))
    found = np.exp(fit_and_apply("histogram", log_prob, label, PAIR))[[0, -1], 1]
    base = 19 / 40
    np.testing.assert_allclose(found, [(4 + base) / 21, (15 + base) / 21])


@pytest.mark.parametrize("name", NAMES)
def test_nan_and_labels_that_are_no_class_are_refused(name):
    with pytest.raises(ValueError, match="NaN"):
        calibrate.calibrated(
            calibrate.fit(name, np.log(PRIOR)[None], np.array([0]), PRIOR),
            np.full((1, 3), np.nan),
            PRIOR,
        )
    with pytest.raises(ValueError, match="unlabelled"):
        calibrate.fit(name, np.log(PRIOR)[None], np.array([-1]), PRIOR)
