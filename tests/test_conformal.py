"""Prediction sets keep their promise, and say when none can be made."""

import numpy as np
from scipy import stats

from fusionjax import conformal


def test_coverage_follows_the_beta_law() -> None:
    rng, n, splits = np.random.default_rng(0), 99, 1000
    covered = np.empty(splits)
    for split in range(splits):
        prob = rng.dirichlet(np.ones(4), size=2 * n)
        label = (prob.cumsum(axis=1) > rng.random((2 * n, 1))).argmax(axis=1)
        # Wrong on purpose: the promise does not need calibrated probabilities.
        prob = prob**2 / (prob**2).sum(axis=1, keepdims=True)
        least = conformal.threshold(prob[:n], label[:n], 0.9)
        score = prob[n:][np.arange(n), label[n:]]
        covered[split] = np.mean(score >= least - 1e-12)
    law = stats.betabinom(n, 90, 10)
    assert abs(covered.mean() - law.mean() / n) < 4 * law.std() / n / np.sqrt(splits)
    assert 0.9 < covered.std() / (law.std() / n) < 1.1


def test_too_few_records_promise_nothing_short_of_every_class() -> None:
    prob = np.array([[0.9, 0.1]] * 8)
    assert conformal.threshold(prob, np.zeros(8, int), 0.9) == 0.0
    assert conformal.sets(prob, 0.0).all()


def test_the_likeliest_class_is_always_in_the_set() -> None:
    prob = np.array([[0.4, 0.35, 0.25]])
    np.testing.assert_array_equal(conformal.sets(prob, 0.99), [[True, False, False]])
