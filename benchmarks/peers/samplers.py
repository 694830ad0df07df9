"""Samplers of θ's posterior that others made, each as it comes, and how long 400 draws take.

Each is told the records and seeds, and for each seed gives draws, chain by chain, and seconds: of
warming up, compiling once, and of sampling. JAX computes behind the back of whoever asks: every
clock is read after the answer is there.
"""

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fusionjax.posterior import Observations, program


class Sampled(NamedTuple):
    """Draws [chain, draw, class, feature] of each θ by name, and seconds before and of sampling.

    Those before hold what XLA's compiler had of them, `compiling`.
    """

    theta: dict[str, np.ndarray]
    warm: float
    compiling: float
    sampling: float


@contextmanager
def compiler() -> Iterator[list[float]]:
    """The seconds of each call of XLA's compiler meanwhile."""
    seconds: list[float] = []

    def heard(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield seconds
    jax.monitoring.unregister_event_duration_listener(heard)


def numpyro(
    observations: Observations, bias: jax.Array, seeds: Sequence[int], *, dense: bool = False
) -> Iterator[Sampled]:
    """NumPyro's NUTS on the program, as it comes, four vectorised chains.

    Its `run` compiles anew at every call, what a single call would do once: so only the compiling
    of the warm-up counts, which is of the same program.
    """
    from numpyro.infer import MCMC, NUTS

    for seed in seeds:
        sampler = MCMC(
            NUTS(program.model, dense_mass=dense),
            num_warmup=300,
            num_samples=100,
            num_chains=4,
            chain_method="vectorized",
            progress_bar=False,
        )
        started = time.perf_counter()
        with compiler() as compiling:
            sampler.warmup(jax.random.key(seed), observations, bias)
            state = jax.block_until_ready(sampler.post_warmup_state)
        warm = time.perf_counter() - started

        @jax.jit
        def run(key, state, sampler=sampler):
            sampler.post_warmup_state = state
            sampler.run(key, observations, bias)
            return sampler.get_samples(group_by_chain=True)

        keys = jax.random.split(jax.random.key(seed + 1000))
        samples, _, took = twice(partial(run, state=state), keys)
        yield Sampled(weights(samples), warm, sum(compiling), took)


def numpyro_dense(
    observations: Observations, bias: jax.Array, seeds: Sequence[int]
) -> Iterator[Sampled]:
    """The same with a dense mass matrix."""
    yield from numpyro(observations, bias, seeds, dense=True)


def blackjax(
    observations: Observations, bias: jax.Array, seeds: Sequence[int]
) -> Iterator[Sampled]:
    """BlackJAX's adjusted MCLMC with its own tuning, in NumPyro's unconstrained space."""
    peer = importlib.import_module("blackjax")
    dynamic = importlib.import_module("blackjax.mcmc.adjusted_mclmc_dynamic")
    begun = time.perf_counter()
    start, density, theta = flattened(observations, bias)
    made = time.perf_counter() - begun
    kernel = dynamic.build_kernel(dynamic.make_random_trajectory_length_fn(True))

    def tunable(rng_key, state, logdensity_fn, step_size, inverse_mass_matrix, **given):
        length = given["integration_steps_params"]
        return kernel(
            rng_key,
            state,
            logdensity_fn,
            step_size,
            inverse_mass_matrix=inverse_mass_matrix,
            integration_steps_params=length,
        )

    @jax.jit
    @jax.vmap
    def chain(key):
        first, tune, go = jax.random.split(key, 3)
        state = dynamic.init(start, density, first)
        found = peer.adjusted_mclmc_find_L_and_step_size(
            tunable, density, num_steps=5000, state=state, rng_key=tune, target=0.9
        )
        return found[0], found[1], go

    @jax.jit
    @jax.vmap
    def draw(key, state, tuned):
        length = (tuned.L / tuned.step_size,)

        def step(state, key):
            state, _ = tunable(
                key,
                state,
                density,
                tuned.step_size,
                tuned.inverse_mass_matrix,
                integration_steps_params=length,
            )
            return state, state.position

        return jax.lax.scan(step, state, jax.random.split(key, 2000))[1]

    for seed in seeds:
        started = time.perf_counter()
        keys = jax.random.split(jax.random.key(seed), 4)
        with compiler() as compiling:
            state, tuned, go = jax.block_until_ready(chain(keys))
        warm = made + time.perf_counter() - started
        keys = jnp.swapaxes(jax.vmap(jax.random.split)(go), 0, 1)
        x, compiled, took = twice(partial(draw, state=state, tuned=tuned), keys)
        yield Sampled(theta(x), warm + compiled, sum(compiling) + compiled, took)


def nutpie(observations: Observations, bias: jax.Array, seeds: Sequence[int]) -> Iterator[Sampled]:
    """nutpie on the gradient that JAX makes of the program, as it comes."""
    peer = importlib.import_module("nutpie")
    begun = time.perf_counter()
    start, log_density, theta = flattened(observations, bias)
    gradient = jax.jit(jax.value_and_grad(log_density))

    def density(x):
        value, slope = gradient(jnp.asarray(x, jnp.float32))
        return float(value), np.asarray(slope, np.float64)

    compiled = peer.compiled_pyfunc.from_pyfunc(
        len(start),
        lambda: density,
        lambda *_: lambda x: {"x": np.asarray(x)},
        [np.dtype("float64")],
        [(len(start),)],
        ["x"],
    )
    made = time.perf_counter() - begun
    for seed in seeds:
        started = time.perf_counter()
        with compiler() as compiling:
            trace = peer.sample(
                compiled, draws=100, tune=300, chains=4, cores=2, seed=seed, progress_bar=False
            )
        took = time.perf_counter() - started
        before, after = (
            float(np.sum(stats["n_steps"].to_numpy()))
            for stats in (trace.warmup_sample_stats, trace.sample_stats)
        )
        x = jnp.asarray(np.asarray(trace.posterior["x"]), jnp.float32)
        sampling = took * after / (before + after)
        yield Sampled(theta(x), made + took - sampling, sum(compiling), sampling)


class Flattened(NamedTuple):
    """The posterior as a density of one vector, and θ of such vectors [chain, draw, place]."""

    start: jax.Array
    density: Callable[[jax.Array], jax.Array]
    theta: Callable[[jax.Array], dict[str, np.ndarray]]


def flattened(observations: Observations, bias: jax.Array) -> Flattened:
    """NumPyro's own unconstrained space, whose coordinates stand one after another."""
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import initialize_model

    info = initialize_model(
        jax.random.key(0), program.model, model_args=(observations, bias), dynamic_args=False
    )
    start, unravel = ravel_pytree(info.param_info.z)
    back = jax.vmap(jax.vmap(lambda x: info.postprocess_fn(unravel(x))))
    return Flattened(start, lambda x: -info.potential_fn(unravel(x)), lambda x: weights(back(x)))


def twice(run: Callable[[Any], Any], keys: jax.Array) -> tuple[Any, float, float]:
    """What a run for each of two keys gave, chain by chain, and how long they took.

    The seconds that the first compiled, and those of sampling in both.
    """
    found, seconds = [], []
    for key in keys:
        started = time.perf_counter()
        found.append(jax.block_until_ready(run(key)))
        seconds.append(time.perf_counter() - started)
    both = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *found)
    return both, max(seconds[0] - seconds[1], 0.0), 2 * seconds[1]


def weights(samples: dict[str, Any]) -> dict[str, np.ndarray]:
    """The draws of θ among those of a program."""
    return {k: np.asarray(v) for k, v in samples.items() if k.startswith("theta")}
