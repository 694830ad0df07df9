"""Time to 400 effective draws of θ's posterior, all weights, against other samplers.

    python -m benchmarks.posterior [--smoke] [--peers PYTHON] [--rows 20000] [--weights 160]
        [--cap 600] [--only numpyro ...]

`auto` and each peer run in a fresh process on the same records and the same density, one after
another. The whole takes `--cap` seconds at most: NumPyro's NUTS may take half of what ours has left
of it, each other peer an equal part of what is left then, and a peer that is not done is stopped,
its time a bound. Ours is measured over 20 runs by the squared error of its means of θ and θ²
against a long run of `nuts`, of `--draws` draws each; a peer by its own estimate of its ESS, which
favours it: the time is its compilation and warm-up, and as much sampling as 400 take. `--peers` is
a Python with blackjax and nutpie; those that are absent are named.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fusionjax.posterior import Observations, auto, nuts, observe, program
from fusionjax.posterior.certificate import mixing

ENOUGH = 400.0
PEERS = ("numpyro", "numpyro_dense", "blackjax", "nutpie")


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    rows: int
    weights: int
    runs: int
    draws: int


def records(size: Size) -> tuple[Observations, jax.Array]:
    """Two modalities of correlated features as encoders give them, three classes, all present."""
    rng = np.random.default_rng(0)
    total = size.weights // 2
    sizes = (total * 5 // 8, total - total * 5 // 8)
    features, energy = [], np.zeros((size.rows, 3))
    for p in sizes:
        mixed = rng.normal(size=(size.rows, p - 1)) @ rng.normal(size=(p - 1, p - 1))
        feature = np.c_[np.ones(size.rows), mixed / mixed.std(0)]
        energy += feature @ (rng.normal(size=(p, 3)) * 0.7 / np.sqrt(p))
        features.append(jnp.asarray(feature, jnp.float32))
    label = np.argmax(energy + rng.gumbel(size=energy.shape), axis=1)
    presence = jnp.ones((size.rows, 2), bool)
    return observe(tuple(features), presence, jnp.asarray(label), 3), jnp.full(3, -np.log(3.0))


def flat(theta) -> np.ndarray:
    """Draws of all weights side by side."""
    return np.concatenate([np.asarray(t, float).reshape(len(t), -1) for t in theta], axis=1)


def ours(size: Size) -> dict:
    """Seconds of the first fit, of the following ones, and their error against long chains."""
    observations, bias = records(size)
    seconds, moments = [], []
    for seed in range(size.runs + 1):
        started = time.perf_counter()
        found = auto.fit(jax.random.key(seed), observations, bias, draws=size.draws)
        seconds.append(time.perf_counter() - started)
        theta = flat(found.theta)
        moments.append(np.concatenate([theta.mean(0), (theta**2).mean(0)]))
    started = time.perf_counter()
    long = nuts.fit(jax.random.key(99), observations, bias, draws=400, warmup=150)
    took = time.perf_counter() - started
    theta = flat(long.theta)
    exact = np.concatenate([theta, theta**2], axis=1)
    chains = exact.reshape(4, -1, exact.shape[1])
    # What the reference is itself unsure of is taken off the squared error.
    variance = exact.var(0)
    noise = chains.mean(1).var(0, ddof=1) / 4
    error = np.mean((np.array(moments[1:]) - exact.mean(0)) ** 2, axis=0)
    ess = variance / np.maximum(error - noise, variance / (4 * size.draws))
    low, middle = np.quantile(ess, [0.05, 0.5])
    warm = float(np.median(seconds[1:]))
    more = max(ENOUGH / float(ess.min()) - 1.0, 0.0)
    return {
        "to_400_s": seconds[0] + more * warm,
        "engine": found.certificate.engine,
        "k_hat": found.certificate.k_hat,
        "ess_of_weights": found.certificate.ess_bulk,
        "draws": size.draws,
        "ess_worst": float(ess.min()),
        "ess_twentieth": float(low),
        "ess_median": float(middle),
        "first_s": seconds[0],
        "warm_s": warm,
        "ok": found.certificate.ok,
        "reference_r_hat": long.certificate.r_hat,
        "reference_s": took,
        "mean_off_in_sd": float(
            np.max(np.abs(np.mean(moments, axis=0) - exact.mean(0)) / np.sqrt(variance))
        ),
    }


def numpyro(size: Size, dense: bool) -> dict:
    """NumPyro's NUTS on the program, as it comes, four vectorised chains."""
    from numpyro.infer import MCMC, NUTS

    observations, bias = records(size)
    kernel = NUTS(program.model, dense_mass=dense)
    chains, draws, warmup = 4, 100, 300
    sampler = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    started = time.perf_counter()
    sampler.warmup(jax.random.key(0), observations, bias)
    warm = time.perf_counter() - started
    sampler.run(jax.random.key(1), observations, bias)
    return _reached(sampler.get_samples(group_by_chain=True), warm, time.perf_counter() - started)


def blackjax(size: Size) -> dict:
    """BlackJAX's adjusted MCLMC with its own tuning, in NumPyro's unconstrained space."""
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import initialize_model

    peer = importlib.import_module("blackjax")
    dynamic = importlib.import_module("blackjax.mcmc.adjusted_mclmc_dynamic")
    observations, bias = records(size)
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
    warm = time.perf_counter() - started
    x = jax.block_until_ready(jax.jit(jax.vmap(draw))(state, tuned, go))
    took = time.perf_counter() - started
    samples = jax.vmap(jax.vmap(lambda x: info.postprocess_fn(unravel(x))))(x)
    return _reached(samples, warm, took)


def nutpie(size: Size) -> dict:
    """nutpie on the gradient that JAX makes of the program, as it comes."""
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import initialize_model

    peer = importlib.import_module("nutpie")
    observations, bias = records(size)
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
    x = np.asarray(trace.posterior["x"])
    samples = jax.vmap(jax.vmap(lambda x: info.postprocess_fn(unravel(x))))(jnp.asarray(x, "f4"))
    return _reached(samples, took * 0.75, took)


def _reached(samples, warm: float, took: float) -> dict:
    parts = {k: np.asarray(v) for k, v in samples.items() if k.startswith("theta")}
    squares = {k + "_squared": v**2 for k, v in parts.items()}
    _, ess, _ = mixing(parts | squares)
    return {"ess_worst": ess, "warm_s": warm, "to_400_s": warm + (took - warm) * ENOUGH / ess}


def measure(name: str, size: Size) -> dict:
    """One sampler, in this process."""
    if name == "ours":
        return ours(size)
    if name.startswith("numpyro"):
        return numpyro(size, dense=name.endswith("dense"))
    return blackjax(size) if name == "blackjax" else nutpie(size)


def apart(name: str, size: Size, cap: float | None, python: str = sys.executable) -> dict:
    """One sampler in a process of its own; {"stopped_s": cap} where it is not done by then."""
    call = [python, "-W", "ignore", "-m", "benchmarks.posterior", "--one", name]
    call += [f"--rows={size.rows}", f"--weights={size.weights}", f"--draws={size.draws}"]
    call += [f"--runs={size.runs}"]
    try:
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, timeout=cap, check=False)
    except subprocess.TimeoutExpired:
        return {"stopped_s": cap}
    if done.returncode:
        return {"failed": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def against(names: list[str], size: Size, ends: float, python: str) -> dict[str, dict]:
    """The peers in turn, until the clock stands at `ends`; NumPyro's NUTS may take half."""
    found = {}
    for i, name in enumerate(names):
        left = max(ends - time.perf_counter(), 1.0)
        share = left / (2 if name == "numpyro" and len(names) > 1 else len(names) - i)
        theirs = sys.executable if name.startswith("numpyro") else python
        found[name] = apart(name, size, share, theirs)
    return found


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few records, one peer, a minute")
    parser.add_argument("--peers", default=sys.executable, help="a Python with blackjax and nutpie")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--weights", type=int, default=160)
    parser.add_argument("--cap", type=float, default=600.0, help="seconds that the whole may take")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="which peers")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--one", choices=("ours", *PEERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    size, names = Size(args.rows, args.weights, args.runs, args.draws), args.only
    if args.smoke:
        size, names, args.cap = Size(1000, 24, 3, 1000), ["numpyro"], 50.0
    if args.one:
        try:
            print(json.dumps(measure(args.one, size)))
        except ModuleNotFoundError as error:
            print(json.dumps({"absent": error.name}))
        return
    ends = time.perf_counter() + args.cap
    mine = apart("ours", size, None)
    peers = against(names, size, ends, args.peers)
    ratios = {
        name: round(found.get("to_400_s", found.get("stopped_s")) / mine["to_400_s"], 1)
        for name, found in peers.items()
        if "to_400_s" in found or "stopped_s" in found
    }
    result = {
        "benchmark": "posterior",
        "rows": size.rows,
        "weights": size.weights,
        "ours": mine,
        "peers": peers,
        "time_ratios": ratios,
        "bounds": [name for name, found in peers.items() if "stopped_s" in found],
        "ess_per_second_ratio_vs_numpyro_nuts": ratios.get("numpyro"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
