"""Calibration by presence pattern: what it recovers, what it leaves alone, and how it is fitted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax import metrics
from fusionjax.calibrate import by_pattern, shown
from fusionjax.calibrate.by_pattern import CANDIDATES, ByPattern
from fusionjax.clinic import world
from fusionjax.log_linear import evidence
from fusionjax.posterior import laplace, observe
from fusionjax.predict import mean_log_prob
from fusionjax.presence import every as all_shown
from fusionjax.presence import patterns as every_pattern

BIAS = np.log(np.array([0.5, 0.3, 0.2]))
PATTERNS = np.asarray(every_pattern(3))
MEANS = np.random.default_rng(7).normal(size=(3, 3, 2))
Records = tuple[np.ndarray, np.ndarray, np.ndarray]


def records(
    n: int,
    seed: int,
    scale: float = 1.0,
    shift: np.ndarray | None = None,
    missing: float = 0.0,
) -> Records:
    """Terms [n, draw, modality, class], presence and labels; evidence is scale · terms + shift.

    Each modality shows two Gaussians given the diagnosis and independent of the others, so that
    its evidence is its log likelihood ratio and the law holds under every pattern.
    """
    rng = np.random.default_rng(seed)
    shift = np.zeros((3, 3)) if shift is None else shift
    presence = rng.random((n, 3)) >= missing
    label = (rng.random(n)[:, None] > np.exp(BIAS).cumsum()[None, :-1]).sum(axis=1)
    found = MEANS[:, label] + rng.normal(size=(3, n, 2))
    own = np.einsum("mkf,mnf->nmk", MEANS, found) - (MEANS**2).sum(axis=2)[None] / 2
    own -= own.mean(axis=2, keepdims=True)
    terms = ((own - shift) / scale)[:, None] * np.array([0.98, 1.0, 1.02])[None, :, None, None]
    return (terms * presence[:, None, :, None]).astype(np.float32), presence, label


def chosen(found: Records, seed: int = 0) -> ByPattern:
    terms, presence, label = found
    under = shown.show(terms, presence, PATTERNS, seed)
    group = np.arange(len(label))
    return by_pattern.choose(under, PATTERNS, presence, label, group, BIAS, 200, seed)[0]


def nll(found: ByPattern, at: Records) -> np.ndarray:
    terms, presence, label = at
    scale = by_pattern.scale_of(found, presence).mean(0)[:, None, None]
    moved = scale * terms.mean(axis=1) + found.shift.mean(0)[None] * presence[:, :, None]
    score = BIAS + moved.sum(axis=1)
    return (
        np.logaddexp.reduce(score, axis=1) - np.take_along_axis(score, label[:, None], axis=1)[:, 0]
    )


def test_rows_weigh_one_a_record_and_half_of_it_as_it_came() -> None:
    terms, presence, _ = records(60, 0, missing=0.4)
    found = shown.show(terms, presence, PATTERNS, 0)
    np.testing.assert_allclose(
        np.bincount(found.record, found.weight, minlength=60), presence.any(axis=1)
    )
    several = presence.sum(axis=1) > 1
    np.testing.assert_allclose(
        found.weight[found.natural], np.where(several, 0.5, 1)[found.record[found.natural]]
    )
    for row in range(len(found.record)):
        here = PATTERNS[found.pattern[row]]
        assert (presence[found.record[row]] >= here).all()
        assert found.natural[row] == (presence[found.record[row]] == here).all()
        expected = terms[found.record[row]][:, here].sum(axis=1)
        np.testing.assert_allclose(found.evidence[row], expected, rtol=1e-5, atol=1e-6)


def test_too_many_rows_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "MOST_ROWS", 200)
    terms, presence, _ = records(60, 0, missing=0.2)
    found = shown.show(terms, presence, PATTERNS, 0)
    assert len(found.record) == 200
    assert found.natural.sum() == presence.any(axis=1).sum()
    np.testing.assert_allclose(
        np.bincount(found.record, found.weight, minlength=60), presence.any(axis=1)
    )


def test_patterns_are_all_of_a_few_modalities_and_the_commonest_of_many() -> None:
    rng = np.random.default_rng(0)
    assert len(shown.known(rng.random((20, 3)) < 0.5)) == 7
    presence = rng.random((500, 8)) < 0.8
    found = shown.known(presence)
    assert len(found) <= shown.MOST_PATTERNS + 8
    assert {tuple(row) for row in np.eye(8, dtype=bool)} <= {tuple(row) for row in found}
    place = shown.index(found, presence)
    assert (found[place[place < len(found)]] == presence[place < len(found)]).all()
    assert (place == len(found)).any()
    assert shown.index(found[:0], presence).tolist() == [0] * 500
    assert shown.spelled(np.array([[True, False]])).tolist() == ["10"]


def test_a_known_distortion_is_recovered_within_its_posterior() -> None:
    shift = np.array([[0.4, -0.2, -0.2], [0.0, 0.0, 0.0], [-0.3, 0.3, 0.0]])
    found = chosen(records(6000, 1, 0.6, shift, missing=0.3))
    assert "intercepts" in found.name
    apart = (found.shift.mean(0) - shift) / found.shift.std(0)
    assert np.abs(apart).max() < 4
    scale = found.scale[:, :-1]
    assert np.abs((scale.mean(0) - 0.6) / scale.std(0)).max() < 4
    assert scale.std(0).max() < 0.06
    # And the test can fail: it knows 1 from 0.6, and 0 from the shift.
    assert np.abs((scale.mean(0) - 1) / scale.std(0)).min() > 4
    assert np.abs(found.shift.mean(0) / found.shift.std(0)).max() > 4


def test_what_is_calibrated_stays_so_however_few_the_records() -> None:
    """On 20,000 new records the loss may rise by what is learned from noise, and no more."""
    new = records(20_000, 99)
    truth = nll(by_pattern.unchanged(3, 3, 1), new)
    for n, most in ((12, 0.03), (40, 0.02), (400, 0.004)):
        worse = [np.mean(nll(chosen(records(n, seed)), new) - truth) for seed in range(6)]
        assert np.mean(worse) < most, (n, worse)
    assert chosen(records(9, 0)).name == "none"
    assert (chosen(records(9, 0)).scale == 1).all()


def test_a_pattern_never_seen_has_the_spread_of_patterns() -> None:
    terms, presence, label = records(300, 2, 0.5)
    under = shown.show(terms, presence, PATTERNS, 0)
    group = np.arange(300)
    found = by_pattern.choose(under, PATTERNS, presence, label, group, BIAS, 400, 0)[0]
    place = shown.index(found.patterns, np.array([[False] * 3]))
    assert place[0] == len(PATTERNS)
    nothing = by_pattern.scale_of(found, np.zeros((1, 3), bool))
    np.testing.assert_array_equal(nothing[:, 0], found.scale[:, -1])
    assert abs(found.scale[:, -1].mean() - found.scale[:, :-1].mean()) < 0.1


@pytest.mark.parametrize("left_alone", [True, False])
def test_whom_a_hospital_sends_to_a_test_is_not_what_the_test_says(
    monkeypatch: pytest.MonkeyPatch, left_alone: bool
) -> None:
    """The sick are sent to modality 0 thrice as often; its evidence is right as it is."""
    if not left_alone:
        jacobian = by_pattern._jacobian
        monkeypatch.setattr(
            by_pattern, "_jacobian", lambda a, b, sent, basis: jacobian(a, b, None, basis)
        )
    terms, presence, label = records(3000, 5)
    rng = np.random.default_rng(0)
    presence[:, 0] = rng.random(3000) < np.array([0.3, 0.3, 0.9])[label]
    terms = terms * presence[:, None, :, None]
    group = np.arange(3000)
    under = shown.show(terms, presence, PATTERNS, 0)
    found, _ = by_pattern.choose(under, PATTERNS, presence, label, group, BIAS, 200, 0)
    assert (np.abs(found.shift.mean(0)).max() < 0.12) == left_alone


def cells(n: int = 80) -> tuple[by_pattern._Cells, np.ndarray]:
    terms, presence, label = records(n, 3, 0.7, missing=0.3)
    under = shown.show(terms, presence, PATTERNS, 0)
    fold = np.random.default_rng(0).integers(5, size=n)[under.record]
    made = by_pattern._cells(under, PATTERNS, presence, label[under.record], fold, BIAS)
    return made, np.random.default_rng(1).normal(size=made.jacobian.shape[2]) * 0.2


def test_the_slope_is_that_of_the_value() -> None:
    made, x = cells()
    _, slope, curvature = by_pattern._pull(made, x)
    for j in range(len(x)):
        step = np.eye(len(x))[j] * 0.02
        ends = [by_pattern._pull(made, x + sign * step)[0] for sign in (1, -1)]
        assert (ends[0] - ends[1]) / 0.04 == pytest.approx(slope.sum(0)[j], abs=0.03)
    assert np.linalg.eigvalsh(curvature.sum(0)).min() > -1e-4


def test_leaving_a_fold_out_by_one_step_is_leaving_it_out() -> None:
    made, _ = cells(400)
    free = CANDIDATES["temperature by pattern and intercepts"]
    fit = by_pattern._fit(made, free)
    quick = by_pattern._left_out(made, fit)
    for k in range(2):
        kept = made.share.multiply((made.fold[: made.rows] != k)[None, :]).tocsr()
        exact = by_pattern._fit(made._replace(share=kept), free)
        np.testing.assert_allclose(quick[k], exact.mean, atol=0.01)
        assert np.abs(quick[k] - fit.mean).max() > 0.02


def test_the_draws_have_the_mean_and_covariance_of_the_posterior() -> None:
    terms, presence, label = records(400, 4, 0.5, missing=0.2)
    under = shown.show(terms, presence, PATTERNS, 0)
    fold = np.zeros(len(under.record), int)
    everyone = np.ones_like(presence)
    made = by_pattern._cells(under, PATTERNS, everyone, label[under.record], fold, BIAS)
    assert "sent" not in made.kind
    fit = by_pattern._fit(made, ("mu",))
    scale, shift = by_pattern._drawn(fit, made, PATTERNS, 4000, 0)
    assert not shift.any()
    assert np.log(scale[:, 0]).mean() == pytest.approx(fit.mean[0], abs=1e-5)
    assert np.log(scale[:, 0]).std() == pytest.approx(fit.root[0, 0], rel=0.05)
    np.testing.assert_array_equal(scale[:, 0], scale[:, 3])


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_on_the_clinic_every_pattern_is_within_one_percent_of_the_truth(missing: float) -> None:
    """With 14,400 patients shown by their findings; evidence half as large again is far outside."""
    law = world.make(world.Dials(missing=missing))
    parts = [world.sample(np.random.default_rng(s), law, n) for s, n in enumerate((10800, 3600))]
    train, valid, new = *parts, world.sample(np.random.default_rng(2), law, 8000)
    counts = np.bincount(train.label, minlength=4) + 1
    bias = jnp.asarray(np.log(counts / counts.sum()), jnp.float32)
    both = all_shown(train.presence)
    rows = observe(
        tuple(f[both.index] for f in findings(train)),
        both.presence,
        jnp.asarray(train.label)[both.index],
        4,
        both.weight,
    )
    theta = laplace.fit(jax.random.key(0), rows, bias, draws=200).theta
    loud = tuple(1.5 * t for t in theta)
    every = np.asarray(every_pattern(4))
    at = (findings(valid), jnp.asarray(valid.presence))
    for draws, fails in ((theta, False), (loud, True)):
        terms = jax.vmap(evidence, in_axes=(0, None, None))(tuple(t[::8] for t in draws), *at)
        under = shown.show(np.moveaxis(np.asarray(terms), 0, 1), valid.presence, every, 0)
        found, _ = by_pattern.choose(
            under,
            every,
            valid.presence,
            valid.label,
            np.arange(len(valid.label)),
            np.asarray(bias),
            200,
            0,
        )
        plain = by_pattern.unchanged(4, 4, 200)
        before, after = (gaps(one, draws, bias, new, law, every) for one in (plain, found))
        assert max(after) < 0.0105
        assert (max(before) > 0.03) == fails


def findings(cohort: world.Cohort) -> tuple[jax.Array, ...]:
    return tuple(
        jnp.asarray(np.c_[np.ones(len(z)), world.statistics(i, z)], jnp.float32)
        for i, z in enumerate(cohort.findings)
    )


def gaps(
    found: ByPattern,
    theta: tuple[jax.Array, ...],
    bias: jax.Array,
    new: world.Cohort,
    law: world.World,
    every: np.ndarray,
) -> list[float]:
    """The calibration error to the truth under each pattern, less what noise adds."""
    errors = []
    for only in every:
        rows = np.flatnonzero(new.presence[:, only].all(axis=1))
        presence = np.tile(only, (len(rows), 1))
        log_prob = mean_log_prob(
            theta,
            bias,
            tuple(f[rows] for f in findings(new)),
            jnp.asarray(presence),
            jnp.asarray(by_pattern.scale_of(found, presence)),
            jnp.asarray(found.shift),
        )
        true = np.exp(world.truth(law, new, np.flatnonzero(only).tolist()))[rows]
        errors.append(metrics.gap_to_truth(np.exp(np.asarray(log_prob, float)), true).value)
    return errors
