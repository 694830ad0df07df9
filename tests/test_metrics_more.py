"""The further metrics against scikit-learn, other packages' numbers, and closed forms."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from fusionjax import metrics
from fusionjax.metrics.smooth import range_of_brownian_motion
from tests.test_metrics import SETTINGS, predictions, softmax, world

WEIGHTED = {
    "auroc_pairs": metrics.auroc_pairs,
    "auprc": metrics.auprc,
    "sensitivity_at": metrics.sensitivity_at,
    "ece_equal_width": metrics.ece_equal_width,
    "ece_top_label": metrics.ece_top_label,
    "ece_classwise": metrics.ece_classwise,
    "smooth_ece": metrics.smooth_ece,
    "aurc": lambda prob, label, weight=None: metrics.aurc(
        prob.max(axis=1), (prob.argmax(axis=1) != label).astype(float), weight
    ),
    "augrc": lambda prob, label, weight=None: metrics.augrc(
        prob.max(axis=1), (prob.argmax(axis=1) != label).astype(float), weight
    ),
    "resolution": lambda *sample: metrics.brier_decomposition(*sample).resolution,
    "net_benefit": lambda prob, label, weight=None: metrics.net_benefit(
        prob[:, 0], label == 0, 0.3, weight
    ),
}


def example():
    """Two models of one binary outcome, as the other packages were given it."""
    rng = np.random.default_rng(20)
    x = rng.normal(size=400)
    p, y = expit(2 * x), rng.random(400) < expit(x)
    return p, expit(x + rng.normal(size=400)), y


@pytest.mark.parametrize("name", WEIGHTED)
@SETTINGS
@given(sample=predictions(), seed=st.integers(0, 1000))
def test_a_block_of_weights_absence_and_order(name, sample, seed):
    prob, label, weight = sample
    metric, kept = WEIGHTED[name], weight > 0
    block = np.stack([weight, np.ones_like(weight), np.zeros_like(weight)])
    got = metric(prob, label, block)
    assert got.shape == (3,)
    np.testing.assert_allclose(got[1], metric(prob, label), atol=1e-9)
    np.testing.assert_allclose(got[0], metric(prob[kept], label[kept], weight[kept]), atol=1e-9)
    assert np.isnan(got[2])
    order = np.random.default_rng(seed).permutation(len(label))
    np.testing.assert_allclose(metric(prob[order], label[order], weight[order]), got[0], atol=1e-9)
    copies = np.repeat(np.arange(len(label)), weight)
    if not name.startswith(("ece", "resolution")):  # their bins count records, not weight
        np.testing.assert_allclose(metric(prob[copies], label[copies]), got[0], atol=1e-9)


@pytest.mark.parametrize("name", WEIGHTED)
def test_nothing_to_measure_is_nan(name):
    assert np.isnan(WEIGHTED[name](np.zeros((0, 3)), np.zeros(0, int)))


@SETTINGS
@given(predictions())
def test_ranking_agrees_with_scikit_learn(sample):
    prob, label, weight = sample
    weight = weight + (weight.sum() == 0)
    for k in range(prob.shape[1]):
        score, positive = prob[:, k], label == k
        if 0 < (weight * positive).sum() < weight.sum():
            expected = sklearn_metrics.average_precision_score(
                positive, score, sample_weight=weight
            )
            got = metrics.average_precision(score, positive, weight)
            assert float(got) == pytest.approx(expected)
            false, true, _ = sklearn_metrics.roc_curve(
                positive, score, sample_weight=weight, drop_intermediate=False
            )
            sensitivity = metrics.binary_sensitivity(score, positive, weight, 0.8)
            assert float(sensitivity) == pytest.approx(true[false <= 0.2 + 1e-12].max())
            alarms = metrics.false_positives_at(score, positive, weight, 0.95)
            assert float(alarms) == pytest.approx(false[true >= 0.95 - 1e-12].min())
        else:
            assert np.isnan(metrics.binary_sensitivity(score, positive, weight))
            assert np.isnan(metrics.false_positives_at(score, positive, weight))


def test_one_vs_one_is_scikit_learns():
    prob, label = world(np.random.default_rng(0), 300, k=4)
    expected = sklearn_metrics.roc_auc_score(label, prob, multi_class="ovo", average="macro")
    assert float(metrics.auroc_pairs(prob, label)) == pytest.approx(expected)


def test_what_no_specificity_can_keep_finds_nobody():
    score, positive = np.array([0.5, 0.5, 0.5]), np.array([True, False, False])
    assert float(metrics.binary_sensitivity(score, positive, None, 0.9)) == 0


@SETTINGS
@given(predictions())
def test_the_parts_of_the_brier_score_sum_to_it(sample):
    prob, label, weight = sample
    weight = weight + (weight.sum() == 0)
    parts = metrics.brier_decomposition(prob, label, weight)
    whole = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert float(whole) == pytest.approx(float(metrics.brier(prob, label, weight)))
    assert min(parts.reliability, parts.resolution, parts.uncertainty) >= 0
    base = np.bincount(label, weight, prob.shape[1]) / weight.sum()
    assert float(parts.uncertainty) == pytest.approx(1 - (base**2).sum())


def test_murphys_parts_in_closed_form():
    prob = np.array([[0.8, 0.2]] * 20 + [[0.3, 0.7]] * 20)
    label = np.array([0] * 15 + [1] * 5 + [0] * 8 + [1] * 12)
    parts = metrics.brier_decomposition(prob, label)
    assert float(parts.reliability) == pytest.approx(2 * (0.05**2 + 0.1**2) / 2)
    assert float(parts.resolution) == pytest.approx(2 * ((0.75 - 0.575) ** 2))
    assert float(parts.within) == pytest.approx(0, abs=1e-12)


def test_equal_width_ece_is_that_of_the_papers():
    prob, label = world(np.random.default_rng(1), 500, sharpen=2.0)
    confidence, hit = prob.max(axis=1), prob.argmax(axis=1) == label
    edges, expected = np.linspace(0, 1, 16), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert float(metrics.ece_equal_width(prob, label)) == pytest.approx(expected)


def test_top_label_ece_sees_what_the_pooled_one_averages_away():
    """Class 0 is over-confident by 0.1, class 1 under-confident by 0.1, both at the same 0.7."""
    rng = np.random.default_rng(2)
    said = np.repeat([0, 1], 5000)
    prob = np.where(np.arange(2)[None, :] == said[:, None], 0.7, 0.3)
    label = np.where(rng.random(10_000) < np.where(said == 0, 0.6, 0.8), said, 1 - said)
    assert abs(float(metrics.ece(prob, label))) < 0.01
    assert float(metrics.ece_top_label(prob, label)) == pytest.approx(0.1, abs=0.015)
    assert float(metrics.ece_classwise(prob, label)) > 0.05


def test_calibrated_predictions_have_no_top_label_or_classwise_ece():
    rng, found = np.random.default_rng(3), []
    for _ in range(40):
        sample = world(rng, 600)
        found.append([metrics.ece_top_label(*sample), metrics.ece_classwise(*sample)])
    assert (np.abs(np.mean(found, axis=0)) < 0.012).all()


def test_smooth_ece_is_that_of_relplot():
    """relplot 1.0.3, `relplot.metrics.smECE(confidence, hit, eps=1e-5)`; its grid differs."""
    p, _, y = example()
    prob = np.stack([1 - p, p], axis=1)
    assert float(metrics.smooth_ece(prob, y.astype(int))) == pytest.approx(0.0993145, abs=5e-4)


def test_smooth_ece_of_a_constant_gap():
    """All at confidence 0.5, always right: ∫|0.5 K_σ| = 0.5 whatever σ is."""
    prob, label = np.tile([0.5, 0.5], (50, 1)), np.zeros(50, int)
    assert float(metrics.smooth_ece(prob, label)) == pytest.approx(0.5, abs=1e-3)


def test_spiegelhalter_is_the_binary_formula_and_standard_normal():
    rng, z = np.random.default_rng(4), []
    p, y = rng.random(50), rng.random(50) < 0.5
    top, bottom = (y - p) * (1 - 2 * p), (1 - 2 * p) ** 2 * p * (1 - p)
    got = metrics.spiegelhalter(np.stack([1 - p, p], axis=1), y.astype(int))
    assert got.statistic == pytest.approx(top.sum() / np.sqrt(bottom.sum()))
    for _ in range(400):
        z.append(metrics.spiegelhalter(*world(rng, 300)).statistic)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert metrics.spiegelhalter(*world(rng, 2000, sharpen=1.5)).p_value < 1e-4
    certain = metrics.spiegelhalter(np.eye(2), np.array([0, 1]))
    assert np.isnan(certain.statistic)


def test_kuipers_p_values_are_uniform_if_calibrated_and_small_if_not():
    rng, found = np.random.default_rng(5), []
    for _ in range(400):
        found.append(metrics.kuiper(*world(rng, 1000)).p_value)
    # The walk has steps, so its range is a little short of a Brownian motion's.
    assert 0.02 < np.mean(np.array(found) < 0.1) < 0.14
    assert metrics.kuiper(*world(rng, 2000, sharpen=1.5)).p_value < 1e-4
    assert np.isnan(metrics.kuiper(np.eye(2), np.array([0, 1])).statistic)


def test_the_range_of_brownian_motion():
    rng = np.random.default_rng(6)
    walk = np.cumsum(rng.normal(size=(4000, 2000)) / 2000**0.5, axis=1)
    width = walk.max(axis=1).clip(min=0) - walk.min(axis=1).clip(max=0)
    for at in (1.0, 1.6, 2.2):
        simulated = np.mean(width > at)
        assert range_of_brownian_motion(at) == pytest.approx(simulated, abs=0.04)
    assert range_of_brownian_motion(0.1) == range_of_brownian_motion(0.0) == 1
    assert range_of_brownian_motion(0.41) == pytest.approx(1, abs=1e-6)


def test_aurc_counts_prefixes_and_averages_over_ties():
    rng = np.random.default_rng(7)
    confidence, loss = rng.random(200), (rng.random(200) < 0.3).astype(float)
    order = np.argsort(-confidence)
    prefixes = np.cumsum(loss[order]) / np.arange(1, 201)
    assert float(metrics.aurc(confidence, loss)) == pytest.approx(prefixes.mean())
    tied = np.round(confidence, 1)
    shuffles = []
    for _ in range(2000):
        order = np.lexsort((rng.random(200), -tied))
        shuffles.append((np.cumsum(loss[order]) / np.arange(1, 201)).mean())
    error = 4 * np.std(shuffles) / 2000**0.5
    assert float(metrics.aurc(tied, loss)) == pytest.approx(np.mean(shuffles), abs=error)


def test_augrc_is_its_closed_form_in_auroc_and_accuracy():
    """Traub et al. 2024: (1 − AUROC) acc (1 − acc) + (1 − acc)²/2, ties in halves."""
    rng = np.random.default_rng(8)
    confidence = rng.integers(0, 30, 300) / 30
    loss = (rng.random(300) < 0.6 - confidence / 2).astype(float)
    accuracy = 1 - loss.mean()
    rank = sklearn_metrics.roc_auc_score(loss == 0, confidence)
    expected = (1 - rank) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert float(metrics.augrc(confidence, loss)) == pytest.approx(expected)


def test_the_risk_coverage_curve_ends_at_the_risk_of_all():
    prob, label = world(np.random.default_rng(9), 500)
    loss = (prob.argmax(axis=1) != label).astype(float)
    curve = metrics.risk_coverage(prob.max(axis=1), loss)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(loss.mean())
    assert (curve.low <= curve.risk).all()
    assert (curve.risk <= curve.high).all()
    assert curve.risk[5] < curve.risk[-1]
    half = np.argsort(-prob.max(axis=1))[:250]
    at = np.flatnonzero(curve.coverage == 0.5)
    assert curve.risk[at] == pytest.approx(loss[half].mean())
    assert not len(metrics.risk_coverage(np.zeros(0), np.zeros(0)).risk)


def test_net_benefit_is_that_of_dcurves():
    """dcurves 1.1.7, `dcurves.dca(data, "y", ["p"], thresholds=[.1, .3, .6])`."""
    p, _, y = example()
    got = [float(metrics.net_benefit(p, y, t)) for t in (0.1, 0.3, 0.6)]
    assert got == pytest.approx([0.410833, 0.298571, 0.135000], abs=1e-6)
    all_treated = [float(metrics.treat_all(y, t)) for t in (0.1, 0.3, 0.6)]
    assert all_treated == pytest.approx([0.422222, 0.257143, -0.3], abs=1e-6)
    with pytest.raises(ValueError, match="threshold"):
        metrics.net_benefit(p, y, 1.0)


def test_delong_is_that_of_mlstatkit():
    """MLstatkit 0.1.91, `Delong_test(y, p, q, return_ci=True)`: p-value and variance."""
    p, q, y = example()
    found = metrics.delong(p, q, y)
    assert found.p_value == pytest.approx(0.0009609899391666173, rel=1e-6)
    assert found.difference.value == pytest.approx(0.767002203525641 - 0.6941356169871795)
    half = 1.959964 * 0.00048705751435450815**0.5
    assert found.difference.high - found.difference.value == pytest.approx(half, rel=1e-6)


def test_delong_on_degenerate_records():
    y = np.array([True, False, False])
    assert np.isnan(metrics.delong(np.arange(3.0), np.arange(3.0), y).p_value)
    y = np.array([True, True, False, False])
    same = metrics.delong(np.arange(4.0), np.arange(4.0), y)
    assert (same.difference.value, same.p_value) == (0, 1)


def test_mcnemar_is_that_of_statsmodels():
    """statsmodels 0.15.0, `mcnemar([[219, 55], [40, 86]], exact=True).pvalue`."""
    p, q, y = example()
    found = metrics.mcnemar((p > 0.5) == y, (q > 0.5) == y)
    assert found.p_value == pytest.approx(0.1505180638902294)
    assert found.difference.value == pytest.approx(15 / 400)
    assert found.difference.low < 0 < found.difference.high
    right = np.ones(5, bool)
    assert metrics.mcnemar(right, right) == ((0.0, 0.0, 0.0), 1.0)
    assert np.isnan(metrics.mcnemar(right[:0], right[:0]).p_value)


def test_subgroups_are_measured_alone_and_small_ones_are_marked():
    prob, label = world(np.random.default_rng(10), 300)
    subgroup = np.repeat(["women", "men", "few"], [180, 100, 20])
    found = {each.name: each for each in metrics.by_subgroup(prob, label, None, subgroup, 0)}
    assert list(found) == ["few", "men", "women"]
    expected = metrics.bootstrap(metrics.nll, prob[:180], label[:180], np.arange(180), 0, 200)
    assert found["women"].metrics["nll"] == expected
    assert found["women"].warning == ""
    assert "20 patients" in found["few"].warning
    one = metrics.by_subgroup(prob, 0 * label, None, subgroup, 0)
    assert "one class" in one[1].warning
    pair = np.repeat(np.arange(150), 2)
    assert metrics.by_subgroup(prob, label, pair, subgroup, 0)[2].patients == 90


def test_out_of_distribution_by_an_uncertainty():
    """Far records have a flat prediction: entropy finds them, and FPR95 counts those kept."""
    rng = np.random.default_rng(11)
    inside = metrics.entropy(softmax(3 * rng.normal(size=(500, 3))))
    outside = metrics.entropy(softmax(0.5 * rng.normal(size=(300, 3))))
    score, known = -np.concatenate([inside, outside]), np.repeat([True, False], [500, 300])
    rank = float(metrics.binary_auroc(score, known))
    assert rank == pytest.approx(sklearn_metrics.roc_auc_score(known, score))
    kept = np.quantile(inside, 0.95, method="higher")
    share = float(metrics.false_positives_at(score, known))
    assert share == pytest.approx(np.mean(outside <= kept), abs=0.01)


def test_each_uncertainty_finds_strangers_as_well_as_it_can():
    rng = np.random.default_rng(12)
    outside = np.repeat([False, True], [400, 300])
    far = np.where(rng.random(700) < 0.1, np.nan, rng.normal(size=700) + 2 * outside)
    patient = np.arange(700) // 2
    found = metrics.out_of_distribution({"far": far, "noise": rng.random(700)}, outside, patient)
    known = np.isfinite(far)
    auroc, fpr95 = found["far"]
    assert auroc.value == pytest.approx(sklearn_metrics.roc_auc_score(outside[known], far[known]))
    most = np.quantile(far[known & ~outside], 0.95, method="inverted_cdf")
    assert fpr95.value == pytest.approx(np.mean(far[known & outside] <= most))
    assert auroc.low < stats.norm.cdf(2 / np.sqrt(2)) < auroc.high
    assert fpr95.low < stats.norm.cdf(stats.norm.ppf(0.95) - 2) < fpr95.high
    assert found["noise"].auroc.low < 0.5 < found["noise"].auroc.high
    assert found["noise"].fpr95.low < 0.95 < found["noise"].fpr95.high
    (nothing,) = metrics.out_of_distribution({"far": far[:9] * np.nan}, outside[:9]).values()
    assert np.isnan(nothing).all()


def test_the_gap_to_the_truth_is_found_and_noise_alone_is_its_floor() -> None:
    """p* is p with noise that p does not know; then p is moved by 2 % for a class."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3) * 2, 1000)
    honest, moved = [], []
    for _ in range(40):
        true = np.clip(p + 0.1 * rng.normal(size=p.shape) * p * (1 - p), 1e-6, 1)
        honest.append(metrics.gap_to_truth(p, true))
        shift = np.array([0.02, -0.01, -0.01])
        moved.append(metrics.gap_to_truth(p + shift[None, :], true))
    value, raw, floor = np.mean(honest, axis=0)
    assert raw == pytest.approx(floor, rel=0.1)
    assert abs(value) < floor / 3
    assert np.mean(moved, axis=0)[0] == pytest.approx(0.04 / 3, rel=0.1)
    assert metrics.gap_to_truth(p, p) == (0, 0, 0)
