"""16 seeds trained together are never slower than 16 runs in turn.

Heads on features that are kept, as in `benchmarks.fusion_variants`: one program for all seeds
against one program for one seed that is called 16 times. Both are compiled beforehand, run in turn,
and their medians compared; compilation is reported apart.
"""

import time
from statistics import median
from typing import Any

import jax
import numpy as np

from benchmarks.variants.features import Data, Rows
from benchmarks.variants.heads import Budget, draw, on_device, search
from fusionjax.fusion.variants import VARIANTS, Variant
from fusionjax.types import Features

SEEDS = 16
COMPARED = ("log-linear", "concatenation, MLP", "modality tokens")


def records(number: int, modalities: int = 4, columns: int = 32) -> Data:
    """Random records of four classes: the time does not depend on what they say."""
    rng = np.random.default_rng(0)
    features = []
    for _ in range(modalities):
        vector: Any = rng.normal(size=(SEEDS, number, columns)).astype(np.float32)
        vector[:, :, 0] = 1
        mask: Any = np.ones((SEEDS, number, 1), bool)
        features.append(Features(vector, vector[:, :, None], mask))
    parts = np.split(np.arange(number), [number // 2, 3 * number // 4])
    rows = [Rows(np.tile(p, (SEEDS, 1)), np.ones((SEEDS, len(p)), bool)) for p in parts]
    names = tuple(f"modality {i}" for i in range(modalities))
    return Data(
        name="random",
        modalities=names,
        classes=("a", "b", "c", "d"),
        features=tuple(features),
        presence=np.ones((number, modalities), bool),
        label=rng.integers(4, size=number),
        group=np.arange(number),
        bias=np.zeros((SEEDS, 4), np.float32),
        train=rows[0],
        validation=rows[1],
        test=rows[2],
        digest="random",
    )


def compare(variant: Variant, data: Data, budget: Budget, repeats: int) -> dict[str, float]:
    """Median seconds of all seeds together and of the same seeds in turn, and to compile each."""
    seeds, hypers = on_device(data), draw(budget.trials)
    keys = jax.random.split(jax.random.key(0), SEEDS)
    train = jax.jit(search(variant, budget))
    single = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], (seeds, keys)) for i in range(SEEDS)]
    together, first = seconds(lambda: train.lower(seeds, hypers, keys).compile())
    apart, second = seconds(lambda: train.lower(single[0][0], hypers, single[0][1]).compile())
    times = []
    for _ in range(repeats):
        _, all_at_once = seconds(lambda: together(seeds, hypers, keys))
        _, in_turn = seconds(lambda: [apart(one, hypers, key) for one, key in single])
        times.append((all_at_once, in_turn))
    one, other = (median(column) for column in zip(*times, strict=True))
    return {
        "together_s": round(one, 3),
        "in_turn_s": round(other, 3),
        "ratio": round(median(a / b for a, b in times), 3),
        "compile_together_s": round(first, 2),
        "compile_one_s": round(second, 2),
    }


def seconds(work: Any) -> tuple[Any, float]:
    """What `work` returns, and how long it took until it was there."""
    started = time.perf_counter()
    found = jax.block_until_ready(work())
    return found, time.perf_counter() - started


def measure(smoke: bool) -> dict[str, Any]:
    """Each of `COMPARED`, and the worst of their ratios."""
    budget = Budget(trials=1, steps=30 if smoke else 400, evaluations=2)
    data, repeats = records(400 if smoke else 2000), 1 if smoke else 5
    chosen = [v for v in VARIANTS if v.name in (COMPARED[:2] if smoke else COMPARED)]
    found = {v.name: compare(v, data, budget, repeats) for v in chosen}
    worst = max(one["ratio"] for one in found.values())
    return {"seeds": SEEDS, "steps": budget.steps, **found, "worst_ratio": worst}
