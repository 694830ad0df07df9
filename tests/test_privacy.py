"""Promises are refused where they would not hold, sums are as sensitive as said, noise as wide."""

import random
from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

pytest.importorskip("dp_accounting", reason="privacy is an extra: pip install 'fusionjax[privacy]'")

from fusionjax.card import Modality, TabularOptions
from fusionjax.posterior import observe
from fusionjax.posterior.newton import zero_sum_basis
from fusionjax.posterior.types import relative
from fusionjax.privacy import PrivacyError, Promise, guarantee, noise, posterior, public, release
from fusionjax.privacy.guarantee import Units

LIMIT = 2.5


def simulated(seed, n=1000, sizes=(3, 3), classes=2):
    """θ and τ from the prior, and records of it: bounded observations and u."""
    rng = np.random.default_rng(seed)
    tau = np.abs(rng.normal(size=len(sizes)))
    scale = np.concatenate([t * relative(p) for t, p in zip(tau, sizes, strict=True)])
    u = scale[:, None] * rng.normal(size=(sum(sizes), classes - 1))
    raw = [np.concatenate([np.ones((n, 1)), rng.normal(size=(n, p - 1))], 1) for p in sizes]
    features = release.clip(tuple(raw), (LIMIT,) * len(sizes))
    energy = np.concatenate(features, 1) @ u @ zero_sum_basis(classes).T
    label = np.argmax(energy + rng.gumbel(size=energy.shape), 1)
    return bounded(features, label, classes), u


def bounded(features, label, classes, limits=None, most=1, units=None):
    n = len(label)
    rows = observe(
        tuple(jnp.asarray(f, jnp.float32) for f in features),
        jnp.ones((n, len(features)), bool),
        jnp.asarray(label),
        classes,
    )
    units = units or Units(np.arange(n), n)
    limits = limits or (LIMIT,) * len(features)
    return release.bound(rows, np.arange(n), units, limits, most)


@pytest.mark.parametrize(
    ("promise", "sampler", "names"),
    [
        (Promise(1.0, 0.01), "all", "delta"),
        (Promise(-1.0), "all", "epsilon"),
        (Promise(float("inf")), "all", "epsilon"),
        (Promise(1.0, 0.0), "all", "delta"),
        (Promise(1.0), "shuffled", "sampler"),
        (Promise(unit="patient"), "all", "most"),
        (Promise(unit="patient", most=0), "all", "most"),
        (Promise(most=2), "all", "most"),
    ],
)
def test_a_promise_that_would_not_hold_is_refused(promise, sampler, names):
    with pytest.raises(PrivacyError, match=names):
        guarantee.check(promise, 100, sampler)


def test_a_promise_that_holds_is_not():
    guarantee.check(Promise(3.0, 1e-3), 100, "poisson")
    guarantee.check(Promise(3.0, 1e-3, "patient", 4), 100)


def test_accounting_agrees_with_closed_forms():
    z, delta = 2.0, 1e-5
    # Rényi: ε(δ) is at most ρ + 2√(ρ log 1/δ), ρ = 1/(2z²) (Bun and Steinke 2016), and at least the
    # Gaussian mechanism's own: Φ(1/2z − εz) − e^ε Φ(−1/2z − εz) = δ (Balle and Wang 2018).
    found, rho = guarantee.epsilon([z], delta), 1 / (2 * z**2)
    own = stats.norm.cdf(1 / (2 * z) - found * z) - np.exp(found) * stats.norm.cdf(
        -1 / (2 * z) - found * z
    )
    assert found <= rho + 2 * np.sqrt(rho * np.log(1 / delta))
    assert 0 < own < delta
    assert guarantee.epsilon([z * 2**0.5] * 2, delta) == pytest.approx(found)
    assert guarantee.epsilon([z, z], delta) > 1.3 * found
    assert guarantee.epsilon([guarantee.multiplier(3.0, delta)], delta) == pytest.approx(
        3.0, abs=1e-3
    )


def test_rounds_cost_what_was_promised():
    z = guarantee.multiplier(1.0, 1e-5)
    assert sum(release.ROUNDS) == pytest.approx(1.0)
    assert sum(release.PARTS) == pytest.approx(1.0)
    each = [z / np.sqrt(share) for share in release.ROUNDS]
    assert guarantee.epsilon(each, 1e-5) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("deviation", [1, 7, 1 << 20])
def test_noise_has_the_stated_distribution(deviation):
    source, size = random.Random(deviation), 4000
    x = np.array([noise.discrete_gaussian(deviation, source) for _ in range(size)], float)
    support = np.arange(-12 * deviation, 12 * deviation + 1) if deviation < 100 else None
    if support is None:
        assert stats.kstest(x / deviation, "norm").pvalue > 1e-3
        assert stats.kstest(x / deviation / 1.2, "norm").pvalue < 1e-3
        return
    mass = np.exp(-(support**2) / (2 * deviation**2))
    expected = size * mass / mass.sum()
    common = expected > 5
    counts = np.array([np.sum(x == k) for k in support])
    chi = np.sum((counts - expected)[common] ** 2 / expected[common])
    assert chi < stats.chi2.ppf(0.999, common.sum())


numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=5))
def test_no_contribution_whatever_is_longer_than_the_sensitivity(rows):
    whole = noise.on_grid(np.array(rows, float), 1.5)
    assert (whole.astype(object) ** 2).sum(axis=1).max() <= noise.sensitivity(3) ** 2


def test_short_contributions_are_kept_and_long_ones_are_shortened():
    rows = np.array([[0.3, -0.4, 0.0], [3e200, 4e200, 0.0], [np.nan, 0.5, np.inf]])
    whole = noise.on_grid(rows, 1.0) / noise.STEPS
    np.testing.assert_allclose(whole[0], rows[0], atol=1e-6)
    np.testing.assert_allclose(whole[1], [0.6, 0.8, 0.0], atol=1e-6)
    np.testing.assert_allclose(whole[2], [0.0, 0.5, 0.0], atol=1e-6)


@given(
    st.integers(2, 4),
    st.integers(0, 10**6),
    st.floats(0.0, 1e30),
    st.sampled_from([0.0, 1.0, 30.0]),
)
def test_blanking_one_record_changes_a_sum_by_no_more_than_the_bound(classes, seed, size, far):
    rng = np.random.default_rng(seed)
    features = [
        np.concatenate([np.ones((4, 1)), size * rng.standard_cauchy((4, 2))], 1) for _ in range(2)
    ]
    clipped = tuple(np.clip(f, -1e30, 1e30) for f in features)
    held = bounded(clipped, rng.integers(classes, size=4), classes)
    u, bias = far * rng.normal(size=(6, classes - 1)), rng.normal(size=classes)
    each = release.contributions(u, held, bias)
    # The bound holds by arithmetic, before anything is shortened.
    assert np.linalg.norm(each, axis=1).max() <= 1 + 1e-9
    gone = held._replace(units=held.units._replace(of=np.array([-1, 1, 2, 3])))
    change = each.sum(0) - release.contributions(u, gone, bias).sum(0)
    np.testing.assert_allclose(change, each[0], atol=1e-12)


def test_the_bound_is_reached():
    held = bounded((np.array([[1.0, 1e9]] * 2),), [0, 1], 2)
    u = np.array([[0.0], [-1e3]])
    slope = release.contributions(u, held, np.zeros(2))[:, :2] / np.sqrt(release.PARTS[0])
    assert np.linalg.norm(slope, axis=1).max() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(wrong):
    with pytest.raises(ValueError, match="not all finite"):
        bounded((np.array([[1.0, wrong], [1.0, 0.0]]),), [0, 1], 2)


def test_a_record_that_counts_twice_is_refused():
    held, _ = simulated(0, n=4)
    with pytest.raises(PrivacyError, match="weight"):
        release.bound(held.observations, np.array([0, 0, 1, 2]), held.units, (LIMIT, LIMIT))


def test_a_patient_counts_with_so_many_records_and_no_more():
    group = np.array(["b", "a", "b", "b", "a", "c"])
    found = guarantee.units(Promise(unit="patient", most=2), group)
    assert found.count == 3
    assert found.of.tolist() == [1, 0, 1, -1, 0, 2]
    features = (np.array([[1.0, 9.0]] * 6),)
    held = bounded(features, [1] * 6, 2, most=2, units=found)
    assert (
        np.linalg.norm(release.contributions(np.zeros((2, 1)), held, np.zeros(2)), axis=1).max()
        <= 1
    )


def test_released_sums_are_the_likelihoods_own_without_noise():
    held, u = simulated(1, n=200, sizes=(3, 2), classes=3)
    at = release.expand(u, held, np.zeros(3), 1e-9, random.Random(0))
    from fusionjax.posterior import newton

    with jax.enable_x64(True):
        rows, bias = newton.prepare(held.observations, jnp.zeros(3))
        exact = newton.expand(jnp.asarray(u), rows, bias)
        np.testing.assert_allclose(at.slope, exact.slope, atol=2e-2)
        np.testing.assert_allclose(at.curvature, exact.curvature, atol=0.2)


def test_noise_on_the_slope_has_the_stated_deviation():
    held, u = simulated(2, n=30)
    clean = release.expand(u, held, np.zeros(2), 1e-9, random.Random(0)).slope
    drawn = [release.expand(u, held, np.zeros(2), 2.0, random.Random(s)) for s in range(150)]
    apart = np.concatenate([(d.slope - clean).ravel() for d in drawn]) / drawn[0].slope_deviation
    assert stats.kstest(apart, "norm").pvalue > 1e-3
    radius = np.sqrt(2 * (1 + LIMIT**2))
    said = 2.0 * np.sqrt(2) * radius / np.sqrt(release.PARTS[0])
    assert drawn[0].slope_deviation == pytest.approx(said, rel=1e-4)


def surprises(sets, epsilon, aware=True, **world):
    """P(χ² below what was seen) of the released slope at the θ that drew the labels."""
    found, z = [], guarantee.multiplier(epsilon, 1e-5)
    for seed in sets:
        held, u = simulated(seed, **world)
        bias = np.zeros(u.shape[1] + 1, np.float32)
        at = release.rounds(held, bias, z, random.Random(seed))
        less, weight = map(float, release.lessened(u, at.at, at.design, bias))
        apart = less * (u - at.at).ravel()
        known = at._replace(curvature=weight * at.curvature)
        if not aware:
            known = known._replace(slope_deviation=1e-3, variance=0 * at.variance)
        spread = release.covariance(apart, known)
        rest = at.slope.ravel() - at.curvature @ apart
        found.append(stats.chi2.cdf(rest @ np.linalg.solve(spread, rest), len(rest)))
    return np.array(found)


def test_what_is_released_is_as_far_from_the_truth_as_the_posterior_believes():
    found = surprises(range(40), 3.0, n=500)
    assert 0.3 < np.mean(found) < 0.65
    assert np.mean(found > 0.95) <= 0.15
    assert np.mean(surprises(range(10), 3.0, aware=False, n=500) > 0.95) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epsilon", "world"),
    [
        (1.0, {"n": 2000}),
        (3.0, {"n": 340}),
        (8.0, {"n": 2000}),
        (3.0, {"n": 1000, "sizes": (2, 2), "classes": 3}),
    ],
)
def test_the_released_likelihood_covers_the_truth_over_400_data_sets(epsilon, world):
    """95 % regions within the binomial band; without the noise term they are found out."""
    found = surprises(range(10_000, 10_400), epsilon, **world)
    inside = int(np.sum(found <= 0.95))
    low, high = stats.binom.ppf([0.001, 0.999], 400, 0.95)
    assert low <= inside <= max(high, 395), inside
    blind = surprises(range(10_000, 10_050), epsilon, aware=False, **world)
    assert np.sum(blind <= 0.95) < stats.binom.ppf(1e-6, 50, 0.95)


@pytest.mark.slow
def test_intervals_of_theta_cover_over_200_data_sets():
    """NUTS's 95 % intervals; shrunk as if no noise had been added, they do not."""
    sizes, sets, z = (2, 2), 200, guarantee.multiplier(3.0, 1e-5)
    aims, truth, blind = [], [], []
    for seed in range(20_000, 20_000 + sets):
        held, u = simulated(seed, n=500, sizes=sizes)
        at = release.rounds(held, np.zeros(2), z, random.Random(seed))
        deaf = at._replace(slope_deviation=0.05 * at.slope_deviation, variance=0 * at.variance)
        aims.append(posterior.aim(at, np.zeros(2)))
        blind.append(posterior.aim(deaf, np.zeros(2)))
        truth.append(u)
    covered = [_inside(part, np.array(truth), sizes) for part in (aims, blind)]
    # Weights of one data set hang together: the band is that of 200 independent ones.
    low, high = stats.binom.ppf([0.001, 0.999], sets, 0.95) / sets
    assert low <= covered[0] <= high, covered
    assert covered[1] < low, covered


def _inside(aims, truth, sizes):
    whole = jax.tree.map(lambda *x: jnp.stack(x), *aims)
    keys = jax.random.split(jax.random.key(0), (len(aims), 1))
    draw = jax.jit(jax.vmap(lambda key, aim: posterior.sample(key, aim, sizes, 200, 200)))
    u = np.asarray(draw(keys, whole)[1])[:, 0]
    low, high = np.quantile(u, (0.025, 0.975), axis=1)
    return float(np.mean((low <= truth) & (truth <= high)))


def test_the_posterior_is_wider_with_more_noise_and_says_what_was_promised():
    held, _ = simulated(4, n=400, sizes=(2, 2))
    widths = []
    for z in (0.3, 3.0, 30.0):
        at = release.rounds(held, np.zeros(2), z, random.Random(0))
        found = posterior.fit(
            jax.random.key(0), at, jnp.zeros(2), (2, 2), draws=150, warmup=150, notes=("promised",)
        )
        widths.append(float(np.mean([np.std(np.asarray(t), axis=0).mean() for t in found.theta])))
    assert all(a < b for a, b in pairwise(widths)), widths
    assert found.certificate.notes[0] == "promised"
    assert found.theta[0].shape == (600, 2, 2)


def test_public_ranges_give_phi_and_psi_without_a_record(tmp_path):
    path = tmp_path / "public.toml"
    path.write_text(
        '[ranges]\ncrp = [1, 100]\nage = [20, 100]\n[levels]\nsex = ["f", "m"]\n'
        '[gaps]\ncolumns = ["crp"]\n'
    )
    stated = public.load(path)
    modality = Modality("labs", "tabular", ("crp", "age", "sex"), options=TabularOptions(("sex",)))
    plan = public._plan(modality, stated)
    assert plan.statistics.logged.tolist() == [True, False]
    np.testing.assert_allclose(plan.statistics.mean, [np.log(10), 60], rtol=1e-6)
    # crp, age, sex = m, and whether crp is missing.
    assert plan.weight.shape == (2 * 4, 4)
    many = public._plan(replace(modality, columns=("age", "sex"), name="more"), stated)
    own = many.statistics._replace(levels=(("f", "m"), ("a", "b", "c")))
    assert public.same((own, plan.statistics), (many._replace(statistics=own), plan))
    assert not public.same((own,), (many,))
    with pytest.raises(PrivacyError, match="bnp"):
        public._plan(Modality("labs", "tabular", ("bnp",), options=TabularOptions()), stated)
    with pytest.raises(PrivacyError, match="image"):
        public._plan(Modality("scan", "image", ("scan",)), stated)
    path.write_text("[ranges]\ncrp = [100, 1]\n")
    with pytest.raises(PrivacyError, match="crp"):
        public.load(path)
