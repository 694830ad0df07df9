"""The framework's side: default encoders and the log-linear fusion, by `train.update`.

Run by `benchmarks.training` in a process of its own: `python -m benchmarks.speed.ours FOLDER
NAME SEEDS TARGET EPOCHS`. A peer's worker says the same of itself.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.worker import serve
from benchmarks.speed import records
from fusionjax import encoders, train
from fusionjax.batches import whole
from fusionjax.fusion.log_linear import log_linear
from fusionjax.train import Network, Task, TrainConfig, Weights

CHECK = 99
"""Seed of the weights by which networks are compared."""


def network(bias: np.ndarray) -> Network:
    """What `FitConfig()` trains on avmnist."""
    stack = tuple(encoders.build(kind, encoders.DEFAULT[kind], 16) for kind in ("image", "audio"))
    return Network(stack, log_linear(jnp.asarray(bias)))


def write_weights(folder: Path, seeds: int) -> None:
    """The weights where each seed starts, and `weights-99.npz`, whose classes differ widely."""
    arrays = records.read(folder / "recorded.npz")
    one = jax.tree.map(lambda leaf: leaf[:1], arrays.records)
    for seed in (*range(seeds), CHECK):
        weights = train.init(jax.random.key(seed), network(arrays.bias), one)
        if seed == CHECK:
            weights = _shaken(weights)
        leaves = jax.tree_util.tree_leaves_with_path(weights)
        named: dict[str, Any] = {_name(path): np.asarray(leaf) for path, leaf in leaves}
        np.savez(folder / f"weights-{seed}.npz", **named)


def check(folder: Path, name: str) -> np.ndarray:
    """log P(y | X) of the validation records with the weights of `weights-99.npz`."""
    arrays = records.read(folder / f"{name}.npz")
    one = jax.tree.map(lambda leaf: leaf[:1], arrays.records)
    held = jax.tree.map(lambda leaf: leaf[arrays.validation], arrays.records)
    weights = _shaken(train.init(jax.random.key(CHECK), network(arrays.bias), one))
    predict = jax.jit(partial(train.log_prob, network(arrays.bias)))
    return np.asarray(predict(weights, held.inputs, held.presence))


def session(folder: Path, name: str, seeds: int, target: float, most: int) -> Iterator[dict]:
    """A step that compiles, then epochs: seed after seed until `target`, `most` at the longest."""
    arrays = records.read(folder / f"{name}.npz")
    net, config = network(arrays.bias), TrainConfig()
    held = jax.tree.map(lambda leaf: leaf[arrays.validation], arrays.records)
    one = jax.tree.map(lambda leaf: leaf[:1], arrays.records)
    steps = max(1, len(arrays.train) // config.batch_size)
    task = Task(net, replace(config, seed=0), len(arrays.bias), config.epochs * steps)
    predict = jax.jit(partial(train.log_prob, net))

    def nll(weights: Weights) -> float:
        log_prob = np.asarray(predict(weights, held.inputs, held.presence))
        return float(-log_prob[np.arange(len(held.label)), np.asarray(held.label)].mean())

    for seed in range(seeds):
        loader = whole(arrays.records, arrays.train, config.batch_size, seed)
        state = train.start(task, one, seed)
        if not seed:
            begun = time.perf_counter()
            jax.block_until_ready(train.update(task, state, loader.at(0)))
            yield {"first_s": time.perf_counter() - begun, "nll": nll(state.average)}
        for epoch in range(most):
            took = []
            for step in range(epoch * steps, (epoch + 1) * steps):
                begun = time.perf_counter()
                state = jax.block_until_ready(train.update(task, state, loader.at(step)))
                took.append(time.perf_counter() - begun)
            loss = nll(state.average)
            ended = loss <= target or epoch + 1 == most
            said = {"seed": seed, "step_s": took, "nll": loss}
            yield {**said, "done": ended and seed + 1 == seeds}
            if ended:
                break


def _shaken(weights: Weights) -> Weights:
    leaves, form = jax.tree.flatten(weights)
    keys = jax.random.split(jax.random.key(CHECK), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return jax.tree.unflatten(form, [w + 0.1 * jax.random.normal(k, w.shape) for w, k in pairs])


def _name(path: tuple) -> str:
    return "/".join(str(getattr(p, "name", getattr(p, "key", getattr(p, "idx", "")))) for p in path)


if __name__ == "__main__":
    place, named, count, aim, limit = sys.argv[1:]
    serve(partial(next, session(Path(place), named, int(count), float(aim), int(limit))))
