"""Corruptions: a strength of 0 changes nothing, and each does what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionjax.corrupt import image, laboratory, noise, note, sound
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


def pictures() -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (3, 2, 16, 12, 1))


def test_no_strength_changes_nothing() -> None:
    key, values, mask = jax.random.key(0), pictures(), jnp.ones((2, 1, 9), bool)
    table = jnp.array([[1.0, jnp.nan], [2.0, 3.0]])
    wave = jnp.array([[0.5, -1.0, 0.25]])
    text = "Legs: slim ankles. Skin: dry and cool."
    np.testing.assert_array_equal(noise.gaussian(key, table, 0.0), table)
    np.testing.assert_array_equal(image.blurred(values, 0.0), values)
    np.testing.assert_array_equal(image.occluded(key, values, 0.0), values)
    np.testing.assert_array_equal(sound.truncated(key, mask, 0.0), mask)
    np.testing.assert_array_equal(sound.clipped(wave, 0.0), wave)
    np.testing.assert_array_equal(laboratory.stuck(key, table, 0.0), table)
    np.testing.assert_array_equal(laboratory.wrong_unit(key, table, jnp.full(2, 9.0), 0.0), table)
    assert note.negated(key, text, 0.0) == text


def test_noise_is_in_units_of_each_columns_deviation() -> None:
    values = jnp.asarray(np.random.default_rng(0).normal(size=(20_000, 2)) * [1.0, 100.0])
    added = noise.gaussian(jax.random.key(0), values, 0.5) - values
    np.testing.assert_allclose(added.std(axis=0) / values.std(axis=0), 0.5, rtol=0.03)


def test_blur_keeps_the_mean_of_a_flat_picture_and_takes_away_detail() -> None:
    flat = jnp.full((1, 1, 8, 8, 1), 0.3)
    np.testing.assert_allclose(image.blurred(flat, 2.0), flat, rtol=1e-5)
    weak, strong = (image.blurred(pictures(), s).std() for s in (0.5, 2.0))
    assert strong < weak < pictures().std()


def test_occlusion_covers_the_stated_area_somewhere_else_in_each_row() -> None:
    values = pictures()
    got = image.occluded(jax.random.key(2), values, 0.25)
    covered = np.asarray(got != values)[:, :, :, :, 0]
    np.testing.assert_allclose(covered.mean(axis=(2, 3)), 0.25, atol=0.02)
    assert (covered[:, 0] == covered[:, 1]).all()
    assert (covered[0] != covered[1]).any() or (covered[0] != covered[2]).any()


def test_a_recording_breaks_off_at_its_end_and_padding_does_not_count() -> None:
    mask = jnp.arange(100)[None, None, :] < jnp.full((50, 1, 1), 60)
    got = np.asarray(sound.truncated(jax.random.key(3), mask, 0.5))
    left = got.sum(axis=2)
    assert (left >= 30).all()
    assert (left <= 60).all()
    assert left.std() > 5
    assert (np.diff(got.astype(int), axis=2) <= 0).all()


def test_clipping_and_units_and_dead_sensors() -> None:
    wave = jnp.array([[0.5, -1.0, 0.25]])
    np.testing.assert_allclose(sound.clipped(wave, 0.6), [[0.4, -0.4, 0.25]])
    glucose = jnp.full((10_000, 1), 90.0)
    factor = jnp.array([1 / laboratory.MG_DL_PER_MMOL_L["glucose"]])
    got = laboratory.wrong_unit(jax.random.key(4), glucose, factor, 0.3)[:, 0]
    assert abs(float((got < 10).mean()) - 0.3) < 0.03
    np.testing.assert_allclose(got[got < 10], 4.9956, rtol=1e-3)
    table = jnp.array([[jnp.nan, 1.0], [7.0, 2.0], [8.0, 3.0]])
    np.testing.assert_array_equal(laboratory.stuck(jax.random.key(5), table, 1.0), [[7.0, 1.0]] * 3)


def test_notes_are_shuffled_by_sentence_and_denied() -> None:
    text = "One two. Three four! Five?"
    seen = {note.shuffled(jax.random.key(k), text) for k in range(30)}
    assert len(seen) == 6
    assert all(sorted(s.split()) == sorted(text.split()) for s in seen)
    denied = note.negated(jax.random.key(0), text, 1.0)
    assert denied == "No sign of one two. No sign of three four! No sign of five?"
