"""Leaving records out by a Newton step: near the refits, and coverage where reuse would fail."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fusionjax import conformal, jackknife

CLASSES, P, PRECISION = 3, 12, 1.0


def world(rng, n, theta):
    features = np.concatenate([np.ones((n, 1)), rng.normal(size=(n, P - 1))], axis=1)
    prob = jackknife.softmax(features @ theta.T)
    return features, (rng.random(n)[:, None] > prob.cumsum(axis=1)[:, :-1]).sum(axis=1)


def fitted(features, label):
    """The mode of a ridge-regularised multinomial regression."""
    onehot = np.eye(CLASSES)[label]

    def loss(flat):
        theta = flat.reshape(CLASSES, P)
        prob = jackknife.softmax(features @ theta.T)
        value = -np.sum(onehot * np.log(prob + 1e-300)) + PRECISION / 2 * np.sum(theta**2)
        return value, ((prob - onehot).T @ features + PRECISION * theta).ravel()

    found = minimize(loss, np.zeros(CLASSES * P), jac=True, method="BFGS", options={"gtol": 1e-6})
    return found.x.reshape(CLASSES, P)


def left_out(features, label, asked):
    """Theta, moved scores of new records, and 1 − P(label) of each record without it."""
    theta = fitted(features, label)
    prob = jackknife.softmax(features @ theta.T)
    curvature = jackknife.hessian(features, prob, PRECISION * np.eye(CLASSES * P))
    moved, own = jackknife.moves(asked, features, prob, label, np.linalg.inv(curvature))
    strange = 1 - jackknife.softmax(features @ theta.T + own)[np.arange(len(label)), label]
    return theta, moved, strange


def test_a_newton_step_is_near_the_refit():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(CLASSES, P)) / 2
    features, label = world(rng, 200, truth)
    asked, _ = world(rng, 5, truth)
    theta, moved, strange = left_out(features, label, asked)
    for i in range(0, 200, 25):
        rest = np.arange(200) != i
        refit = fitted(features[rest], label[rest])
        expected = asked @ (refit - theta).T
        error = np.abs((moved[:, i] - moved[:, i].mean(axis=1, keepdims=True)) - expected).max()
        assert error < 0.15 * np.abs(expected).max() + 0.005
        own = jackknife.softmax(features[i] @ refit.T)
        assert strange[i] == pytest.approx(1 - own[label[i]], abs=0.03)


def test_coverage_holds_where_training_scores_would_not():
    """60 records for 24 free weights: scores of the records that were fitted are far too small."""
    rng, covered, naive, size = np.random.default_rng(1), [], [], []
    for _ in range(40):
        truth = rng.normal(size=(CLASSES, P)) / 2
        features, label = world(rng, 60, truth)
        asked, wanted = world(rng, 100, truth)
        theta, moved, strange = left_out(features, label, asked)
        chosen = jackknife.sets(asked @ theta.T, moved, strange, 0.9)
        covered.append(chosen[np.arange(100), wanted].mean())
        size.append(chosen.sum(axis=1).mean())
        prob, new = (jackknife.softmax(f @ theta.T) for f in (features, asked))
        most = conformal.limit(conformal.of_label(conformal.lac(prob), label), 0.9)
        naive.append((conformal.lac(new)[np.arange(100), wanted] <= most).mean())
    assert 0.87 < np.mean(covered) < 0.95
    assert np.mean(naive) < 0.85
    assert np.mean(size) < 2.6


def test_too_few_records_promise_nothing():
    chosen = jackknife.sets(np.zeros((2, 3)), np.zeros((2, 8, 3)), np.full(8, 0.5), 0.9)
    assert not chosen.any()
