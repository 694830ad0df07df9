"""What must hold where records lack or contradict, on the clinic whose truth is known.

Each law is tested on the clinic's exact posterior first, where it is a theorem, and then on models
that were fitted to its findings.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from fusionjax import metrics
from fusionjax.clinic import world
from fusionjax.fusion import reliability
from fusionjax.missing import gaussian, linear
from fusionjax.missing.types import every_pattern
from fusionjax.posterior import laplace, observe
from fusionjax.presence import patterns

CLASSES = len(world.CLASSES)
BIAS = jnp.log(jnp.asarray(world.PREVALENCE, jnp.float32))
PATTERNS = np.asarray(patterns(4))


class Patients(NamedTuple):
    cohort: world.Cohort
    features: tuple[Array, ...]
    label: np.ndarray


def patients(rows: int, seed: int, dials: world.Dials) -> Patients:
    """The findings that files would show, in their natural statistics, with the constant."""
    cohort = world.sample(np.random.default_rng(seed), world.make(dials), rows)
    features = tuple(
        jnp.asarray(np.c_[np.ones(rows), world.statistics(i, z)], jnp.float32)
        for i, z in enumerate(cohort.findings)
    )
    return Patients(cohort, features, cohort.label)


@cache
def fitted(severity: float) -> gaussian.Params:
    train = patients(3000, 1, world.Dials(severity=severity))
    everything = jnp.ones((3000, 4), bool)
    rows = observe(train.features, everything, jnp.asarray(train.label), CLASSES)
    return gaussian.fit(jax.random.key(0), rows, BIAS)


def less(pattern: np.ndarray, i: int) -> int:
    """The place of the pattern that lacks modality i as well; -1 where nothing would be left."""
    smaller = pattern & (np.arange(4) != i)
    same = (smaller == PATTERNS).all(axis=1)
    return int(np.flatnonzero(same)[0]) if same.any() else -1


def falls(entropy: np.ndarray) -> list[tuple[float, float]]:
    """Mean rise in entropy [pattern, patient] as a modality is taken away, and its error."""
    found = []
    for place, pattern in enumerate(PATTERNS):
        for i in np.flatnonzero(pattern):
            if (other := less(pattern, i)) >= 0:
                rise = entropy[other] - entropy[place]
                found.append((float(rise.mean()), float(rise.std() / np.sqrt(len(rise)))))
    return found


@settings(max_examples=5)
@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 0.3]))
def test_uncertainty_does_not_fall_when_a_modality_is_taken_away(
    seed: int, severity: float, swap: float
) -> None:
    """On average over 2,000 patients, within 4 standard errors, by the exact posterior."""
    dials = world.Dials(severity=severity, swap=swap)
    at, some = world.make(dials), patients(2000, seed, dials)
    exact = [np.exp(world.truth(at, some.cohort, np.flatnonzero(p).tolist())) for p in PATTERNS]
    rises = falls(metrics.entropy(np.stack(exact)))
    assert all(mean > -4 * error for mean, error in rises)
    assert np.mean([mean for mean, _ in rises]) > 0.05
    one = metrics.entropy(np.stack(exact))
    assert any((one[less(PATTERNS[0], i)] < one[0]).any() for i in range(4)), "not for each patient"


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_nor_does_a_fitted_models(severity: float) -> None:
    some = patients(2000, 2, world.Dials(severity=severity))
    said = every_pattern(gaussian.log_prob, fitted(severity), BIAS, some.features)
    rises = falls(metrics.entropy(np.exp(np.asarray(said, float))))
    assert all(mean > -4 * error for mean, error in rises)


def test_uncertainty_rises_when_a_modality_contradicts_and_the_right_one_is_doubted() -> None:
    """The mixture at π = .8. A plain product is wrong there, and surer than it should be."""
    some = patients(4000, 3, world.Dials())
    params = fitted(0.0)
    alone = [jnp.tile(jnp.arange(4)[None, :] == i, (4000, 1)) for i in range(4)]
    experts = jnp.stack(
        [gaussian.log_prob(params, BIAS, some.features, shown) for shown in alone], axis=1
    )
    order = np.random.default_rng(4).permutation(4000)
    contradicts = some.label != some.label[order]
    swapped = experts.at[:, 2].set(experts[order, 2])
    everything, pi = jnp.ones((4000, 4), bool), jnp.full(4, 0.8)

    def of(shown: Array, trust: Array) -> np.ndarray:
        return np.exp(np.asarray(reliability.log_prob(shown, BIAS, everything, trust), float))

    before, after = of(experts, pi)[contradicts], of(swapped, pi)[contradicts]
    assert (metrics.entropy(after) - metrics.entropy(before)).mean() > 0.1
    doubt = 1 - np.asarray(reliability.reliable(swapped, BIAS, everything, pi))[contradicts]
    gap = doubt[:, 2] - doubt[:, [0, 1, 3]].mean(axis=1)
    assert gap.mean() > 5 * gap.std() / np.sqrt(len(gap))
    label, plain = some.label[contradicts], of(swapped, jnp.ones(4))[contradicts]
    assert metrics.nll(after, label) < metrics.nll(plain, label) - 0.05
    assert metrics.ece(after, label) < metrics.ece(plain, label)


def test_nothing_present_is_the_prior() -> None:
    some = patients(5, 5, world.Dials())
    nothing = jnp.zeros((5, 4), bool)
    got = jnp.exp(gaussian.log_prob(fitted(0.0), BIAS, some.features, nothing))
    np.testing.assert_allclose(got, np.tile(world.PREVALENCE, (5, 1)), rtol=1e-5)
    exact = world.truth(world.make(world.Dials()), some.cohort, [])
    np.testing.assert_allclose(np.exp(exact), np.tile(world.PREVALENCE, (5, 1)))


@pytest.mark.slow
def test_an_uninformative_modality_gets_a_scale_near_nothing_and_costs_nothing() -> None:
    train, test = patients(1000, 6, world.Dials()), patients(4000, 7, world.Dials())
    rng = np.random.default_rng(8)
    babble = [
        jnp.asarray(np.c_[np.ones(rows), rng.normal(size=(rows, 4))], jnp.float32)
        for rows in (1000, 4000)
    ]
    loss, label = {}, np.asarray(test.label)
    for name, extra in (("without", False), ("with", True)):
        inputs = [
            (*p.features, b) if extra else p.features
            for p, b in zip((train, test), babble, strict=True)
        ]
        everything = jnp.ones((1000, len(inputs[0])), bool)
        rows = observe(inputs[0], everything, jnp.asarray(train.label), CLASSES)
        found = laplace.fit(jax.random.key(0), rows, BIAS, draws=100)
        theta = tuple(t.mean(axis=0) for t in found.theta)
        vector = jnp.concatenate(inputs[1], axis=1)
        flat = (jnp.concatenate(theta, axis=1),)
        prob = np.exp(np.asarray(linear.log_prob_of_vector(flat, BIAS, vector), float))
        loss[name] = float(metrics.nll(prob, label))
        if extra:
            tau = np.asarray(found.tau).mean(axis=0)
            assert tau[4] < 0.25 * tau[:4].min()
    assert loss["with"] < loss["without"] + 0.01
