"""Training schemes change the loss and its gradient as they say, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np

from fusionjax.fusion.log_linear import log_linear
from fusionjax.fusion.schemes.auxiliary import alone, auxiliary
from fusionjax.fusion.schemes.blending import blend, blending
from fusionjax.fusion.schemes.modulation import coefficients, modulated, noise
from fusionjax.types import Features

BIAS = jnp.log(jnp.array([0.6, 0.4]))
PLAIN = log_linear(BIAS)
RNG = np.random.default_rng(0)
ONEHOT = jax.nn.one_hot(jnp.array([0, 1, 0, 1]), 2)
PRESENCE = jnp.array([[True, True], [True, False], [False, True], [True, True]])


def features() -> tuple[Features, ...]:
    """The first modality knows the label, the second does not."""
    knows = jnp.stack([jnp.ones(4), 2 * ONEHOT[:, 0] - 1], axis=1)
    guesses = jnp.stack([jnp.ones(4), jnp.array([0.3, 0.2, -0.4, 0.1])], axis=1)
    one = jnp.zeros((4, 1, 1)), jnp.ones((4, 1), bool)
    return Features(knows, *one), Features(guesses, *one)


PARAMS = {"theta": (jnp.array([[0.0, 1], [0, -1]]), jnp.array([[0.0, 0.5], [0, -0.5]]))}


def test_auxiliary_adds_the_mean_of_the_losses_alone() -> None:
    args = PARAMS, features(), PRESENCE, ONEHOT
    own = alone(PLAIN, *args)
    first = PLAIN.loss(PARAMS, features(), PRESENCE & jnp.array([[True, False]]), ONEHOT)
    np.testing.assert_allclose(own[:, 0], jnp.where(PRESENCE[:, 0], first, 0))
    assert (own[~np.asarray(PRESENCE)] == 0).all()
    wanted = PLAIN.loss(*args) + 2 * own.sum(axis=1) / PRESENCE.sum(axis=1)
    np.testing.assert_allclose(auxiliary(PLAIN, 2.0).loss(*args), wanted, rtol=1e-6)
    np.testing.assert_array_equal(auxiliary(PLAIN, 0.0).loss(*args), PLAIN.loss(*args))
    assert auxiliary(PLAIN).apply is PLAIN.apply


def test_blending_weighs_whole_and_parts() -> None:
    args = PARAMS, features(), PRESENCE, ONEHOT
    own = alone(PLAIN, *args)
    found = blending(PLAIN, jnp.array([0.5, 0.2, 0.3])).loss(*args)
    wanted = 0.5 * PLAIN.loss(*args) + 0.2 * own[:, 0] + 0.3 * own[:, 1]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_blend_by_hand() -> None:
    """Gains .5, .2, −.1; overfitting .1, .2: worths 50, 5, 0."""
    found = blend(
        jnp.array([1.0, 1.0, 1.0]),
        jnp.array([0.4, 0.6, 0.3]),
        jnp.array([1.0, 1.0, 1.0]),
        jnp.array([0.5, 0.8, 1.1]),
    )
    np.testing.assert_allclose(found, jnp.array([50.0, 5.0, 0.0]) / 55, rtol=1e-4)
    np.testing.assert_allclose(blend(*[jnp.ones(3)] * 4), jnp.ones(3) / 3)


def test_modulation_slows_the_modality_that_is_ahead_and_no_other() -> None:
    seen = features()
    factors = coefficients(PLAIN, PARAMS, seen, PRESENCE, ONEHOT, 0.5)
    assert 0 < factors[0] < 1
    assert factors[1] == 1
    score = PRESENCE[:, 0] * jnp.exp(
        -PLAIN.loss(PARAMS, seen, PRESENCE & jnp.array([[True, False]]), ONEHOT)
    )
    other = PRESENCE[:, 1] * jnp.exp(
        -PLAIN.loss(PARAMS, seen, PRESENCE & jnp.array([[False, True]]), ONEHOT)
    )
    ratio = score.sum() / other.sum()
    np.testing.assert_allclose(factors[0], 1 - jnp.tanh(0.5 * ratio), rtol=1e-5)
    slowed = modulated(({"w": jnp.ones((2, 2))}, {"w": jnp.ones(3)}), factors)
    np.testing.assert_allclose(slowed[0]["w"], factors[0] * jnp.ones((2, 2)))
    np.testing.assert_array_equal(slowed[1]["w"], jnp.ones(3))


def test_modulation_of_one_modality_alone_changes_nothing() -> None:
    alone_at = jnp.array([[True, False]] * 4)
    factors = coefficients(PLAIN, PARAMS, features(), alone_at, ONEHOT, 0.5)
    np.testing.assert_array_equal(factors, jnp.ones(2))


def test_noise_is_as_wide_as_the_gradient_and_spares_biases() -> None:
    gradient = ({"kernel": 3 * jax.random.normal(jax.random.key(0), (200, 100))}, jnp.ones(7))
    added, bias = noise(jax.random.key(1), gradient)
    width = float(jnp.std(gradient[0]["kernel"]))
    error = 5 * width / np.sqrt(2 * 20_000)  # of a deviation from 20,000 draws
    assert abs(float(jnp.std(added["kernel"])) - width) < error < 0.1 * width
    assert abs(float(jnp.mean(added["kernel"]))) < 5 * width / np.sqrt(20_000)
    np.testing.assert_array_equal(bias, jnp.zeros(7))
    other, _ = noise(jax.random.key(2), gradient)
    assert not np.array_equal(added["kernel"], other["kernel"])
