"""Presence: blanking, dropping, patterns, and the weights of augmented records."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from fusionjax.presence import augment, blank, drop, mcar, patterns

RATES = jnp.array([0.2, 0.5, 0.9])


def presences(seed: int) -> Array:
    return jax.random.bernoulli(jax.random.key(seed), 0.6, (40, 3))


seeds = st.integers(0, 2**31 - 1)


def test_blank_stops_nan_in_value_and_gradient() -> None:
    features = (jnp.array([[1.0, jnp.nan], [2.0, 3.0]]), jnp.array([[4.0], [jnp.inf]]))
    presence = jnp.array([[False, True], [True, False]])
    first, second = blank(features, presence)
    np.testing.assert_array_equal(first, [[0, 0], [2, 3]])
    np.testing.assert_array_equal(second, [[4], [0]])
    slope = jax.grad(lambda f: sum((g**2).sum() for g in blank(f, presence)))(features)
    np.testing.assert_array_equal(slope[0], [[0, 0], [4, 6]])


@pytest.mark.parametrize("modalities", [1, 2, 3, 5])
def test_patterns_are_all_the_non_empty_ones_fullest_first(modalities: int) -> None:
    rows = np.asarray(patterns(modalities))
    expected = {p for p in product((True, False), repeat=modalities) if any(p)}
    assert len(rows) == 2**modalities - 1
    assert set(map(tuple, rows)) == expected
    assert rows[0].all()
    assert (np.diff(rows.sum(axis=1)) <= 0).all()


@given(seeds, seeds)
def test_drop_only_takes_away_and_never_everything(seed: int, other: int) -> None:
    presence = presences(other)
    for rates in (RATES, jnp.ones(3)):
        kept = drop(jax.random.key(seed), presence, rates)
        assert not (kept & ~presence).any()
        np.testing.assert_array_equal(kept.any(axis=1), presence.any(axis=1))


@given(seeds)
def test_rate_0_drops_nothing_and_rate_1_all_but_one(seed: int) -> None:
    key, presence = jax.random.key(seed), presences(seed)
    np.testing.assert_array_equal(drop(key, presence, jnp.zeros(3)), presence)
    np.testing.assert_array_equal(
        drop(key, presence, jnp.ones(3)).sum(axis=1), presence.any(axis=1)
    )
    assert not mcar(key, presence, jnp.ones(3)).any()


def drop_law(present: tuple[bool, ...], rates: np.ndarray) -> dict[tuple[bool, ...], float]:
    """P(pattern after drop), by enumeration."""
    law: dict[tuple[bool, ...], float] = {}
    for kept in product((True, False), repeat=len(present)):
        if any(k and not o for k, o in zip(kept, present, strict=True)):
            continue
        lost = [(r if not k else 1 - r) for k, o, r in zip(kept, present, rates, strict=True) if o]
        if any(kept):
            law[kept] = law.get(kept, 0) + float(np.prod(lost))
            continue
        for i in np.flatnonzero(present):
            one = tuple(bool(j == i) for j in range(len(present)))
            law[one] = law.get(one, 0) + float(np.prod(lost)) / sum(present)
    return law


@pytest.mark.parametrize("present", [(True, True, True), (True, False, True)])
def test_drop_has_the_stated_law(key: Array, present: tuple[bool, ...]) -> None:
    """Frequencies of 20,000 records within 5 standard errors of the enumerated probabilities."""
    records = 20_000
    kept = np.asarray(drop(key, jnp.tile(jnp.array(present), (records, 1)), RATES))
    law = drop_law(present, np.asarray(RATES))
    assert sum(law.values()) == pytest.approx(1)
    for pattern, probability in law.items():
        frequency = (kept == np.array(pattern)).all(axis=1).mean()
        assert abs(frequency - probability) < 5 * np.sqrt(probability / records)


@settings(max_examples=10)
@given(seeds, st.sampled_from([0, 1, 3]))
def test_weights_of_a_record_sum_to_one(seed: int, draws: int) -> None:
    presence = presences(seed)
    rows = augment(jax.random.key(seed), presence, RATES, draws)
    assert rows.presence.shape == ((1 + draws) * len(presence), 3)
    np.testing.assert_allclose(np.bincount(rows.index, rows.weight), 1, rtol=1e-6)
    np.testing.assert_array_equal(rows.presence[: len(presence)], presence)
    assert not (rows.presence & ~presence[rows.index]).any()


def test_records_and_draws_are_dropped_independently(key: Array) -> None:
    rows = augment(key, jnp.ones((200, 3), bool), jnp.full(3, 0.5), 2)
    first, second = np.asarray(rows.presence[200:400]), np.asarray(rows.presence[400:])
    assert (first != second).any()
    assert len(np.unique(first, axis=0)) == 7


def test_weighted_information_is_never_below_the_variance_of_the_weighted_score() -> None:
    """Σ_k w_k I_k − Var(Σ_k w_k s_k) is positive semi-definite, by enumeration of a true model."""
    rng = np.random.default_rng(0)
    prior = np.array([0.5, 0.3, 0.2])
    likelihood = [rng.dirichlet(np.ones(3), size=3) for _ in range(2)]
    joint = np.einsum("y,ya,yb->yab", prior, *likelihood)
    rows = augment(jax.random.key(1), jnp.ones((1, 2), bool), jnp.full(2, 0.5), 4)
    weighted, claimed = np.zeros((18, 18)), np.zeros((18, 18))
    for y, a, b in product(range(3), repeat=3):
        scores = []
        for present in np.asarray(rows.presence):
            p = joint[:, a if present[0] else slice(None), b if present[1] else slice(None)]
            p = p.reshape(3, -1).sum(axis=1)
            x = np.concatenate([np.eye(3)[a] * present[0], np.eye(3)[b] * present[1]])
            scores.append(np.outer(np.eye(3)[y] - p / p.sum(), x).ravel())
        mean = np.einsum("k,kd->d", rows.weight, scores)
        weighted += joint[y, a, b] * np.outer(mean, mean)
        claimed += joint[y, a, b] * np.einsum("k,kd,ke->de", rows.weight, scores, scores)
    gap = np.linalg.eigvalsh(claimed - weighted)
    assert gap.min() > -1e-9
    assert gap.max() > 1e-3
