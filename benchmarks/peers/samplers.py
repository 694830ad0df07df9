"""Samplers of θ's posterior that others made, each as it comes, and how long 400 draws take.

Each is told the records and gives seconds: of compiling and warming up, and of sampling until its
own estimate of the effective size of every weight, and of its square, is 400. JAX computes behind
the back of whoever asks: every clock is read after the answer is there.
"""

import importlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fusionjax.posterior import Observations, program
from fusionjax.posterior.certificate import mixing

ENOUGH = 400.0


def numpyro(observations: Observations, bias: jax.Array, *, dense: bool) -> dict:
    """NumPyro's NUTS on the program, as it comes, four vectorised chains."""
    from numpyro.infer import MCMC, NUTS

    sampler = MCMC(
        NUTS(program.model, dense_mass=dense),
        num_warmup=300,
        num_samples=100,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    started = time.perf_counter()
    sampler.warmup(jax.random.key(0), observations, bias)
    state = jax.block_until_ready(sampler.post_warmup_state)
    warm = time.perf_counter() - started

    def run(seed):
        sampler.post_warmup_state = state
        sampler.run(jax.random.key(seed), observations, bias)
        return sampler.get_samples(group_by_chain=True)

    samples, compiled, took = twice(run)
    return reached(samples, warm + compiled, took)


def blackjax(observations: Observations, bias: jax.Array) -> dict:
    """BlackJAX's adjusted MCLMC with its own tuning, in NumPyro's unconstrained space."""
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import initialize_model

    peer = importlib.import_module("blackjax")
    dynamic = importlib.import_module("blackjax.mcmc.adjusted_mclmc_dynamic")
    started = time.perf_counter()
    info = initialize_model(
        jax.random.key(0), program.model, model_args=(observations, bias), dynamic_args=False
    )
    start, unravel = ravel_pytree(info.param_info.z)

    def density(x):
        return -info.potential_fn(unravel(x))

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

    def chain(key):
        first, tune, go = jax.random.split(key, 3)
        state = dynamic.init(start, density, first)
        found = peer.adjusted_mclmc_find_L_and_step_size(
            tunable, density, num_steps=5000, state=state, rng_key=tune, target=0.9
        )
        return found[0], found[1], go

    def draw(state, tuned, key):
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

    keys = jax.random.split(jax.random.key(1), 4)
    state, tuned, go = jax.block_until_ready(jax.jit(jax.vmap(chain))(keys))
    warm, go_on = time.perf_counter() - started, jax.jit(jax.vmap(draw))

    def run(seed):
        return go_on(state, tuned, jax.vmap(lambda key: jax.random.fold_in(key, seed))(go))

    x, compiled, took = twice(run)
    samples = jax.vmap(jax.vmap(lambda x: info.postprocess_fn(unravel(x))))(x)
    return reached(samples, warm + compiled, took)


def nutpie(observations: Observations, bias: jax.Array) -> dict:
    """nutpie on the gradient that JAX makes of the program, as it comes."""
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import initialize_model

    peer = importlib.import_module("nutpie")
    started = time.perf_counter()
    info = initialize_model(
        jax.random.key(0), program.model, model_args=(observations, bias), dynamic_args=False
    )
    start, unravel = ravel_pytree(info.param_info.z)
    gradient = jax.jit(jax.value_and_grad(lambda x: -info.potential_fn(unravel(x))))

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
    trace = peer.sample(compiled, draws=100, tune=300, chains=4, cores=2, progress_bar=False)
    took = time.perf_counter() - started
    before, after = (
        float(np.sum(stats["n_steps"].to_numpy()))
        for stats in (trace.warmup_sample_stats, trace.sample_stats)
    )
    x = np.asarray(trace.posterior["x"])
    samples = jax.vmap(jax.vmap(lambda x: info.postprocess_fn(unravel(x))))(jnp.asarray(x, "f4"))
    sampling = took * after / (before + after)
    return reached(samples, took - sampling, sampling)


def twice(run: Callable[[int], Any]) -> tuple[Any, float, float]:
    """What two runs gave, chain by chain; the seconds that the first compiled, and of sampling."""
    found, seconds = [], []
    for seed in (1, 2):
        started = time.perf_counter()
        found.append(jax.block_until_ready(run(seed)))
        seconds.append(time.perf_counter() - started)
    both = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *found)
    return both, max(seconds[0] - seconds[1], 0.0), 2 * min(seconds)


def reached(samples: dict[str, Any], warm: float, sampling: float) -> dict:
    """Seconds until 400 effective draws of the worst of all weights and their squares."""
    parts = {k: np.asarray(v) for k, v in samples.items() if k.startswith("theta")}
    r_hat, ess, _ = mixing(parts | {k + "_squared": v**2 for k, v in parts.items()})
    to_400 = warm + sampling * ENOUGH / ess
    return {"ess_worst": ess, "r_hat": r_hat, "warm_s": warm, "sampling_s": sampling} | {
        "to_400_s": to_400
    }
