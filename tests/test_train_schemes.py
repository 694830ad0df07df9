"""Training schemes in the trainer: each trains what it says, and resumes bit for bit."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fusionjax import train
from fusionjax.fusion.schemes.auxiliary import auxiliary
from fusionjax.fusion.schemes.blending import blending
from fusionjax.train import Network, Scheme, State, Task, Weights
from fusionjax.types import Batch
from tests import train_child

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
CONFIG = replace(train_child.CONFIG, epochs=4, patience=4)
NETWORK = train_child.network()


class Stopped(Exception):
    """Training was interrupted."""


def fit(scheme: Scheme, folder: Path | None = None, stop: int = 0) -> train.Trained:
    """Train by a scheme, and stop after the `stop`-th epoch that is trained."""
    seen, validation = train_child.loaders()
    done = 0

    def progress(*_) -> None:
        nonlocal done
        done += 1
        if done == stop:
            raise Stopped

    sample, config = next(iter(seen.ordered())), replace(CONFIG, scheme=scheme)
    return train.fit(
        *(NETWORK, seen, validation, sample, 2, config),
        checkpoints=folder,
        seconds_between=0.0,
        progress=progress,
    )


whole = lru_cache(fit)


def step(scheme: Scheme, network: Network = NETWORK, blend: tuple[float, ...] = ()) -> State:
    """The second state of a run, whose warm-up has begun."""
    seen, _ = train_child.loaders()
    batch = next(iter(seen.ordered()))
    task = Task(network, replace(CONFIG, seed=0, scheme=scheme), 2, 80)
    state = train.start(task, batch, CONFIG.seed)
    state = state._replace(blend=jnp.asarray(blend)) if blend else state
    for number in range(2):
        state = train.update(task, state, seen.at(number))
    return state


def same(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("scheme", ["blending", "noisy-modulation"])
def test_stopped_and_resumed_equals_never_stopped(scheme: Scheme, tmp_path: Path) -> None:
    """Blending is stopped in its second run, so that the first is not trained again."""
    with pytest.raises(Stopped):
        fit(scheme, tmp_path, stop=6 if scheme == "blending" else 2)
    assert same(whole(scheme), fit(scheme, tmp_path))


def test_every_scheme_trains_otherwise_and_learns() -> None:
    """The second encoder is not trained, so noise must leave it alone."""
    trained = {scheme: whole(scheme) for scheme in SCHEMES}
    for scheme in SCHEMES:
        assert trained[scheme].validation_nll.min() < trained[scheme].validation_nll[0]
        others = [trained[s].weights for s in SCHEMES if s != scheme]
        assert not any(same(trained[scheme].weights.encoders[0], w.encoders[0]) for w in others)
        assert all(same(trained[scheme].weights.encoders[1], w.encoders[1]) for w in others)


def test_a_scheme_trains_on_its_loss() -> None:
    """One step is that of a fusion whose own loss it is; without weights it is a plain one."""
    direct = NETWORK._replace(fusion=auxiliary(NETWORK.fusion))
    assert same(step("auxiliary").weights, step("plain", direct).weights)
    direct = NETWORK._replace(fusion=blending(NETWORK.fusion, jnp.array([0.2, 0.7, 0.1])))
    blended = step("blending", blend=(0.2, 0.7, 0.1))
    pairs = zip(
        *map(jax.tree.leaves, (blended.weights, step("plain", direct).weights)), strict=True
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert same(step("blending", blend=(1.0, 0.0, 0.0)).weights, step("plain").weights)


def test_modulation_slows_the_encoder_that_is_ahead_and_leaves_the_fusion() -> None:
    """The optimiser's moments after one step, up to the factor by which the gradient is clipped."""
    plain, slowed, noisy = (_moments(s) for s in ("plain", "modulation", "noisy-modulation"))
    for other in (slowed, noisy):
        clipped = _ratios(other.fusion, plain.fusion)
        np.testing.assert_allclose(clipped, clipped[0], rtol=1e-4)
    slower = _ratios(slowed.encoders[0], plain.encoders[0])
    np.testing.assert_allclose(slower, slower[0], rtol=1e-3)
    assert slower[0] < 0.9 * _ratios(slowed.fusion, plain.fusion)[0]
    assert np.std(_ratios(noisy.encoders[0], plain.encoders[0])) > 0.1


def test_blending_weighs_by_the_course_of_a_plain_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses before and after on training and validation records, the whole and then each alone."""
    told: list = []

    def spy(*parts: jax.Array) -> jax.Array:
        told.extend(parts)
        return jnp.array([1.0, 0.0, 0.0])

    monkeypatch.setattr(train, "blend", spy)
    blended = fit("blending")
    assert same(blended.weights, whole("plain").weights)
    seen, validation = train_child.loaders()
    start = train.init(jax.random.key(CONFIG.seed), NETWORK, next(iter(seen.ordered())))
    after = whole("plain").weights
    for found, loader, weights in zip(
        told, (seen, seen, validation, validation), (start, after) * 2, strict=True
    ):
        np.testing.assert_allclose(found, _losses(list(loader.ordered()), weights), rtol=1e-4)


def _losses(batches: list[Batch], weights: Weights) -> np.ndarray:
    """Of the whole and of each modality alone, where it is there, record by record."""
    each: list[list[float]] = [[], [], []]
    for b in batches:
        real = np.asarray(b.row) >= 0
        for part, shown in enumerate(((True, True), (True, False), (False, True))):
            there = real if part == 0 else real & np.asarray(b.presence)[:, part - 1]
            log_prob = train.log_prob(NETWORK, weights, b.inputs, b.presence & jnp.array([shown]))
            own = -np.asarray(log_prob)[np.arange(len(real)), np.maximum(np.asarray(b.label), 0)]
            each[part] += own[there].tolist()
    return np.array([np.mean(part) for part in each])


def _moments(scheme: Scheme) -> Weights:
    """What of the gradient has reached the optimiser after one step from trained weights."""
    seen, _ = train_child.loaders()
    task = Task(NETWORK, replace(CONFIG, seed=0, scheme=scheme), 2, 80)
    state = train.start(task, next(iter(seen.ordered())), CONFIG.seed)
    state = train.update(task, state._replace(weights=whole("plain").weights), seen.at(0))
    return optax.tree_utils.tree_get(state.optimiser, "mu")


def _ratios(one, other) -> np.ndarray:
    """Of the entries that are not tiny."""
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (one, other))
    large = np.abs(b) > 1e-2 * np.abs(b).max()
    return a[large] / b[large]
