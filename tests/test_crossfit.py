"""Members that never see their own fold, what their features mean, and what θ observes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax import crossfit
from fusionjax.model import mapped
from fusionjax.posterior import laplace, observe
from fusionjax.presence import every
from fusionjax.study import ordered
from tests.small_study import CONFIG, ENCODERS, Small


def test_no_patient_is_both_seen_and_unseen(small: Small) -> None:
    study = small.study
    for fold in small.fitted.folds:
        assert not np.intersect1d(study.group[fold.seen], study.group[fold.unseen]).size
        both = np.concatenate([fold.seen, fold.unseen])
        np.testing.assert_array_equal(np.sort(both), study.split.train)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_folds_cover_the_training_records_once(small: Small, count: int) -> None:
    study, rows = small.study, small.study.split.train
    parts = crossfit._divide(study, rows, replace(CONFIG, folds=count))
    assert len(parts) == count
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), rows)
    sizes = [np.bincount(study.label[part], minlength=3) for part in parts]
    assert np.ptp(sizes, axis=0).max() <= 2 * 2, "two records a patient, stratified by label"


def test_an_untrained_stack_is_one_member_that_has_seen_nobody(small: Small) -> None:
    study, config = small.study, replace(CONFIG, projection=16)
    stack = crossfit.stack_of(study, ("linear", "linear"), config)
    (fold,) = crossfit.folds(study, stack, small.fitted.model.bias, config, None, None)
    assert fold.training is None
    assert not len(fold.seen)
    np.testing.assert_array_equal(fold.unseen, study.split.train)


def test_members_mean_the_same_by_their_features(small: Small) -> None:
    """Class evidence in one unit: what one member says of a class, so does the other."""
    study, model = small.study, small.fitted.model
    stack = crossfit.stack_of(study, ENCODERS, CONFIG)
    batch = next(iter(ordered(study, study.split.train)))
    one, two = (mapped(stack, member, batch.inputs) for member in model.members)
    for first, second, here in zip(one, two, batch.presence.T, strict=True):
        assert first.shape[1] == len(study.card.classes)
        for a, b in zip(first[here, 1:].T, second[here, 1:].T, strict=True):
            assert np.corrcoef(a, b)[0, 1] > 0.5


def test_evidence_is_thetas_in_zero_sum_coordinates() -> None:
    rng = np.random.default_rng(0)
    values, theta = rng.normal(size=(50, 6)), rng.normal(size=(4, 6))
    found = crossfit._evidence(values.astype(np.float32), theta.astype(np.float32))
    mapped = (values - np.asarray(found.shift)) @ np.asarray(found.matrix)
    scores = (values - values.mean(0)) @ (theta - theta.mean(0)).T
    apart = np.linalg.norm(scores[:, None] - scores[None, :], axis=2)
    kept = np.linalg.norm(mapped[:, None] - mapped[None, :], axis=2)
    np.testing.assert_allclose(kept * apart[0, 1] / kept[0, 1], apart, rtol=1e-3, atol=1e-4)
    assert np.mean(mapped**2) == pytest.approx(1.0, rel=1e-4)


def test_theta_is_shown_each_record_by_the_member_that_did_not_see_it(small: Small) -> None:
    study, parts = small.study, small.fitted.folds
    stack = crossfit.stack_of(study, ENCODERS, CONFIG)
    for seen in (False, True):
        rows = [fold.unseen for fold in (parts[::-1] if seen else parts)]
        found, _ = crossfit.observe(study, stack, parts, 0, seen=seen)
        expected, _ = crossfit._read(study, stack, parts[0].member, rows[0])
        here = np.asarray(found.presence[: len(rows[0])])
        for got, vector, there in zip(found.features, expected, here.T, strict=True):
            np.testing.assert_array_equal(got[: len(rows[0])], np.where(there[:, None], vector, 0))


def test_a_record_counts_once_however_often_it_is_shown(small: Small) -> None:
    study, rows = small.study, small.study.split.train
    stack = crossfit.stack_of(study, ENCODERS, CONFIG)
    shown, _ = crossfit.observe(study, stack, small.fitted.folds, 0)
    assert float(shown.weight.sum()) == pytest.approx(len(rows))
    counts = np.bincount(study.label[rows], minlength=3)
    weight, onehot = (np.asarray(each, float) for each in (shown.weight, shown.onehot))
    np.testing.assert_allclose(weight @ onehot, counts, rtol=1e-6)


def test_whom_a_hospital_sends_is_told_apart_from_what_the_test_says() -> None:
    """A modality that says nothing, taken of the sick: its intercept takes that for evidence."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=600)
    here = np.c_[np.ones(600, bool), rng.random(600) < np.where(label == 1, 0.8, 0.2)]
    shown = every(here)
    index = np.asarray(shown.index)
    one = np.c_[np.ones(600), rng.normal(size=600)].astype(np.float32)[index]
    rows = observe(
        (jnp.asarray(one),) * 2, shown.presence, jnp.asarray(label[index]), 2, shown.weight
    )
    apart = crossfit.with_sent(rows, index)
    assert apart.features[2].shape == (len(index), 3)
    intercepts = []
    for seen in (rows, apart):
        found = laplace.fit(jax.random.key(0), seen, jnp.log(jnp.array([0.5, 0.5])), draws=400)
        own = crossfit.without_sent(found, 2)
        assert len(own.theta) == own.tau.shape[1] == 2
        intercepts.append(float(own.theta[1][:, 1, 0].mean()))
    assert intercepts[0] > 0.1
    assert abs(intercepts[1]) < 0.5 * intercepts[0]
    everyone = rows._replace(presence=jnp.ones_like(rows.presence))
    assert crossfit.with_sent(everyone, index) is everyone
