"""From a variant to its predictions: all seeds and all trials of the search in one compilation."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float

from benchmarks.variants.features import Data
from fusionjax import presence as missing
from fusionjax.fusion.variants import Variant
from fusionjax.log_linear import negative_log_likelihood
from fusionjax.types import Features, Fusion, Key, Params


@dataclass(frozen=True)
class Budget:
    """What every variant gets, and no more."""

    trials: int = 8
    """Draws of learning rate, weight decay and modality dropout, the same for every variant."""
    steps: int = 1000
    batch_size: int = 64
    evaluations: int = 20
    """Times that the validation NLL is measured; the parameters of the best one are kept."""


class Hyper(NamedTuple):
    """What the search draws, each [trial]: log-uniform, log-uniform and uniform."""

    learning_rate: Any
    weight_decay: Any
    dropout: Any


LOWEST, HIGHEST = Hyper(5e-4, 1e-4, 0.0), Hyper(2e-2, 1.0, 0.5)


class Seed(NamedTuple):
    """One seed's records, on the device."""

    features: tuple[Features, ...]
    presence: Bool[Array, "record modality"]
    onehot: Float[Array, "record class"]
    bias: Float[Array, " class"]
    train: Array
    trains: Array
    validation: Array
    validates: Array
    test: Array


class Cost(NamedTuple):
    """What a contender took; NaN is what nobody counted.

    Peak memory is XLA's figure for the whole training program, in bytes.
    """

    parameters: int
    flops: float
    compile_seconds: float
    train_seconds: float
    predict_seconds: float
    peak_bytes: float


class Outcome(NamedTuple):
    """log P(y | X) of the validation records as they are, and of the test records as shown."""

    validation: Float[np.ndarray, "seed place class"]
    test: Float[np.ndarray, "seed scenario place class"]
    hyper: Hyper
    validation_nll: Float[np.ndarray, "seed trial"]
    cost: Cost


def run(
    variant: Variant,
    data: Data,
    scenarios: Bool[np.ndarray, "scenario record modality"],
    budget: Budget,
) -> Outcome:
    """Search, keep each seed's best trial by validation NLL, predict under every scenario."""
    seeds = on_device(data)
    hypers, keys = draw(budget.trials), jax.random.split(jax.random.key(0), len(data.bias))
    trained, compiled, seconds = _timed(jax.jit(search(variant, budget)), seeds, hypers, keys)
    params, losses = trained
    best = jnp.argmin(losses, axis=1)
    chosen = jax.tree.map(lambda leaf: leaf[jnp.arange(len(best)), best], params)
    predict = jax.jit(_predict(variant))
    (valid, test), _, predicting = _timed(predict, seeds, chosen, jnp.asarray(scenarios))
    asked = data.test.index.size * len(scenarios) + data.validation.index.size
    cost = Cost(
        parameters=sum(leaf[0, 0].size for leaf in jax.tree.leaves(params)),
        flops=_flops(variant, seeds),
        compile_seconds=round(seconds[0], 2),
        train_seconds=round(seconds[1], 2),
        predict_seconds=predicting[1] / asked,
        peak_bytes=float(compiled),
    )
    hyper = jax.tree.map(lambda leaf: np.asarray(leaf[best]), hypers)
    return Outcome(np.asarray(valid), np.asarray(test), hyper, np.asarray(losses), cost)


def draw(trials: int) -> Hyper:
    """The trials, the same for every variant; the first is the middle of the ranges."""
    at = np.random.default_rng(0).random((trials, 3))
    at[0] = 0.5
    decades = [
        low * (high / low) ** at[:, i]
        for i, (low, high) in enumerate(zip(LOWEST[:2], HIGHEST[:2], strict=True))
    ]
    dropout = LOWEST.dropout + at[:, 2] * (HIGHEST.dropout - LOWEST.dropout)
    return Hyper(*(jnp.asarray(a, jnp.float32) for a in (*decades, dropout)))


def search(variant: Variant, budget: Budget) -> Callable[..., tuple[Params, Array]]:
    """(seeds, hypers, keys) -> parameters [seed, trial, ...] and validation NLL [seed, trial]."""
    one = partial(_fit, variant, budget)
    trials = jax.vmap(one, in_axes=(None, 0, None))
    return jax.vmap(trials, in_axes=(0, None, 0))


def _fit(
    variant: Variant, budget: Budget, at: Seed, hyper: Hyper, key: Key
) -> tuple[Params, Array]:
    fusion = variant.build(at.bias, len(at.features))
    start = fusion.init(key, _rows(at.features, at.train[:1]))
    optimiser = _optimiser(budget, hyper)
    every = budget.steps // budget.evaluations

    def step(carry: tuple, number: Array) -> tuple[tuple, None]:
        params, moments = carry
        picks, drops = jax.random.split(jax.random.fold_in(key, number))
        place = jax.random.randint(picks, (budget.batch_size,), 0, at.trains)
        batch = at.train[place]
        rates = jnp.full(len(at.features), hyper.dropout)
        shown = missing.drop(drops, at.presence[batch], rates)
        seen, onehot = _rows(at.features, batch), at.onehot[batch]
        slope = jax.grad(lambda p: fusion.loss(p, seen, shown, onehot).mean())(params)
        change, moments = optimiser.update(slope, moments, params)
        return (optax.apply_updates(params, change), moments), None

    def stretch(carry: tuple, number: Array) -> tuple[tuple, None]:
        (params, moments), best, least = carry
        numbers = number * every + jnp.arange(every)
        (params, moments), _ = jax.lax.scan(step, (params, moments), numbers)
        nll = _validation_nll(fusion, params, at)
        better = nll < least
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, best)
        return ((params, moments), best, jnp.minimum(nll, least)), None

    first = ((start, optimiser.init(start)), start, _validation_nll(fusion, start, at))
    (_, best, least), _ = jax.lax.scan(stretch, first, jnp.arange(budget.evaluations))
    return best, least


def _optimiser(budget: Budget, hyper: Hyper) -> optax.GradientTransformation:
    """AdamW, warm-up over a tenth of the steps, then half a cosine down to 0."""

    def rate(step: Any) -> Array:
        progress = jnp.asarray(step) / budget.steps
        falling = 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return hyper.learning_rate * jnp.minimum(1, 10 * progress + 0.01) * falling

    decay: Any = hyper.weight_decay
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=decay))


def _validation_nll(fusion: Fusion, params: Params, at: Seed) -> Array:
    seen, here = _rows(at.features, at.validation), at.presence[at.validation]
    losses = negative_log_likelihood(fusion.apply(params, seen, here), at.onehot[at.validation])
    nll = jnp.sum(jnp.where(at.validates, losses, 0)) / jnp.maximum(jnp.sum(at.validates), 1)
    return jnp.where(jnp.isnan(nll), jnp.inf, nll)


def _predict(variant: Variant) -> Callable[..., tuple[Array, Array]]:
    def one(at: Seed, params: Params, scenarios: Array) -> tuple[Array, Array]:
        fusion = variant.build(at.bias, len(at.features))

        def on(rows: Array, shown: Array) -> Array:
            return fusion.apply(params, _rows(at.features, rows), at.presence[rows] & shown[rows])

        valid = on(at.validation, jnp.ones_like(at.presence))
        return valid, jax.lax.map(lambda shown: on(at.test, shown), scenarios)

    return jax.vmap(one, in_axes=(0, 0, None))


def on_device(data: Data) -> Seed:
    """Every leaf with the seed as its first axis."""
    seeds = len(data.bias)
    onehot = jax.nn.one_hot(data.label, len(data.classes))
    shared = jax.tree.map(lambda a: jnp.broadcast_to(a, (seeds, *a.shape)), (data.presence, onehot))
    return Seed(
        features=jax.tree.map(jnp.asarray, data.features),
        presence=shared[0],
        onehot=shared[1],
        bias=jnp.asarray(data.bias),
        train=jnp.asarray(data.train.index),
        trains=jnp.asarray(data.train.there.sum(axis=1)),
        validation=jnp.asarray(data.validation.index),
        validates=jnp.asarray(data.validation.there),
        test=jnp.asarray(data.test.index),
    )


def _rows(features: tuple[Features, ...], rows: Array) -> tuple[Features, ...]:
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), features)


def _timed(jitted: Any, *args: Any) -> tuple[Any, int, tuple[float, float]]:
    """The result, the program's peak bytes, and the seconds to compile and to run it."""
    started = time.perf_counter()
    program = jitted.lower(*args).compile()
    compiled = time.perf_counter()
    found = jax.block_until_ready(program(*args))
    ended = time.perf_counter()
    memory = program.memory_analysis()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    return found, int(peak), (compiled - started, ended - compiled)


def _flops(variant: Variant, seeds: Seed) -> float:
    """Operations of one prediction, as XLA counts those of the traced program."""
    at = jax.tree.map(lambda leaf: leaf[0], seeds)
    fusion = variant.build(at.bias, len(at.features))
    rows = _rows(at.features, at.test[:1])
    params = jax.eval_shape(fusion.init, jax.random.key(0), rows)
    lowered = jax.jit(fusion.apply).lower(params, rows, at.presence[at.test[:1]])
    return float((lowered.cost_analysis() or {}).get("flops", float("nan")))
