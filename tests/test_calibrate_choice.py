"""The Bayesian temperature is honest, strata are pooled, and the choice is not fooled."""

import numpy as np
import pytest
from scipy import stats

from fusionjax import calibrate
from fusionjax.calibrate import bayesian, hierarchical
from fusionjax.calibrate.types import evidence, posterior
from tests.test_calibrate import PRIOR, calibrated, mean_nll


def scaled_world(rng, n, log_scale):
    """Records whose evidence must be multiplied by exp(log_scale) to be right."""
    log_prob, label = calibrated(rng, n)
    return calibrate.apply(log_prob, PRIOR, float(np.exp(-log_scale))), label


def test_the_posterior_is_that_of_a_fine_grid():
    log_prob, label = scaled_world(np.random.default_rng(0), 30, 0.3)
    fine = np.linspace(np.log(0.05), np.log(20), 20_001)
    found = evidence(log_prob, PRIOR)
    value = bayesian.log_likelihood(found, label, PRIOR, fine) - fine**2 / (2 * 0.25)
    weight = np.exp(value - value.max())
    weight /= weight.sum()
    ours = calibrate.fit("bayesian", log_prob, label, PRIOR).parameters
    assert ours["mean"] == pytest.approx(weight @ np.exp(fine), rel=1e-4)
    ends = np.exp(np.interp([0.025, 0.975], weight.cumsum(), fine))
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(ends), rel=0.01)
    few = log_prob[:5]
    exact = sum(
        w * np.exp(posterior(evidence(few, PRIOR), PRIOR, s))
        for w, s in zip(weight[::20] / weight[::20].sum(), np.exp(fine[::20]), strict=True)
    )
    got = np.exp(bayesian.averaged(ours, few, PRIOR))
    np.testing.assert_allclose(got, exact, atol=1e-5)


def ranks(draws, records, powers):
    """P(log scale < the true one) over data sets drawn from the prior; uniform if honest.

    Each of `powers` is one the posterior is raised to: 1 is the truth, 4 pretends to four times
    the records.
    """
    rng, found = np.random.default_rng(1), []
    for _ in range(draws):
        log_scale = rng.normal(0, bayesian.PRIOR_SD)
        log_prob, label = scaled_world(rng, records, log_scale)
        ours = calibrate.fit("bayesian", log_prob, label, PRIOR).parameters
        assert len(ours["scale"]) > 3
        weights = [np.asarray(ours["weight"]) ** power for power in powers]
        below = [(np.cumsum(w) - w / 2) / w.sum() for w in weights]
        found.append([np.interp(log_scale, np.log(ours["scale"]), each) for each in below])
    return np.array(found).T


def test_thirty_records_give_honest_intervals_and_a_sharper_posterior_would_not():
    honest, sharp = ranks(400, 30, (1.0, 4.0))
    assert stats.kstest(honest, "uniform").pvalue > 0.001
    covered = np.mean((honest > 0.025) & (honest < 0.975))
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / 400) ** 0.5
    assert stats.kstest(sharp, "uniform").pvalue < 1e-4
    assert np.mean((sharp > 0.025) & (sharp < 0.975)) < 0.85


def test_thirty_records_are_better_served_by_the_posterior_than_by_its_mode():
    rng, gain = np.random.default_rng(2), []
    for _ in range(60):
        log_scale = rng.normal(0, 0.5)
        log_prob, label = scaled_world(rng, 30, log_scale)
        asked, truth = scaled_world(rng, 2000, log_scale)
        losses = [
            mean_nll(
                calibrate.calibrated(calibrate.fit(name, log_prob, label, PRIOR), asked, PRIOR),
                truth,
            )
            for name in ("temperature", "bayesian")
        ]
        gain.append(losses[0] - losses[1])
    assert np.mean(gain) > 2 * np.std(gain) / 60**0.5


def width(parameters):
    """Of the 95 % interval of log scale."""
    return np.log(parameters["high"] / parameters["low"])


def patterned(rng, sizes, spread, test=2000):
    """Records of several patterns, each with its own scale: fitting and test halves."""
    scales = spread * rng.normal(size=len(sizes))
    parts = [scaled_world(rng, n + test, s) for n, s in zip(sizes, scales, strict=True)]
    fit = [(p[:n], y[:n]) for (p, y), n in zip(parts, sizes, strict=True)]
    held = [(p[n:], y[n:]) for (p, y), n in zip(parts, sizes, strict=True)]
    name = [f"pattern {i}" for i in range(len(sizes))]
    return [
        (
            np.concatenate([p for p, _ in half]),
            np.concatenate([y for _, y in half]),
            np.repeat(name, [len(y) for _, y in half]),
        )
        for half in (fit, held)
    ]


@pytest.mark.parametrize("name", ["temperature", "bayesian", "isotonic"])
def test_patterns_that_differ_get_their_own_and_others_do_not_pay(name):
    rng, gains = np.random.default_rng(3), {0.0: [], 0.6: []}
    for spread, gain in gains.items():
        for _ in range(4):
            fit, held = patterned(rng, (800, 400, 200, 40, 5), spread)
            pooled = calibrate.fit(name, *fit[:2], PRIOR)
            own = calibrate.fit(name, *fit[:2], PRIOR, fit[2])
            before = mean_nll(calibrate.calibrated(pooled, held[0], PRIOR), held[1])
            after = mean_nll(calibrate.calibrated(own, held[0], PRIOR, held[2]), held[1])
            gain.append(before - after)
    assert np.mean(gains[0.6]) > 0.004
    assert np.mean(gains[0.0]) > -0.004


def test_the_hierarchy_knows_how_far_patterns_differ():
    """One pattern never seen: wide where the seen ones differ, narrow where they are alike."""
    rng, widths = np.random.default_rng(4), []
    for spread in (0.0, 0.6):
        fit, _ = patterned(rng, (600,) * 6, spread, test=1)
        found = calibrate.fit("bayesian", *fit[:2], PRIOR, fit[2]).parameters
        widths.append(width(found["everyone"]))
    assert widths[0] < 0.5 < 1.0 < widths[1]


def test_the_hierarchy_covers_a_small_patterns_scale():
    rng, covered, narrow = np.random.default_rng(5), [], []
    for _ in range(60):
        mu, tau = rng.normal(0, 0.3), abs(rng.normal(0, hierarchical.TAU_SD))
        scales = mu + tau * rng.normal(size=4)
        sizes = (300, 300, 300, 15)
        parts = [scaled_world(rng, n, s) for n, s in zip(sizes, scales, strict=True)]
        stratum = np.repeat(["a", "b", "c", "d"], sizes)
        log_prob, label = (np.concatenate(each) for each in zip(*parts, strict=True))
        found = calibrate.fit("bayesian", log_prob, label, PRIOR, stratum).parameters
        shared, alone = found["strata"]["d"], calibrate.fit("bayesian", *parts[3], PRIOR).parameters
        covered.append(shared["low"] < np.exp(scales[3]) < shared["high"])
        narrow.append(width(shared) / width(alone))
    assert 0.85 < np.mean(covered) <= 1
    assert np.mean(narrow) < 0.8, "the other patterns were not used"


def test_a_pattern_never_seen_is_calibrated_like_all_records():
    fit, held = patterned(np.random.default_rng(6), (40, 40), 0.5, test=10)
    unseen = np.full(len(held[0]), "elsewhere")
    for name in ("none", "isotonic", "vector", "bayesian"):
        own = calibrate.fit(name, *fit[:2], PRIOR, fit[2])
        got = calibrate.calibrated(own, held[0], PRIOR, unseen)
        np.testing.assert_allclose(np.exp(got).sum(axis=1), 1)
        if name != "bayesian":
            pooled = calibrate.fit(name, *fit[:2], PRIOR)
            np.testing.assert_allclose(got, calibrate.calibrated(pooled, held[0], PRIOR))
    with pytest.raises(ValueError, match="by stratum"):
        calibrate.calibrated(own, held[0], PRIOR)


def test_a_narrow_posterior_is_three_nodes_and_the_same_predictive():
    log_scale = np.linspace(0.25, 0.35, 4001)
    weight = np.exp(-((log_scale - 0.3) ** 2) / (2 * 0.015**2))
    few = bayesian.summarised(log_scale, weight / weight.sum())
    assert len(few["scale"]) == 3
    exact = {"scale": np.exp(log_scale[::50]), "weight": weight[::50] / weight[::50].sum()}
    log_prob, _ = calibrated(np.random.default_rng(12), 50)
    got, expected = (bayesian.averaged(each, log_prob, PRIOR) for each in (few, exact))
    np.testing.assert_allclose(got, expected, atol=3e-5)


def test_folds_keep_patients_together_and_are_even():
    group = np.random.default_rng(7).integers(0, 40, 200)
    fold = calibrate.folds(group, 5, 0)
    for name in np.unique(group):
        assert len(np.unique(fold[group == name])) == 1
    assert len(np.unique(fold)) == 5
    np.testing.assert_array_equal(fold, calibrate.folds(group, 5, 0))


def test_calibrated_records_are_mostly_left_alone_and_wrong_ones_are_not():
    rng, left = np.random.default_rng(8), 0
    for _ in range(5):
        log_prob, label = calibrated(rng, 200)
        names = ("none", "temperature", "bayesian", "isotonic")
        left += calibrate.choose(log_prob, label, PRIOR, names=names).fitted.name == "none"
    assert left >= 3
    wrong, label = scaled_world(rng, 400, -0.9)
    choice = calibrate.choose(wrong, label, PRIOR)
    assert choice.fitted.name in ("temperature", "bayesian")
    by_name = {trial.name: trial for trial in choice.trials}
    assert by_name["none"].behind > 2 * by_name["none"].error
    assert set(by_name) == set(calibrate.CALIBRATORS)


def test_what_varies_by_pattern_is_chosen_by_pattern():
    fit, held = patterned(np.random.default_rng(9), (600, 600, 300), 0.8)
    names = ("none", "temperature", "vector")
    choice = calibrate.choose(*fit[:2], PRIOR, stratum=fit[2], names=names)
    assert choice.fitted.stratified
    found = calibrate.calibrated(choice.fitted, held[0], PRIOR, held[2])
    assert mean_nll(found, held[1]) < mean_nll(held[0], held[1]) - 0.01


def test_a_handful_of_patients_choose_nothing():
    log_prob, label = calibrated(np.random.default_rng(10), 60)
    choice = calibrate.choose(log_prob, label, PRIOR, group=np.arange(60) % 6)
    assert (choice.fitted.name, choice.trials) == ("none", ())
