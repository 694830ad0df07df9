"""Sums that are added: the metrics of the whole, whatever the shards, with honest intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionjax import metrics
from fusionjax.metrics import streaming
from tests.test_metrics import world


def whole(prob, label):
    loss = (prob.argmax(axis=1) != label).astype(float)
    confidence = prob.max(axis=1)
    return {
        **{name: float(metric(prob, label)) for name, metric in metrics.METRICS.items()},
        "auprc": float(metrics.auprc(prob, label)),
        "spiegelhalter_z": metrics.spiegelhalter(prob, label).statistic,
        "aurc": float(metrics.aurc(confidence, loss)),
        "augrc": float(metrics.augrc(confidence, loss)),
    }


@pytest.mark.parametrize("sharpen", [1.0, 2.5])
def test_streamed_metrics_are_those_of_all_records(sharpen):
    prob, label = world(np.random.default_rng(0), 20_000, sharpen=sharpen)
    bucket = np.arange(20_000) % streaming.BUCKETS
    got = streaming.summarise(streaming.collect(prob, label, bucket))
    expected = whole(prob, label)
    assert set(got) == set(expected)
    exact = ("accuracy", "balanced_accuracy", "nll", "brier", "spiegelhalter_z")
    for name, value in expected.items():
        tolerance = {"rel": 1e-9} if name in exact else {"abs": 0.004 if name == "ece" else 5e-4}
        assert got[name].value == pytest.approx(value, **tolerance), name


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_shards_in_any_order_give_the_same_sums(seed, cuts):
    rng = np.random.default_rng(seed)
    prob, label = world(rng, 200)
    bucket = rng.integers(0, streaming.BUCKETS, 200)
    parts = np.split(np.arange(200), np.sort(cuts))
    shards = [streaming.collect(prob[p], label[p], bucket[p]) for p in parts]
    order = rng.permutation(len(shards))
    merged = streaming.merge(streaming.empty(3), *(shards[i] for i in order))
    together = streaming.collect(prob, label, bucket)
    for got, expected in zip(merged, together, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_masked_records_are_absent_whatever_they_hold():
    prob, label = world(np.random.default_rng(1), 50)
    bucket, mask = np.arange(50) % 7, np.arange(50) < 30
    hostile = np.where(mask[:, None], prob, np.nan)
    got = streaming.collect(hostile, np.where(mask, label, -1), bucket, mask)
    for one, other in zip(got, streaming.collect(prob[:30], label[:30], bucket[:30]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_records_and_one_class_are_nan_where_undefined():
    nothing = streaming.summarise(streaming.empty(3))
    assert all(np.isnan(estimate.value) for estimate in nothing.values())
    prob = np.tile([0.7, 0.3], (100, 1))
    one = streaming.collect(prob, np.zeros(100, int), np.arange(100) % 50)
    found = streaming.summarise(one)
    assert np.isnan(found["auroc"].value)
    assert found["nll"].value == pytest.approx(-np.log(0.7))


def test_intervals_are_patient_level():
    """Nine copies of each record: the jackknife over patients is not fooled."""
    prob, label = world(np.random.default_rng(2), 3000)
    copies = np.repeat(np.arange(3000), 9)
    once, nine = (
        streaming.summarise(streaming.collect(prob[rows], label[rows], rows % 50))["nll"]
        for rows in (np.arange(3000), copies)
    )
    assert nine.value == pytest.approx(once.value)
    assert nine.high - nine.low == pytest.approx(once.high - once.low)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    target = whole(*world(np.random.default_rng(3), 400_000, sharpen=1.4))
    rng, covered = np.random.default_rng(4), dict.fromkeys(streaming.METRICS, 0)
    for _ in range(60):
        prob, label = world(rng, 5000, sharpen=1.4)
        got = streaming.summarise(streaming.collect(prob, label, rng.integers(0, 50, 5000)))
        for name in covered:
            covered[name] += got[name].low <= target[name] <= got[name].high
    covered.pop("spiegelhalter_z")  # grows with the records: no value to cover
    assert all(51 <= hits <= 60 for hits in covered.values()), covered


def test_buckets_are_even_for_poor_hashes():
    for hashed in (np.arange(50_000), np.arange(50_000) << 32):
        count = np.bincount(streaming.buckets(hashed.astype(np.uint64)), minlength=50)
        assert count.min() > 700
        assert count.max() < 1300


def test_the_reliability_diagram_is_that_of_all_records():
    prob, label = world(np.random.default_rng(5), 50_000, sharpen=1.5)
    confidence, share, count = streaming.reliability(
        streaming.collect(prob, label, np.arange(50_000) % 50)
    )
    curve = metrics.reliability_curve(prob, label)
    assert count.sum() == 50_000
    np.testing.assert_allclose(confidence, curve.confidence, atol=0.01)
    np.testing.assert_allclose(share, curve.accuracy, atol=0.02)
