"""Triage and abstention: the rules in order, and Chow's rule where costs are equal."""

import numpy as np
import pytest
from scipy.stats import kstest

from fusionjax import triage
from fusionjax.triage import ACCEPT, ACQUIRE, LOOK_AGAIN, REFER


def patient(**changed):
    """A patient without doubts, some of whose values are changed."""
    plain = {
        "total": 0.1,
        "epistemic": 0.01,
        "reliable": [0.9, 0.9, np.nan],
        "presence": [True, True, False],
        "gain": [np.nan, np.nan, 0.3],
        "far": 0.5,
    } | changed
    return {name: np.array([value]) for name, value in plain.items()}


@pytest.mark.parametrize(
    ("changed", "action", "modality"),
    [
        ({}, ACCEPT, -1),
        ({"total": 0.9}, ACQUIRE, 2),
        ({"total": 0.9, "gain": [np.nan, np.nan, 0.05]}, REFER, -1),
        ({"total": 0.9, "presence": [True, True, True]}, REFER, -1),
        ({"reliable": [0.9, 0.2, np.nan]}, LOOK_AGAIN, -1),
        ({"reliable": [0.9, 0.9, 0.0]}, ACCEPT, -1),
        ({"reliable": [0.9, 0.2, np.nan], "far": 1.0}, REFER, -1),
        ({"epistemic": 0.5}, REFER, -1),
        ({"far": np.nan}, ACCEPT, -1),
        ({"total": np.nan, "gain": [np.nan] * 3}, REFER, -1),
    ],
)
def test_the_first_doubt_that_applies_decides(changed, action, modality):
    found = triage.triage(**patient(**changed))
    assert (found.action[0], found.modality[0]) == (action, modality)
    assert triage.ACTIONS[found.action[0]]


def test_the_gain_is_the_difference_of_two_patterns():
    patterns = np.array([[True, True], [True, False], [False, True]])
    gain = triage.acquisition_gain(
        np.array([[True, False], [False, True], [True, True], [False, False]]),
        patterns,
        np.array([0.4, 0.7, 0.5]),
    )
    expected = [[np.nan, 0.3], [0.1, np.nan], [np.nan, np.nan], [np.nan, np.nan]]
    np.testing.assert_allclose(gain, expected)


def test_shares_and_conflict():
    nats = np.array([[2.0, -1.0, np.nan], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(triage.shares(nats), [[2 / 3, 1 / 3, 0], [0, 0, 0]])
    np.testing.assert_allclose(triage.conflict(nats), [1, 0])


def test_equal_costs_are_chows_rule():
    rng = np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(3), 200)
    decided = triage.cheapest(prob, 1 - np.eye(3), 0.3)
    refer = 1 - prob.max(axis=1) > 0.3
    np.testing.assert_array_equal(decided, np.where(refer, -1, prob.argmax(axis=1)))


def test_abstaining_at_the_cheapest_beats_every_other_threshold_on_calibrated_patients():
    rng = np.random.default_rng(1)
    prob = rng.dirichlet(np.ones(2), 20_000)
    label = (rng.random(20_000) > prob[:, 0]).astype(int)
    cost = np.array([[0.0, 1.0], [5.0, 0.0]])  # to miss class 1 is five times as dear
    paid = triage.mean_cost(triage.cheapest(prob, cost, 0.4), label, cost, 0.4)
    for other in (0.0, 0.2, 0.8, 5.0):
        decided = triage.cheapest(prob, cost, other)
        assert paid < triage.mean_cost(decided, label, cost, 0.4)
    assert np.isnan(triage.mean_cost(np.zeros(0, int), np.zeros(0, int), cost, 0.4))


def test_far_records_are_found():
    rng = np.random.default_rng(2)
    mix = rng.normal(size=(5, 5))
    distance = triage.fit_distance(rng.normal(size=(400, 5)) @ mix)
    near = triage.farness(distance, rng.normal(size=(400, 5)) @ mix)
    far = triage.farness(distance, (rng.normal(size=(50, 5)) + 4) @ mix)
    assert abs(near.mean() - 0.5) < 0.08
    assert (far > 0.99).mean() > 0.9


def test_half_of_new_records_are_farther_than_half_of_few_training_records():
    """In 20 dimensions 60 records seem nearer to their own mean than new ones do."""
    rng = np.random.default_rng(3)
    share = []
    for _ in range(60):
        distance = triage.fit_distance(rng.normal(size=(60, 20)))
        share.append(triage.farness(distance, rng.normal(size=(200, 20))).mean())
    assert abs(np.mean(share) - 0.5) < 0.1
    assert np.isnan(triage.farness(triage.fit_distance(np.zeros((9, 2))), np.zeros((3, 2)))).all()


def test_one_share_for_all_modalities_is_uniform_where_each_is():
    rng = np.random.default_rng(4)
    far = rng.random((4000, 3))
    far[:1000, 2] = np.nan
    far[0] = np.nan
    found = triage.farthest(far)
    assert np.isnan(found[0])
    for part in (found[1:1000], found[1000:]):
        assert kstest(part, "uniform").pvalue > 0.01
    assert kstest(np.nanmax(far[1:], axis=1), "uniform").pvalue < 1e-6


def test_what_stands_in_a_missing_modality_is_not_measured():
    distance = triage.fit_distance(np.random.default_rng(5).normal(size=(50, 2)))
    features = (np.array([[0.1, 0.2], [np.nan, np.inf]]),)
    far = triage.each_farness((distance,), features, np.array([[True], [False]]))
    assert np.isfinite(far[0, 0])
    assert np.isnan(far[1, 0])


def test_nearest_cases_by_brute_force():
    rng = np.random.default_rng(6)
    cases = triage.Cases(
        tuple(f"c{i}" for i in range(40)), rng.random((40, 3)) < 0.7, rng.normal(size=(40, 3, 2))
    )
    presence, evidence = rng.random((15, 3)) < 0.7, rng.normal(size=(15, 3, 2))
    presence[0] = False
    evidence[~presence] = np.nan
    found = triage.nearest(cases, presence, evidence)
    for n in range(15):
        keys = []
        for i in range(40):
            both = presence[n] & cases.presence[i]
            apart = ((evidence[n, both] - cases.evidence[i, both]) ** 2).sum()
            keys.append((-both.sum(), apart, i))
        expected = [i if shared < 0 else -1 for shared, _, i in sorted(keys)[:5]]
        assert found[n].tolist() == expected
    assert (triage.nearest(None, presence, evidence) == -1).all()
