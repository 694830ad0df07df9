"""Logistic regression against scikit-learn's own pipeline, and where that would fail."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusionjax import baselines, compare


def sample(rng, n, d, k, signal=2.0):
    features = 3 + rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d)[None, :]
    weights = rng.normal(size=(d, k)) * signal / d**0.5
    score = (features - 3) / features.std(axis=0)[None, :] @ weights
    return features, (score + rng.gumbel(size=(n, k))).argmax(axis=1)


def fit(features, label, train, strengths=baselines.STRENGTHS, classes=None):
    return baselines.logistic(
        features[:train], label[:train], features[train:], label[train:], strengths, classes
    )


@pytest.mark.parametrize(("d", "k"), [(5, 2), (5, 4), (150, 2), (150, 3)])
def test_a_single_strength_is_scikit_learns_fit(d, k):
    """The wide ones are fitted in the row space of the records: the same optimum."""
    features, label = sample(np.random.default_rng(0), 120, d, k)
    model = fit(features, label, 80, strengths=(0.03,))
    tight = LogisticRegression(C=0.03, tol=1e-8, max_iter=5000)
    oracle = make_pipeline(StandardScaler(), tight).fit(features[:80], label[:80])
    expected = oracle.predict_log_proba(features[80:])
    np.testing.assert_allclose(baselines.log_prob(model, features[80:]), expected, atol=2e-3)
    assert model.strength == 0.03


def test_the_strength_is_the_best_on_validation():
    features, label = sample(np.random.default_rng(1), 300, 30, 3)

    def valid_nll(model):
        return -baselines.log_prob(model, features[200:])[np.arange(100), label[200:]].mean()

    chosen = fit(features, label, 200)
    each = [valid_nll(fit(features, label, 200, strengths=(s,))) for s in baselines.STRENGTHS]
    assert chosen.strength == baselines.STRENGTHS[int(np.argmin(each))]
    assert valid_nll(chosen) == pytest.approx(min(each), abs=1e-3)
    assert min(baselines.STRENGTHS) < chosen.strength < max(baselines.STRENGTHS)


def test_it_recovers_most_of_the_signal():
    features, label = sample(np.random.default_rng(2), 3000, 10, 3, signal=4.0)
    model = fit(features, label, 2000)
    predicted = baselines.log_prob(model, features[2000:]).argmax(axis=1)
    assert (predicted == label[2000:]).mean() > 0.75


def test_units_of_the_features_do_not_matter():
    features, label = sample(np.random.default_rng(3), 200, 6, 3)
    scaled = features * np.logspace(-3, 3, 6)[None, :] + 7
    first = baselines.log_prob(fit(features, label, 150), features)
    second = baselines.log_prob(fit(scaled, label, 150), scaled)
    np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("seen", [[0, 2], [0, 2, 3], [2]])
def test_a_class_absent_from_train_has_the_floor(seen):
    rng = np.random.default_rng(4)
    features, label = rng.normal(size=(60, 3)), rng.choice(seen, 60)
    label[40:] = rng.integers(0, 4, 20)
    log_prob = baselines.log_prob(fit(features, label, 40, classes=5), features)
    absent = [k for k in range(5) if k not in seen]
    np.testing.assert_allclose(log_prob[:, absent], -np.log(45))
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=1), 1)
    assert log_prob.shape == (60, 5)


def test_missing_values_are_the_mean_and_constants_say_nothing():
    features, label = sample(np.random.default_rng(5), 100, 4, 2)
    features[:, 2] = 1.0
    features[::7, 0] = np.nan
    features[:, 3] = np.nan
    model = fit(features, label, 80)
    log_prob = baselines.log_prob(model, features)
    assert np.isfinite(log_prob).all()
    np.testing.assert_array_equal(model.coef[:, 2:], 0)
    filled = np.where(np.isnan(features), model.mean[None, :], features)
    np.testing.assert_allclose(baselines.log_prob(model, filled), log_prob)


def test_separation_and_a_hopeless_optimum_warn_nobody():
    """pytest turns warnings into errors: a ConvergenceWarning would fail this test."""
    features = np.linspace(-1, 1, 40)[:, None] * np.geomspace(1, 1e4, 8)[None, :]
    label = (features[:, 0] > 0).astype(int)
    order = np.random.default_rng(6).permutation(40)
    model = fit(features[order], label[order], 30, strengths=(1e4, 1e8))
    assert np.isfinite(baselines.log_prob(model, features)).all()


def test_without_validation_the_heaviest_penalty_is_taken():
    features, label = sample(np.random.default_rng(7), 50, 4, 2)
    assert fit(features, label, 50).strength == min(baselines.STRENGTHS)


@pytest.mark.parametrize("label", [[], [0, -1], [0, 3]])
def test_labels_that_are_no_class_are_refused(label):
    features = np.ones((len(label), 2))
    with pytest.raises(ValueError, match=r"labels 0\.\.2"):
        fit(features, np.array(label, int), len(label), classes=3)


def test_an_ensemble_is_the_mean_of_its_members_probabilities() -> None:
    log_prob = np.log(np.random.default_rng(0).dirichlet(np.ones(3), (4, 6)))
    found = compare._mean_log_prob(list(log_prob))
    np.testing.assert_allclose(np.exp(found), np.exp(log_prob).mean(axis=0))
