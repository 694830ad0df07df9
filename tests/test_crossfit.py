"""Members that never see their own fold, their mixture, and what θ observes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from fusionjax import crossfit
from fusionjax.posterior import Certificate, Observations, Posterior, newton
from fusionjax.predict import predictive
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


def test_an_untrained_stack_is_one_member_that_has_seen_nobody(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossfit, "theta", lambda *_: posterior(0))
    study, config = small.study, replace(CONFIG, projection=16)
    stack = crossfit.stack_of(study, ("linear", "linear"), config)
    (fold,) = crossfit.folds(study, stack, small.fitted.model.bias, config, None, None)
    assert fold.training is None
    assert not len(fold.seen)
    np.testing.assert_array_equal(fold.unseen, study.split.train)


CERTIFICATE = Certificate("laplace", True, None, None, None, None, None, 0.3, 7, 1.0, ("a",))


def posterior(seed: int, draws: int = 30) -> Posterior:
    rng = np.random.default_rng(seed)
    theta = tuple(jnp.asarray(rng.normal(size=(draws, 3, p)), jnp.float32) for p in (4, 2))
    return Posterior(theta, jnp.ones((draws, 2)), CERTIFICATE)


def test_the_mixture_predicts_the_mean_of_its_members() -> None:
    members = tuple(map(posterior, range(3)))
    rng = np.random.default_rng(9)
    features = [
        tuple(jnp.asarray(rng.normal(size=(8, p)), jnp.float32) for p in (4, 2)) for _ in members
    ]
    presence, bias = jnp.asarray(rng.random((8, 2)) < 0.7), jnp.log(jnp.array([0.5, 0.3, 0.2]))
    joint = tuple(jnp.concatenate(each, axis=1) for each in zip(*features, strict=True))
    got = predictive(crossfit.mixture(members).theta, bias, joint, presence)
    each = [predictive(m.theta, bias, f, presence) for m, f in zip(members, features, strict=True)]
    np.testing.assert_allclose(got.prob, np.mean([e.prob for e in each], axis=0), atol=1e-6)
    mean = np.mean([e.evidence_mean for e in each], axis=0)
    np.testing.assert_allclose(got.evidence_mean, mean, atol=1e-5)


def test_the_certificate_of_a_mixture_is_that_of_its_worst_member() -> None:
    bad = CERTIFICATE._replace(ok=False, k_hat=0.9, notes=("b",))
    members = (posterior(0), posterior(1)._replace(certificate=bad))
    found = crossfit.mixture(members).certificate
    assert not found.ok
    assert found.k_hat == 0.9
    assert found.r_hat is None
    assert (found.likelihood_evaluations, found.seconds) == (14, 2.0)
    assert found.notes == ("fold 1: a", "fold 2: b")
    assert crossfit.mixture(members[:1]) is members[0]


@pytest.fixture(scope="module")
def seen(small: Small) -> Observations:
    stack = crossfit.stack_of(small.study, ENCODERS, CONFIG)
    fold = small.fitted.folds[0]
    return crossfit.observe(small.study, stack, fold.member, fold.unseen, seed=0)


def test_a_record_counts_once_however_often_it_is_shown(small: Small, seen: Observations) -> None:
    rows = small.fitted.folds[0].unseen
    assert len(seen.weight) % 256 == 0
    assert float(seen.weight.sum()) == pytest.approx(len(rows))
    counts = np.bincount(small.study.label[rows], minlength=3)
    np.testing.assert_allclose(seen.weight @ seen.onehot, counts, rtol=1e-6)


def test_padding_has_weight_0_and_nothing_present(small: Small, seen: Observations) -> None:
    used = 2 * len(small.fitted.folds[0].unseen)
    assert (np.asarray(seen.weight[:used]) > 0).all()
    for leaf in jax.tree.leaves(seen):
        assert not np.asarray(leaf[used:]).any()


def test_padding_changes_neither_mode_nor_mean(small: Small, seen: Observations) -> None:
    used = 2 * len(small.fitted.folds[0].unseen)
    bias = small.fitted.model.bias

    def fit(observations: Observations) -> tuple[Array, Array]:
        with jax.enable_x64(True):
            exact, exact_bias = newton.double((observations, bias))
            tau = jnp.array([0.7, 1.3])
            mode = newton.solve(tau, exact, exact_bias)
            return mode.z, newton.mean(mode, tau, exact, exact_bias)

    for got, expected in zip(
        fit(seen), fit(jax.tree.map(lambda leaf: leaf[:used], seen)), strict=True
    ):
        np.testing.assert_allclose(got, expected, atol=1e-9)
