"""Contenders by turns, an epoch each, so that whatever else the machine does is shared by all."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.peers.worker import Worker

OURS, PEER = "benchmarks.speed.ours", "benchmarks.peers.late_fusion_torch"


class Contender(NamedTuple):
    """A worker's module and what it is told: records; a peer also its network, recipe and HOW."""

    name: str
    module: str
    arguments: tuple[str, ...]


class Size(NamedTuple):
    """How long to run: seeds, the least NLL aimed at in nats, and epochs at most."""

    seeds: int
    target: float
    epochs: int


def contenders(peers: bool, smoke: bool) -> tuple[Contender, ...]:
    """All of them, or few; `whole` trains on recordings whose every frame counts, without masks."""
    ours = [Contender("ours", OURS, ("recorded",)), Contender("ours, whole", OURS, ("whole",))]
    theirs = [
        ("PyTorch eager", "recorded", "same", "ours", "eager"),
        ("PyTorch eager, whole", "whole", "same", "ours", "eager"),
        ("PyTorch compiled", "recorded", "same", "ours", "compiled"),
        ("PyTorch compiled, whole", "whole", "same", "ours", "compiled"),
        ("LeNets eager", "spectra", "lenet", "published", "eager"),
        ("LeNets compiled", "spectra", "lenet", "published", "compiled"),
        ("LeNets eager, AdamW", "spectra", "lenet", "ours", "eager"),
    ]
    asked = [Contender(name, PEER, tuple(rest)) for name, *rest in theirs if peers]
    every = (*ours, *asked)
    few = ("ours", "PyTorch eager", "LeNets eager")
    return tuple(c for c in every if c.name in few) if smoke else every


def run(
    folder: Path, entered: tuple[Contender, ...], size: Size, python: str | None
) -> dict[str, list[dict[str, Any]]]:
    """What each said of its first step, and then of each epoch, until all its seeds are done."""
    workers = {c.name: _worker(folder, c, size, python) for c in entered}
    said = {name: [worker.run()] for name, worker in workers.items()}
    going = list(workers)
    while going:
        for name in going:
            said[name].append(workers[name].run())
        going = [name for name in going if not said[name][-1]["done"]]
        print(json.dumps({n: _brief(said[n][-1]) for n in said}), file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.close()
    return said


def table(said: dict[str, list[dict[str, Any]]], targets: tuple[float, ...]) -> dict[str, Any]:
    """For each: ms a step, and epochs and seconds of training to each NLL, medians over seeds.

    Seconds are steps times the median step: a stall of the machine says nothing of a contender.
    """
    found = {}
    for name, (first, *epochs) in said.items():
        each = _step(epochs)
        losses = [[e["nll"] for e in epochs if e["seed"] == s] for s in {e["seed"] for e in epochs}]
        found[name] = {
            "ms_a_step": round(1000 * each, 2),
            "first_step_s": round(first["first_s"], 2),
            "least_nll": [round(min(loss), 4) for loss in losses],
        }
        for target in targets:
            took = median(_epochs_to(loss, target) for loss in losses)
            reached = took < float("inf")
            seconds = took * len(epochs[0]["step_s"]) * each
            found[name][f"epochs_to_{target}"] = took if reached else None
            found[name][f"seconds_to_{target}"] = round(seconds, 2) if reached else None
    return found


def ratio(said: dict[str, list[dict[str, Any]]], one: str, other: str) -> float:
    """Of the median step of `one` to that of `other`, in the rounds in which both ran."""
    rounds = min(len(said[one]), len(said[other]))
    return round(_step(said[one][1:rounds]) / _step(said[other][1:rounds]), 3)


def _step(epochs: list[dict[str, Any]]) -> float:
    """Seconds of the median step."""
    return median(took for epoch in epochs for took in epoch["step_s"])


def _worker(folder: Path, entrant: Contender, size: Size, python: str | None) -> Worker:
    records, *rest = entrant.arguments
    told = (str(folder), records, str(size.seeds), str(size.target), str(size.epochs), *rest)
    own = sys.executable if entrant.module == OURS or python is None else python
    return Worker(own, entrant.module, *told)


def _epochs_to(losses: list[float], target: float) -> float:
    return next((i + 1 for i, loss in enumerate(losses) if loss <= target), float("inf"))


def _brief(said: dict[str, Any]) -> str:
    took = sum(said.get("step_s", ()))
    return f"seed {said.get('seed')}, NLL {said['nll']:.3f}, {took:.2f} s"
