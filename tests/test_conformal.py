"""Prediction sets keep their promise, also within strata, and say when none can be made."""

import numpy as np
import pytest
from scipy import stats

from fusionjax import conformal
from fusionjax.errors import FusionError

SPLITS = 1000


def world(rng, n, classes=4, sharpen=2.0):
    """Probabilities that are wrong on purpose: the promise needs no calibrated ones."""
    true = rng.dirichlet(np.ones(classes), size=n)
    label = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    prob = true**sharpen
    return prob / prob.sum(axis=1, keepdims=True), label


def scored(kind, prob, rng):
    if kind == "lac":
        return conformal.lac(prob)
    return getattr(conformal, kind)(prob, rng.random(len(prob)))


def held_in(chosen, label):
    return chosen[np.arange(len(label)), label]


def follows(covered, calibration, test, coverage=0.9):
    """Whether shares covered over SPLITS splits have the beta-binomial law's mean and spread."""
    k = int(np.ceil((calibration + 1) * coverage - 1e-9))
    law = stats.betabinom(test, k, calibration + 1 - k)
    gap = (covered.mean() - law.mean() / test) / (law.std() / test / len(covered) ** 0.5)
    return abs(gap) < 4 and 0.9 < covered.std() / (law.std() / test) < 1.1


@pytest.mark.parametrize("kind", ["lac", "aps", "raps"])
def test_coverage_follows_the_beta_law(kind):
    rng, n, covered, loose = np.random.default_rng(0), 99, [], []
    for _ in range(SPLITS):
        prob, label = world(rng, 2 * n)
        score = scored(kind, prob, rng)
        own = conformal.of_label(score, label)
        for shares, most in (
            (covered, conformal.limit(own[:n], 0.9)),
            # The quantile of n rather than n + 1 records: what the law must tell apart.
            (loose, np.sort(own[:n])[int(0.9 * n) - 2]),
        ):
            shares.append((own[n:] <= most).mean())
    assert follows(np.array(covered), n, n)
    assert not follows(np.array(loose), n, n)


def strata(rng, sizes):
    """Strata of unequal difficulty, so that one limit for all would cover them unequally."""
    parts = [
        world(rng, n, sharpen=s) for n, s in zip(sizes, (1.0, 4.0, 2.0, 2.0, 3.0), strict=True)
    ]
    prob, label = (np.concatenate(each) for each in zip(*parts, strict=True))
    return prob, label, np.repeat(["a", "b", "c", "d", "e"], sizes)


def test_each_stratum_is_covered_and_small_ones_together():
    rng, sizes = np.random.default_rng(2), (99, 99, 20, 20, 19)
    shares = {name: [] for name in ("a", "b", "small", "b by all")}
    for _ in range(SPLITS):
        prob, label, stratum = strata(rng, sizes)
        asked, truth, where = strata(rng, sizes)
        own = conformal.of_label(conformal.lac(prob), label)
        limits = conformal.by_stratum(own, stratum, 0.9)
        assert limits.pooled == ("c", "d", "e")
        most = conformal.limits_of(limits, where)
        held = conformal.of_label(conformal.lac(asked), truth) <= most
        for name in ("a", "b"):
            shares[name].append(held[where == name].mean())
        shares["small"].append(held[np.isin(where, limits.pooled)].mean())
        by_all = conformal.of_label(conformal.lac(asked), truth) <= limits.everyone
        shares["b by all"].append(by_all[where == "b"].mean())
    assert follows(np.array(shares["a"]), 99, 99)
    assert follows(np.array(shares["b"]), 99, 99)
    assert np.mean(shares["small"]) == pytest.approx(0.9, abs=0.01)
    assert np.mean(shares["b by all"]) < 0.87, "one limit for all would have done"


def test_each_class_is_covered_the_rare_one_too():
    rng, covered = np.random.default_rng(3), []
    for _ in range(SPLITS):
        prob, label = world(rng, 800, classes=3)
        keep = (label > 0) | (rng.random(800) < 0.35)
        prob, label = prob[keep], label[keep]
        fit, test = slice(0, 300), slice(300, None)
        score = conformal.lac(prob)
        most = conformal.by_class(score[fit], label[fit], 0.9, fewest=20)
        held = score[test][np.arange(len(label[test])), label[test]] <= most[label[test]]
        covered.append([held[label[test] == k].mean() for k in range(3)])
    share, error = np.mean(covered, axis=0), np.std(covered, axis=0) / SPLITS**0.5
    assert (share > 0.9 - 4 * error).all()
    assert (share < 0.93).all()


def test_a_class_too_rare_for_a_promise_is_given_none():
    """Of 300 records 3 % have it: the limit of all would leave nearly all of them out."""
    rng, shares = np.random.default_rng(9), []
    for _ in range(200):
        label = np.repeat([0, 1], [291, 9])
        score = np.stack([rng.random(300), 1 + rng.random(300)], axis=1)
        most = conformal.by_class(score, label, 0.9)
        shares.append((1 + rng.random(100) <= most[1]).mean())
        assert np.isnan(conformal.by_class(score[:-1], label[:-1], 0.9)[1])
        assert np.isnan(conformal.by_class(np.c_[score, score[:, :1]], label, 0.9)[2])
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)
    assert conformal.limit(conformal.of_label(score, label), 0.9) < 1
    with pytest.raises(FusionError, match="too few"):
        conformal.members_by_class(score, conformal.by_class(score[:-1], label[:-1], 0.9))


def test_weights_restore_coverage_under_covariate_shift_and_no_weights_do_not():
    """x ~ N(0, 1) at calibration, N(0.8, 1) at test; the ratio of densities is known."""
    rng, plain, weighted = np.random.default_rng(4), [], []
    for _ in range(SPLITS):
        x, new = rng.normal(size=200), rng.normal(0.8, 1, size=100)
        own, asked = (np.abs(at + 1.5) * rng.exponential(size=len(at)) for at in (x, new))
        ratio, its = (np.exp(0.8 * at - 0.32) for at in (x, new))
        most = conformal.weighted_limit(own, ratio, its, 0.9)
        weighted.append(np.mean(~(asked > most)))
        plain.append(np.mean(asked <= conformal.limit(own, 0.9)))
    assert np.mean(plain) < 0.86
    assert 0.9 - 4 * np.std(weighted) / SPLITS**0.5 < np.mean(weighted) < 0.92


def test_equal_weights_are_no_weights():
    own = np.random.default_rng(5).random(50)
    got = conformal.weighted_limit(own, np.full(50, 3.0), np.full(4, 3.0), 0.9)
    np.testing.assert_allclose(got, conformal.limit(own, 0.9))
    heavy = conformal.weighted_limit(own, np.ones(50), np.array([1e6]), 0.9)
    assert np.isnan(heavy).all()


@pytest.mark.parametrize(("coverage", "fewest"), [(0.9, 9), (0.95, 19), (0.5, 1), (0.99, 99)])
def test_the_smallest_number_that_can_promise(coverage, fewest):
    assert conformal.smallest(coverage) == fewest
    own = np.random.default_rng(6).random(fewest)
    assert conformal.limit(own, coverage) == own.max()
    assert np.isnan(conformal.limit(own[1:], coverage))


def test_too_few_records_promise_nothing_and_say_so():
    prob = np.array([[0.9, 0.1]] * 8)
    limits = conformal.by_stratum(np.zeros(8), np.repeat("x", 8), 0.9)
    assert limits.limit == {"x": None}
    assert limits.marginal == ("x",)
    assert not conformal.members(
        conformal.lac(prob), conformal.limits_of(limits, np.repeat("x", 8))
    ).any()
    with pytest.raises(FusionError, match="too few"):
        conformal.members_by_class(conformal.lac(prob), np.array([0.5, np.nan]))


def test_a_stratum_too_small_even_with_others_has_the_limit_of_all():
    rng = np.random.default_rng(7)
    own, stratum = rng.random(120), np.repeat(["big", "tiny"], (110, 10))
    limits = conformal.by_stratum(own, stratum, 0.9)
    assert limits.marginal == ("tiny",)
    assert limits.limit["tiny"] == limits.everyone == conformal.limit(own, 0.9)
    assert limits.limit["big"] == conformal.limit(own[:110], 0.9)
    np.testing.assert_array_equal(
        conformal.limits_of(limits, np.array(["never seen"])), [limits.everyone]
    )


def test_aps_and_raps_in_closed_form():
    prob = np.array([[0.2, 0.5, 0.3]])
    np.testing.assert_allclose(conformal.aps(prob, np.array([0.5])), [[0.9, 0.25, 0.65]])
    np.testing.assert_allclose(conformal.aps(prob, np.array([1.0])), [[1.0, 0.5, 0.8]])
    np.testing.assert_allclose(
        conformal.raps(prob, np.array([1.0]), penalty=0.1, free=1), [[1.2, 0.5, 0.9]]
    )


def test_sets_are_never_empty_where_something_is_promised():
    prob = np.array([[0.4, 0.35, 0.25]])
    chosen = conformal.members(conformal.lac(prob), np.array([0.0]))
    np.testing.assert_array_equal(chosen, [[True, False, False]])


@pytest.mark.parametrize("sharpen", [1.0, 12.0])
def test_sets_keep_their_promise_also_of_a_model_that_is_right_more_often(sharpen):
    rng, n, shares, right = np.random.default_rng(10), 99, [], []
    for _ in range(SPLITS):
        score = sharpen * rng.normal(size=(2 * n, 4))
        prob = np.exp(score - score.max(axis=1, keepdims=True))
        prob /= prob.sum(axis=1, keepdims=True)
        label = (prob.cumsum(axis=1) > rng.random((2 * n, 1))).argmax(axis=1)
        strange = conformal.lac(prob)
        most = conformal.limit(conformal.of_label(strange[:n], label[:n]), 0.9)
        chosen = conformal.members(strange[n:], np.full(n, most))
        shares.append(held_in(chosen, label[n:]).mean())
        right.append((prob[n:].argmax(axis=1) == label[n:]).mean())
    assert np.mean(shares) > 0.9 - 4 * np.std(shares) / SPLITS**0.5
    assert np.mean(shares) >= np.mean(right)
    assert (np.mean(right) > 0.9) == (sharpen > 1)


def test_the_band_holds_95_percent_of_tests():
    rng, inside = np.random.default_rng(8), 0
    for _ in range(400):
        prob, label = world(rng, 299)
        own = conformal.of_label(conformal.lac(prob), label)
        chosen = conformal.lac(prob[99:]) <= conformal.limit(own[:99], 0.9)
        found = conformal.coverage_of(chosen, label[99:], 99, 0.9)
        inside += found.low <= found.covered <= found.high
    assert 0.92 < inside / 400 < 0.99
    assert np.isnan(conformal.coverage_of(chosen, label[99:], 5, 0.9).covered)


def test_hidden_records_help_patterns_that_are_few_and_no_others():
    rng = np.random.default_rng(0)
    own, made = rng.random(400), rng.random(900) + 1
    pattern = np.repeat(["11", "10", "01"], [300, 60, 40])
    score = np.concatenate([own, made])
    strata = np.concatenate([pattern, np.repeat(["10", "01", "00"], 300)])
    natural = np.arange(1300) < 400
    found = conformal.by_pattern(score, strata, natural, 0.9)
    for name in ("11", "10"):
        assert found.limit[name] == conformal.limit(own[pattern == name], 0.9)
    both = score[strata == "01"]
    assert found.limit["01"] == conformal.limit(both, 0.9)
    assert found.limit["00"] == conformal.limit(made[600:], 0.9)
    assert found.everyone == conformal.limit(own, 0.9)
    assert found.records == {"11": 300, "10": 60, "01": 340, "00": 300}
    assert found.helped == ("00", "01")


def test_patterns_that_are_too_few_even_so_are_pooled_without_counting_anyone_twice():
    """Six patients shown under three patterns are six patients, who can promise nothing."""
    score, strata = np.tile(np.linspace(0, 1, 6), 3), np.repeat(["11", "10", "01"], 6)
    found = conformal.by_pattern(score, strata, np.arange(18) < 6, 0.9)
    assert found.everyone is None
    assert np.isnan(conformal.limits_of(found, np.array(["11", "10", "01", "??"]))).all()


@pytest.mark.parametrize("few", [5, 30, 200])
def test_each_pattern_is_covered_where_gaps_are_random(few):
    """Patterns differ in difficulty, and one is rare: its hidden records stand in for it."""
    rng, covered = np.random.default_rng(few), []
    for _ in range(300):
        sizes = (150, few)
        score = np.concatenate([rng.normal(size=150), rng.normal(2, 2, few), rng.normal(2, 2, 150)])
        strata = np.repeat(["11", "10", "10"], (*sizes, 150))
        found = conformal.by_pattern(score, strata, np.arange(len(score)) < 150 + few, 0.9)
        covered.append((rng.normal(2, 2, 50) <= found.limit["10"]).mean())
        assert found.limit["10"] > found.limit["11"]
    assert abs(np.mean(covered) - 0.9) < 0.015
