"""Corruptions: a strength of 0 changes nothing, and each does what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionjax.corrupt.swap import donors, exchanged

ROWS = 40
seeds = st.integers(0, 2**31 - 1)


@given(seeds, st.booleans())
def test_a_donor_has_the_modality_and_another_class_if_asked(seed: int, other: bool) -> None:
    rng = np.random.default_rng(seed)
    presence = jnp.asarray(rng.random((ROWS, 3)) < 0.6)
    label = jnp.asarray(rng.integers(3, size=ROWS))
    key = jax.random.key(seed)
    donor = np.asarray(donors(key, presence, jnp.ones(3), label if other else None))
    own = np.arange(ROWS)[:, None]
    moved = donor != own
    columns = np.broadcast_to(np.arange(3), donor.shape)
    assert np.asarray(presence)[donor, columns][moved].all()
    assert not moved[~np.asarray(presence)].any()
    if other:
        assert (np.asarray(label)[donor] != np.asarray(label)[own])[moved].all()
        assert moved[np.asarray(presence)].all()
    np.testing.assert_array_equal(donors(key, presence, jnp.zeros(3)), np.tile(own, 3))


@pytest.mark.parametrize("other", [False, True])
def test_every_possible_donor_is_as_likely(other: bool) -> None:
    """Frequencies over 4,000 keys within 5 standard errors."""
    presence = jnp.array([[True], [True], [False], [True], [True]])
    label = jnp.array([0, 1, 1, 1, 2])
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.vmap(lambda k: donors(k, presence, jnp.ones(1), label if other else None)[1, 0])
    share = np.bincount(np.asarray(draw(keys)), minlength=5) / 4000
    possible = np.array([1, 0, 0, 0, 1]) if other else np.array([1, 1, 0, 1, 1])
    expected = possible / possible.sum()
    assert (np.abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / 4000)).all()


def test_where_nobody_can_be_a_donor_nothing_is_swapped() -> None:
    presence, label = jnp.ones((4, 1), bool), jnp.zeros(4, int)
    got = donors(jax.random.key(0), presence, jnp.ones(1), label)
    np.testing.assert_array_equal(got[:, 0], np.arange(4))


def test_a_modality_moves_with_all_its_arrays() -> None:
    donor = jnp.array([[1, 0], [1, 0]])
    image, note = (jnp.array([[1.0], [2.0]]), jnp.array([10, 20])), jnp.array([5, 6])
    (pixels, mask), words = exchanged((image, note), donor)
    np.testing.assert_array_equal(pixels, [[2.0], [2.0]])
    np.testing.assert_array_equal(mask, [20, 20])
    np.testing.assert_array_equal(words, [5, 5])
