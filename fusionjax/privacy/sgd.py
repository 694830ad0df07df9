"""DP-SGD for ψ and θ: each unit's gradient clipped, Poisson batches of one size, Gaussian noise.

Clipping, sampling and noise are jax-privacy's, accounting dp-accounting's (Abadi et al. 2016; for
batches cut at a size, Ganesh 2025, "Tighter privacy analysis for truncated Poisson sampling"). The
unit is sampled, clipped and accounted: a patient's records, `promise.most` of them, make one
gradient. Batches are padded, so that nothing is compiled twice. Nothing is stopped early, and the
last weights are the result. Noise here is floating-point: Mironov's attack (2012) is not excluded.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int, Shaped

from fusionjax.privacy.guarantee import (
    Guarantee,
    PrivacyError,
    Promise,
    Sampler,
    check,
    units,
)
from fusionjax.train import Network, Weights, log_prob
from fusionjax.types import Batch, Params

Loss = Callable[[Params, Any, Bool[Array, " record"]], Float[Array, ""]]
GRID = 1e-3
"""Of the privacy loss, rounded up: a coarser one promises less than it could, never more."""
SPARE = 4.0
"""Deviations by which a batch may exceed its expected size before units are left out."""


@dataclass(frozen=True)
class Config:
    """How a network is trained under a promise."""

    promise: Promise = field(default_factory=Promise)
    steps: int = 300
    batch_size: int = 64
    """Expected units in a batch."""
    clip: float = 1.0
    """Norm to which a unit's gradient is shortened."""
    learning_rate: float = 5e-3
    sampler: Sampler = "poisson"


class Trained(NamedTuple):
    """The last weights, what is promised of them, and how often a step was compiled."""

    weights: Params
    guarantee: Guarantee
    compiled: int


def fit(
    loss: Loss,
    weights: Params,
    data: Any,
    group: Shaped[np.ndarray, " record"],
    config: Config,
    seed: int | None = None,
    public: tuple[str, ...] = (),
) -> Trained:
    """Minimise the sum over units of `loss(weights, records, there)` from `weights` on.

    `data` is a tree of arrays [record, …]; `loss` sees the records of one unit, of which `there`
    says which are more than padding. With a `seed` noise and batches can be drawn again: a
    rehearsal, which promises nothing. Raises PrivacyError where the promise would not hold.
    """
    from jax_privacy import batch_selection, clipping, noise_addition

    promise, of = config.promise, units(config.promise, group)
    check(promise, of.count, config.sampler)
    member = _members(of.of, of.count, promise.most or 1)
    size = largest(of.count, config.batch_size)
    z = multiplier(promise, of.count, config.batch_size, config.steps)
    grad = clipping.clipped_grad(
        loss, l2_clip_norm=config.clip, batch_argnums=(1, 2), keep_batch_dim=False
    )
    entropy = int.from_bytes(os.urandom(16), "little") if seed is None else seed
    # jax.random's own key has 64 bits; batches are drawn by NumPy with 128.
    bits = np.random.SeedSequence(entropy).generate_state(2)
    privatizer = noise_addition.gaussian_privatizer(
        stddev=config.clip * z, prng_key=jax.random.wrap_key_data(jnp.asarray(bits))
    )
    optimiser = optax.adam(config.learning_rate)
    compiled = 0

    @jax.jit
    def step(weights, state, noise, data, rows, empty):
        nonlocal compiled
        compiled += 1
        there = rows >= 0
        records = jax.tree.map(lambda leaf: leaf[jnp.maximum(rows, 0)], data)
        total = grad(weights, records, there, is_padding_example=empty)
        noisy, noise = privatizer.update(total, noise)
        mean = jax.tree.map(lambda g: g / config.batch_size, noisy)
        change, state = optimiser.update(mean, state, weights)
        return optax.apply_updates(weights, change), state, noise

    sampler = batch_selection.CyclicPoissonSampling(
        config.batch_size / of.count, config.steps, truncated_batch_size=size
    )
    state, noise = optimiser.init(weights), privatizer.init(weights)
    data = jax.tree.map(jnp.asarray, data)
    for chosen in sampler.batch_iterator(of.count, np.random.default_rng([entropy, 1])):
        padded = np.full(size, -1)
        padded[: len(chosen)] = chosen
        rows = np.where(padded[:, None] >= 0, member[padded], -1)
        weights, state, noise = step(weights, state, noise, data, rows, padded < 0)
    return Trained(weights, _guarantee(config, of.count, size, z, seed, public), compiled)


def network_loss(network: Network, classes: int) -> Loss:
    """The loss of a network for `fit`, on a batch of records as data."""

    def loss(weights: Weights, batch: Batch, there: Bool[Array, " record"]) -> Float[Array, ""]:
        onehot = jax.nn.one_hot(batch.label, classes)
        each = -jnp.sum(onehot * log_prob(network, weights, batch.inputs, batch.presence), axis=1)
        return jnp.sum(jnp.where(there, each, 0))

    return loss


def largest(count: int, batch_size: int) -> int:
    """Units in a padded batch: what Poisson sampling hardly ever exceeds."""
    if not 0 < batch_size <= count:
        raise PrivacyError(
            "batch_size", f"is {batch_size} of {count} units", "Take fewer than all."
        )
    spread = math.sqrt(batch_size * (1 - batch_size / count))
    return min(count, math.ceil(batch_size + SPARE * spread))


@cache
def multiplier(promise: Promise, count: int, batch_size: int, steps: int) -> float:
    """The noise multiplier at which so many steps keep the promise."""
    import dp_accounting as dp

    return float(
        dp.calibrate_dp_mechanism(
            _accountant,
            lambda z: _event(float(z), count, batch_size, steps),
            promise.epsilon,
            promise.delta,
            tol=1e-3,
        )
    )


def epsilon(z: float, delta: float, count: int, batch_size: int, steps: int) -> float:
    """ε of so many steps with noise multiplier z."""
    accountant = _accountant()
    accountant.compose(_event(z, count, batch_size, steps))
    return float(accountant.get_epsilon(delta))


def _accountant() -> Any:
    import dp_accounting as dp

    return dp.pld.PLDAccountant(
        dp.NeighboringRelation.REPLACE_SPECIAL, value_discretization_interval=GRID
    )


def _event(z: float, count: int, batch_size: int, steps: int) -> Any:
    import dp_accounting as dp

    step = dp.TruncatedSubsampledGaussianDpEvent(
        dataset_size=count,
        sampling_probability=batch_size / count,
        truncated_batch_size=largest(count, batch_size),
        noise_multiplier=z,
    )
    return dp.SelfComposedDpEvent(step, steps)


def _members(of: Int[np.ndarray, " record"], count: int, most: int) -> Int[np.ndarray, "unit most"]:
    """The records of each unit, −1 where it has fewer; the last row, for no unit, is never read."""
    member, filled = np.full((count, most), -1), np.zeros(count, int)
    for row in np.flatnonzero(of >= 0):
        member[of[row], filled[of[row]]] = row
        filled[of[row]] += 1
    return member


def _guarantee(
    config: Config, count: int, size: int, z: float, seed: int | None, public: tuple[str, ...]
) -> Guarantee:
    promise = config.promise
    return Guarantee(
        epsilon=promise.epsilon,
        delta=promise.delta,
        unit=promise.unit,
        units=count,
        most=promise.most or 1,
        sampler=f"Poisson, {config.batch_size} of {count} expected and {size} at most, "
        f"{config.steps} steps",
        clip=config.clip,
        noise=((f"each of {config.steps} steps", z),),
        accountant="privacy loss distributions of truncated Poisson-sampled Gaussians",
        public=(
            "the number of units",
            "the weights that training starts from",
            "no early stopping or tuning",
            *public,
        ),
        rehearsal=seed is not None,
    )
