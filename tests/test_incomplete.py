"""The benchmark's protocol and experts: what is spoilt is what was said, and nothing else."""

import numpy as np
import pytest

from benchmarks.gaps import experts
from benchmarks.gaps.conflict import SIGMA, spoil
from benchmarks.gaps.handlers import aurc

ROWS, CLASSES = 200, 4


def views(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return tuple(rng.random((ROWS, width)) for width in (3, 5, 2))


def test_the_protocol_spoils_the_stated_share_from_other_classes_of_the_same_records() -> None:
    rng = np.random.default_rng(0)
    own, label = views(rng), rng.integers(CLASSES, size=ROWS)
    shown = spoil(rng, own, label)
    assert shown.swapped.sum() == 0.4 * ROWS
    assert (shown.swapped.sum(axis=1) <= 1).all()
    assert not (shown.swapped & shown.noisy).any()
    assert shown.noisy.any(axis=1).sum() <= 0.1 * ROWS
    assert (~shown.noisy).any(axis=1).all(), "one view at least is left alone"
    for v, (before, after) in enumerate(zip(own, shown.views, strict=True)):
        touched = shown.swapped[:, v] | shown.noisy[:, v]
        np.testing.assert_array_equal(before[~touched], after[~touched])
        for row in np.flatnonzero(shown.swapped[:, v]):
            (donor,) = np.flatnonzero((before == after[row]).all(axis=1))
            assert label[donor] != label[row]


def test_noise_has_the_stated_deviation() -> None:
    rng = np.random.default_rng(1)
    own = (np.zeros((4000, 30)), np.zeros((4000, 30)))
    shown = spoil(rng, own, rng.integers(2, size=4000))
    added = np.concatenate([v[shown.noisy[:, i]] for i, v in enumerate(shown.views)])
    assert added.std() == pytest.approx(SIGMA, rel=0.03)


def test_experts_learn_and_say_little_of_what_looks_like_nothing_they_saw() -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(CLASSES, size=400)
    x = np.eye(CLASSES)[label] + 0.2 * rng.normal(size=(400, CLASSES))
    own, far = experts.scaled(x[:300], x[300:] + 50.0)
    new = experts.scaled(x[:300], x[300:])[1]
    bias = np.log(np.bincount(label[:300], minlength=CLASSES) / 300).astype(np.float32)
    ψ = experts.kernel(own, "plain", 50, 0)
    weight = experts.weights(ψ(own), label[:300], bias, 1e-4, np.ones(300, bool))
    said = experts.log_prob(ψ(new), weight, bias)
    assert (said.argmax(axis=1) == label[300:]).mean() > 0.95
    nothing = np.exp(experts.log_prob(ψ(far), weight, bias))
    assert nothing.max() < 0.9
    assert np.exp(said).max(axis=1).mean() > nothing.max(axis=1).mean() + 0.1


def test_aurc_is_the_mean_error_over_coverages() -> None:
    prob = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    assert aurc(prob, np.array([0, 0, 0, 0])) == 0
    assert aurc(prob, np.array([0, 0, 0, 1])) == pytest.approx(0.25 / 4)
    assert aurc(prob, np.array([1, 0, 0, 0])) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
