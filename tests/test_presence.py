"""Presence: blanking, dropping, patterns, and the weights of augmented records."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from fusionjax.presence import (
    augment,
    blank,
    by_site,
    drop,
    every,
    exclusive,
    mar,
    mcar,
    mnar,
    patterns,
)

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


def test_every_pattern_is_every_subset_of_what_a_record_has() -> None:
    here = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    rows = every(here)
    np.testing.assert_array_equal(rows.presence[:4], here)
    np.testing.assert_array_equal(np.bincount(rows.index), [7, 3, 1, 1])
    np.testing.assert_allclose(np.bincount(rows.index, rows.weight), 1, rtol=1e-6)
    np.testing.assert_allclose(rows.weight[:4], [4 / 7, 2 / 3, 1, 1], rtol=1e-6)
    for record, own in enumerate(here):
        shown = np.asarray(rows.presence)[np.asarray(rows.index) == record]
        assert len(np.unique(shown, axis=0)) == len(shown)
        assert not (shown & ~own).any()
        assert len(shown) == 1 or shown.any(axis=1).all()


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


def chances(mechanism: str, key: Array, records: int) -> tuple[np.ndarray, np.ndarray]:
    """What three modalities of many records keep, and the score that rules it."""
    score = jnp.asarray(np.random.default_rng(0).normal(size=(records, 3)))
    everything = jnp.ones((records, 3), bool)
    if mechanism == "mar":
        kept = mar(key, everything, RATES, score[:, 1], anchor=1)
        return np.asarray(kept), np.asarray(score[:, [1, 1, 1]])
    return np.asarray(mnar(key, everything, RATES, score)), np.asarray(score)


@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_the_odds_of_a_loss_go_with_the_score(key: Array, mechanism: str) -> None:
    """In each third of the score, within 5 standard errors of the stated chance."""
    kept, score = chances(mechanism, key, 20_000)
    for i in (0, 1, 2):
        if mechanism == "mar" and i == 1:
            assert kept[:, 1].all()
            continue
        rate = float(RATES[i])
        chance = 1 / (1 + (1 - rate) / rate * np.exp(-score[:, i]))
        for third in np.array_split(np.argsort(score[:, i]), 3):
            lost = 1 - kept[third, i].mean()
            assert abs(lost - chance[third].mean()) < 5 * np.sqrt(0.25 / len(third))
        assert chance.std() > 0.05


def test_where_the_anchor_is_missing_nothing_is_known(key: Array) -> None:
    presence = jnp.tile(jnp.array([[True, False, True]]), (20_000, 1))
    kept = mar(key, presence, RATES, jnp.full(20_000, jnp.nan), anchor=1)
    np.testing.assert_allclose(1 - kept[:, 0].mean(), RATES[0], atol=0.02)
    assert not kept[:, 1].any()


def test_a_site_shows_only_what_it_owns() -> None:
    presence, site = presences(0), jnp.arange(40) % 2
    owned = jnp.array([[True, False, True], [False, True, True]])
    kept = by_site(presence, site, owned)
    np.testing.assert_array_equal(kept[::2], presence[::2] & owned[:1])
    np.testing.assert_array_equal(kept[1::2], presence[1::2] & owned[1:])


def test_exclusive_keeps_one_by_weight(key: Array) -> None:
    everything = jnp.ones((20_000, 3), bool)
    rates = jnp.array([0.2, 0.5, 0.8])
    kept = np.asarray(exclusive(key, everything, rates))
    alone = kept.sum(axis=1) == 1
    assert abs(alone.mean() - 0.8) < 0.02
    assert (kept.sum(axis=1)[~alone] == 3).all()
    share = kept[alone].mean(axis=0)
    np.testing.assert_allclose(share, np.array([0.8, 0.5, 0.2]) / 1.5, atol=0.03)
    nobody = exclusive(key, jnp.zeros((4, 3), bool), rates)
    assert not np.asarray(nobody).any()
