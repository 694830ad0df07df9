"""Time to 400 effective draws of θ's posterior, all weights, against other samplers.

    python -m benchmarks.posterior [--smoke] [--peers PYTHON] [--rows 20000] [--weights 160]
        [--cap 600] [--only numpyro ...] [--peer-runs 5]

`auto` and each peer run in a fresh process on the same records and the same density, one after
another. The whole takes `--cap` seconds at most: of what ours leaves NumPyro's NUTS may take half,
each other an equal part of what is left then, and a peer that is not done is stopped, its time a
bound: `bounds` says how many times ours it took at least.

Ours is measured over 20 runs by the squared error of its means of θ and θ² against moments of long
chains of `nuts`. A peer is by the squared error of each of its chains where `--peer-runs 5` asks
for 20 of them and time allows, else by its own estimate of its ESS, which favours it. The time is
compilation, warm-up, and as much sampling as 400 take; `compile_s` is what XLA's compiler had of
it, and `compiled_to_400_s` the rest. The worst of hundreds of effective sizes, each from 20 squared
errors, lies far below the true one even for exact independent draws, since it is the largest of
many errors that is looked at: `ess_of_exact_draws` is what such draws would show. It is taken as it
stands.

The moments lie in `results/posterior_reference.json` for one size, made by `--reference`. For
others they are made on the way, from `--reference-draws` in each of four chains; with 0 ours is
measured by the effective number of its weights, its own estimate as a peer's is. `--peers` is a
Python with blackjax and nutpie beside what FusionJAX needs; those that are absent are named.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from benchmarks.peers import samplers
from benchmarks.peers.samplers import compiler
from fusionjax import files
from fusionjax.posterior import Observations, auto, nuts, observe
from fusionjax.posterior.certificate import mixing

PEERS = ("numpyro", "numpyro_dense", "blackjax", "nutpie")
REFERENCE = Path(__file__).parent / "results" / "posterior_reference.json"
LONG, BATCHES = 3000, 25
ENOUGH = 400.0


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    rows: int
    weights: int
    runs: int
    peer_runs: int
    draws: int
    reference_draws: int


class Reference(NamedTuple):
    """Mean and variance of each θ, then of each θ², under long chains, and the mean's variance."""

    mean: Float[np.ndarray, " quantity"]
    variance: Float[np.ndarray, " quantity"]
    noise: Float[np.ndarray, " quantity"]
    r_hat: float
    ess: float


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


def quantities(
    theta: Iterable[Float[Array | np.ndarray, "*draw class _"]],
) -> Float[np.ndarray, "*draw quantity"]:
    """Draws of all weights and of their squares, side by side."""
    parts = [np.asarray(t, float) for t in theta]
    flat = np.concatenate([t.reshape(*t.shape[:-2], -1) for t in parts], axis=-1)
    return np.concatenate([flat, flat**2], axis=-1)


def ours(size: Size) -> dict:
    """Seconds of the first fit, of the following ones, and their error against long chains."""
    observations, bias = records(size)
    seconds, drawn = [], []
    with compiler() as compiling:
        for seed in range(size.runs + 1):
            key = jax.random.key(seed)
            started = time.perf_counter()
            found = auto.fit(key, observations, bias, draws=size.draws)
            seconds.append(time.perf_counter() - started)
            drawn.append(quantities(found.theta))
    warm, certificate = float(np.median(seconds[1:])), found.certificate
    result: dict[str, Any] = {
        "engine": certificate.engine,
        "ok": certificate.ok,
        "k_hat": certificate.k_hat,
        "ess_of_weights": certificate.ess_bulk,
        "draws": size.draws,
        "first_s": seconds[0],
        "warm_s": warm,
        "compile_s": sum(compiling),
    }
    known = reference(size, observations, bias)
    result |= {"ess_worst": certificate.ess_bulk} if known is None else judged(drawn[1:], known)
    more = max(ENOUGH / result["ess_worst"] - 1.0, 0.0)
    to_400 = seconds[0] + more * warm
    return {"to_400_s": to_400, "compiled_to_400_s": to_400 - result["compile_s"]} | result


def judged(drawn: list[Float[np.ndarray, "draw quantity"]], known: Reference) -> dict[str, float]:
    """Effective sizes by the squared error of each run's means, and what exact draws would show."""
    means, runs, draws = np.array([x.mean(0) for x in drawn]), len(drawn), len(drawn[0])
    ess = _effective(means - known.mean, draws, known)
    exact = np.median([_of_exact(seed, drawn, known) for seed in range(100)])
    off = np.abs(means.mean(0) - known.mean)
    error = np.sqrt(means.var(0, ddof=1) / runs + known.noise)
    return {
        "ess_worst": float(np.min(ess)),
        "ess_twentieth": float(np.quantile(ess, 0.05)),
        "ess_median": float(np.median(ess)),
        "ess_of_exact_draws": float(exact),
        "mean_off_in_sd": float(np.max(off / np.sqrt(known.variance))),
        "mean_off_in_its_errors": float(np.max(off / error)),
        "reference_r_hat": known.r_hat,
        "reference_ess": known.ess,
    }


def _effective(off, draws, known: Reference) -> Float[np.ndarray, " quantity"]:
    """From how far each run's mean is off; what the reference is itself unsure of is taken off."""
    error = np.mean(off**2, axis=0) - known.noise
    return known.variance / np.maximum(error, known.variance / (8 * draws))


def _of_exact(seed: int, drawn, known: Reference) -> float:
    """The worst that as many exact independent draws show, against a reference as unsure as this.

    They are as correlated as ours: normal numbers weigh our draws about their mean.
    """
    rng, runs, draws = np.random.default_rng(seed), len(drawn), len(drawn[0])
    apart = np.concatenate([x - x.mean(0) for x in drawn]) / np.sqrt(runs * draws)
    common, *each = rng.standard_normal((runs + 1, len(apart))) @ apart
    unsure = common * np.sqrt(known.noise / known.variance)
    return float(np.min(_effective(np.array(each) / np.sqrt(draws) + unsure, draws, known)))


def reference(size: Size, observations: Observations, bias: jax.Array) -> Reference | None:
    """The moments that are kept for this size, else made; None where none are asked for."""
    if (known := kept(size)) is not None or not size.reference_draws:
        return known
    return long_chains(observations, bias, size.reference_draws)


def kept(size: Size) -> Reference | None:
    """The moments that are kept, if they are of this size."""
    content = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
    if (content.get("rows"), content.get("weights")) != (size.rows, size.weights):
        return None
    mean, variance, noise = (np.array(content[name]) for name in Reference._fields[:3])
    return Reference(mean, variance, noise, content["r_hat"], content["ess"])


def long_chains(observations: Observations, bias: jax.Array, draws: int) -> Reference:
    """By `nuts`; the variance of a mean is that of the means of batches."""
    found = nuts.fit(jax.random.key(99), observations, bias, draws=draws, warmup=500)
    flat = quantities(found.theta)
    chains = flat.reshape(found.chains, -1, flat.shape[1])
    batches = np.array([part.mean(1) for part in np.array_split(chains, BATCHES, axis=1)])
    noise = batches.reshape(-1, flat.shape[1]).var(0, ddof=1) / (BATCHES * found.chains)
    r_hat, ess, _ = mixing({"quantities": chains})
    return Reference(flat.mean(0), flat.var(0), noise, r_hat, ess)


def keep(size: Size) -> None:
    """Make the moments of this size and write them where they are looked for."""
    made = long_chains(*records(size), LONG)
    rounded = {
        name: [float(f"{x:.7g}") for x in getattr(made, name)] for name in Reference._fields[:3]
    }
    content = {
        "command": "python -m benchmarks.posterior --reference",
        "rows": size.rows,
        "weights": size.weights,
        "draws": 4 * LONG,
        "r_hat": made.r_hat,
        "ess": made.ess,
    }
    files.write(REFERENCE, json.dumps(content | rounded) + "\n")


def peer(name: str, size: Size, patience: float) -> dict:
    """Seconds of another sampler to 400 effective draws; four chains are a run.

    There are fewer runs than asked for where another would not end within `patience` seconds. The
    effective size is the sampler's own estimate, unless there are as many chains as ours has runs
    and moments to measure the squared error of each by.
    """
    runs, began = [], time.perf_counter()
    for run in getattr(samplers, name)(*records(size), range(size.peer_runs)):
        runs.append(run)
        if (time.perf_counter() - began) * (1 + 1 / len(runs)) > patience:
            break
    chains = np.concatenate([quantities(run.theta.values()) for run in runs])
    r_hat, every, _ = mixing({"quantities": chains})
    warm, compiling = runs[0].warm, runs[0].compiling
    sampling = float(np.median([run.sampling for run in runs]))
    own, known = every / len(runs), kept(size)
    result = {"runs": len(runs), "r_hat": r_hat, "own_ess": own, "ess_worst": own}
    if len(chains) >= size.runs and known is not None:
        found = judged(list(chains), known)
        result |= found | {"ess_worst": len(chains) / len(runs) * found["ess_worst"]}
    to_400, own_to_400 = (warm + sampling * ENOUGH / ess for ess in (result["ess_worst"], own))
    return result | {
        "warm_s": warm,
        "compile_s": compiling,
        "sampling_s": sampling,
        "to_400_s": to_400,
        "compiled_to_400_s": to_400 - compiling,
        "own_to_400_s": own_to_400,
    }


def apart(name: str, size: Size, cap: float | None, python: str = sys.executable) -> dict:
    """One sampler in a process of its own; {"stopped_s": cap} where it is not done by then."""
    call = [python, "-W", "ignore", "-m", "benchmarks.posterior", "--one", name]
    call += [f"--rows={size.rows}", f"--weights={size.weights}", f"--draws={size.draws}"]
    call += [f"--runs={size.runs}", f"--reference-draws={size.reference_draws}"]
    call += [f"--peer-runs={size.peer_runs}", f"--patience={0.9 * cap if cap else np.inf}"]
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


def ratios(peers: dict[str, dict], clock: str, seconds: float) -> dict[str, float]:
    """What each peer's clock shows over `seconds`, of those that have it."""
    return {name: round(x[clock] / seconds, 1) for name, x in peers.items() if clock in x}


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
    parser.add_argument("--peer-runs", type=int, default=1, help="runs of four chains of a peer")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--reference", action="store_true", help="make the moments of this size")
    parser.add_argument("--reference-draws", type=int, default=1000, help="where none are kept")
    parser.add_argument("--one", choices=("ours", *PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--patience", type=float, default=np.inf, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.only
    amounts = args.runs, args.peer_runs, args.draws, args.reference_draws
    size = Size(args.rows, args.weights, *amounts)
    if args.smoke:
        size, names, args.cap = Size(1000, 24, 3, 1, 2000, 500), ["numpyro"], 90.0
    if args.reference:
        keep(size)
        return
    if args.one:
        try:
            print(
                json.dumps(
                    ours(size) if args.one == "ours" else peer(args.one, size, args.patience)
                )
            )
        except ModuleNotFoundError as error:
            print(json.dumps({"absent": error.name}))
        return
    ends = time.perf_counter() + args.cap
    mine = apart("ours", size, None)
    peers = against(names, size, ends, args.peers)
    whole = ratios(peers, "to_400_s", mine["to_400_s"])
    result = {
        "benchmark": "posterior",
        "rows": size.rows,
        "weights": size.weights,
        "cap_s": args.cap,
        "ours": mine,
        "peers": peers,
        "time_ratios": whole,
        "time_ratios_compiled": ratios(peers, "compiled_to_400_s", mine["compiled_to_400_s"]),
        "time_ratios_by_their_own_ess": ratios(peers, "own_to_400_s", mine["to_400_s"]),
        "bounds": ratios(peers, "stopped_s", mine["to_400_s"]),
        "ess_per_second_ratio_vs_numpyro_nuts": whole.get("numpyro"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
