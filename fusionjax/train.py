"""Fits encoders ψ and a fusion together with optax: a pure jitted step, early stopping, resume.

Training is a pure function of its configuration and data: batch and dropout of step s depend on
the seed and s alone. A checkpoint therefore holds everything, and a run that is killed and
resumed ends with the same parameters, bit for bit, as one that never stopped.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax import files
from fusionjax import presence as missing
from fusionjax.batches import Loader
from fusionjax.errors import ModelError
from fusionjax.fusion.schemes.auxiliary import alone, auxiliary
from fusionjax.fusion.schemes.blending import blend, blending
from fusionjax.fusion.schemes.modulation import coefficients, modulated, noise
from fusionjax.types import Batch, Encoder, Features, Fusion, Inputs, Key, Params

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

Scheme = Literal["plain", "auxiliary", "blending", "modulation", "noisy-modulation"]


@dataclass(frozen=True)
class TrainConfig:
    """How ψ and the fusion are trained: AdamW, a cosine schedule, early stopping."""

    epochs: int = 60
    """At most; the schedule is laid out for them."""
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.3
    """Rate at which each modality is hidden."""
    averaging: float = 0.98
    """The weights kept are a running mean over some 1/(1 − averaging) steps (Polyak 1992)."""
    patience: int = 8
    """Epochs after the best validation NLL at which training stops."""
    least_steps: int = 20
    """Steps of an epoch at least, so that small data sets do not spend their time on validation."""
    scheme: Scheme = "plain"
    """What training adds to the fusion's loss or takes from its gradient (`fusion/schemes`).
    Blending trains twice: a plain run first, from which it takes its weights. AdamW forgets a
    factor that is always the same, so of modulation it keeps what changes from step to step."""
    seed: int = 0


class Network(NamedTuple):
    """Encoders and a fusion: everything between X and P(y | X)."""

    encoders: tuple[Encoder, ...]
    fusion: Fusion


class Weights(NamedTuple):
    """Parameters of a network, one entry an encoder and those of the fusion."""

    encoders: tuple[Params, ...]
    fusion: Params


class Task(NamedTuple):
    """What training is compiled for; `config` without its seed, so that seeds share it."""

    network: Network
    config: TrainConfig
    classes: int
    steps: int


class State(NamedTuple):
    """All that training carries from one step to the next, and all that a checkpoint holds."""

    seed: Int[Array, ""]
    weights: Weights
    average: Weights
    optimiser: optax.OptState
    step: Int[Array, ""]
    running_loss: Float[Array, ""]
    best: Weights
    best_nll: Float[Array, ""]
    best_step: Int[Array, ""]
    blend: Float[Array, " loss"]
    history: Float[Array, "evaluation 2"]


class Trained(NamedTuple):
    """The weights with the least validation NLL, and how training went."""

    weights: Weights
    steps: np.ndarray
    train_nll: np.ndarray
    validation_nll: np.ndarray


@partial(jax.jit, static_argnums=0)
def encode(
    encoders: tuple[Encoder, ...], params: tuple[Params, ...], inputs: tuple[Inputs, ...]
) -> tuple[Features, ...]:
    """F_i = ψ_i(X_i) for every modality."""
    return tuple(e.apply(p, x) for e, p, x in zip(encoders, params, inputs, strict=True))


def log_prob(
    network: Network,
    weights: Weights,
    inputs: tuple[Inputs, ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | X) of shape [batch, class]."""
    features = encode(network.encoders, weights.encoders, inputs)
    return network.fusion.apply(weights.fusion, features, presence)


def init(key: Key, network: Network, sample: Batch) -> Weights:
    """Fresh weights; encoders that fit themselves without labels do so on `sample`."""
    keys = jax.random.split(key, len(network.encoders) + 1)
    encoders = tuple(
        init_encoder(e, k, x)
        for e, k, x in zip(network.encoders, keys[1:], sample.inputs, strict=True)
    )
    one = jax.tree.map(lambda leaf: leaf[:1], sample.inputs)
    features = encode(network.encoders, encoders, one)
    return Weights(encoders, jax.jit(network.fusion.init)(keys[0], features))


def init_encoder(encoder: Encoder, key: Key, inputs: Inputs) -> Params:
    """Fresh parameters: a trained encoder reads shapes, so one record will do, compiled at once."""
    if not encoder.trained:
        return encoder.init(key, inputs)
    return jax.jit(encoder.init)(key, jax.tree.map(lambda leaf: leaf[:1], inputs))


def fit(
    network: Network,
    train: Loader,
    validation: Loader,
    sample: Batch,
    classes: int,
    config: TrainConfig,
    *,
    checkpoints: Path | None = None,
    seconds_between: float = 2.0,
    progress: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Train on `train`, stop when the validation NLL has not fallen for `patience` evaluations.

    The validation NLL averages each record as it is and under one fixed draw of modality dropout,
    since both must be predicted well. With `checkpoints`, an earlier run of the same
    configuration there is resumed, and its state is saved at the end of an epoch when
    `seconds_between` have passed; `progress` is told (epoch, epochs, validation NLL).

    Raises ModelError where the checkpoints belong to another configuration.
    """
    steps = max(train.steps, config.least_steps)
    task = Task(network, replace(config, seed=0), classes, config.epochs * steps)
    state = start(task, sample, config.seed)
    if config.scheme == "blending":
        before = fit(
            network,
            train,
            validation,
            sample,
            classes,
            replace(config, scheme="plain"),
            checkpoints=checkpoints and checkpoints / "before",
            seconds_between=seconds_between,
            progress=progress,
        )
        course = state.weights, before.weights
        state = state._replace(
            blend=blend(*(_parts(task, w, part) for part in (train, validation) for w in course))
        )
    manager = _open(checkpoints, config, state) if checkpoints else None
    state = _restore(manager, state) if manager else state
    epoch, saved = int(state.step) // steps, -math.inf
    while epoch < config.epochs and not _out_of_patience(state, config, steps):
        for step in range(epoch * steps, (epoch + 1) * steps):
            state = update(task, state, train.at(step))
        nll = sum(float(_validation_sum(task, state, b)) for b in validation.ordered())
        state = _record(state, nll / max(validation.size, 1), epoch, steps)
        epoch += 1
        ended = epoch == config.epochs or _out_of_patience(state, config, steps)
        if manager and (ended or time.monotonic() - saved > seconds_between):
            _save(manager, epoch, state)
            saved = time.monotonic()
        if progress:
            progress(epoch, config.epochs, nll / max(validation.size, 1))
    return _finish(state, epoch, steps)


def start(task: Task, sample: Batch, seed: int) -> State:
    """The state before the first step: fresh weights, of which `sample` gives the shapes."""
    weights = init(jax.random.key(seed), task.network, sample)
    return State(
        seed=jnp.asarray(seed, jnp.int32),
        weights=weights,
        average=weights,
        optimiser=_optimiser(task).init(weights),
        step=jnp.zeros((), jnp.int32),
        running_loss=jnp.zeros(()),
        best=weights,
        best_nll=jnp.full((), jnp.inf),
        best_step=jnp.zeros((), jnp.int32),
        blend=jnp.zeros(1 + len(task.network.encoders)),
        history=jnp.full((task.config.epochs, 2), jnp.nan),
    )


def _optimiser(task: Task) -> optax.GradientTransformation:
    config, steps = task.config, task.steps
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(100, steps // 10), steps
    )
    adamw = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=config.weight_decay)
    )

    def roles(weights: Weights) -> Weights:
        encoders = tuple("train" if e.trained else "keep" for e in task.network.encoders)
        return Weights(encoders, "train")

    return optax.partition({"train": adamw, "keep": optax.set_to_zero()}, roles)


@partial(jax.jit, static_argnums=0)
def update(task: Task, state: State, batch: Batch) -> State:
    """The state after one more step, on `batch`: pure, and compiled once for a task."""
    key = jax.random.fold_in(jax.random.key(state.seed), state.step)
    shown, onehot = _dropped(task, key, batch), jax.nn.one_hot(batch.label, task.classes)
    fusion = _schemed(task, state)

    def mean_loss(weights: Weights) -> tuple[Float[Array, ""], tuple[Features, ...]]:
        features = encode(task.network.encoders, weights.encoders, batch.inputs)
        return fusion.loss(weights.fusion, features, shown, onehot).mean(), features

    (loss, features), gradient = jax.value_and_grad(mean_loss, has_aux=True)(state.weights)
    if task.config.scheme in ("modulation", "noisy-modulation"):
        factors = coefficients(fusion, state.weights.fusion, features, shown, onehot)
        slowed = modulated(gradient.encoders, factors)
        if task.config.scheme == "noisy-modulation":
            added = noise(jax.random.fold_in(key, 1), gradient.encoders)
            slowed = jax.tree.map(jnp.add, slowed, added)
        gradient = gradient._replace(encoders=slowed)
    change, moments = _optimiser(task).update(gradient, state.optimiser, state.weights)
    weights = optax.apply_updates(state.weights, change)
    kept = jnp.minimum(task.config.averaging, state.step / (state.step + 10))
    return state._replace(
        weights=weights,
        average=optax.incremental_update(weights, state.average, 1 - kept),
        optimiser=moments,
        step=state.step + 1,
        running_loss=state.running_loss + loss,
    )


def _schemed(task: Task, state: State) -> Fusion:
    """The fusion with the loss that is trained on; validation keeps the fusion's own."""
    if task.config.scheme == "auxiliary":
        return auxiliary(task.network.fusion)
    if task.config.scheme == "blending":
        return blending(task.network.fusion, state.blend)
    return task.network.fusion


def _parts(task: Task, weights: Weights, loader: Loader) -> Float[Array, " loss"]:
    """Mean losses of the whole and of each modality alone, where it is present."""
    sums = [_part_sums(task, weights, batch) for batch in loader.ordered()]
    losses, counts = (jnp.sum(jnp.stack(part), axis=0) for part in zip(*sums, strict=True))
    return losses / jnp.maximum(counts, 1)


@partial(jax.jit, static_argnums=0)
def _part_sums(
    task: Task, weights: Weights, batch: Batch
) -> tuple[Float[Array, " loss"], Float[Array, " loss"]]:
    """Sums of the losses over records, and how many were summed."""
    features = encode(task.network.encoders, weights.encoders, batch.inputs)
    told = features, batch.presence, jax.nn.one_hot(batch.label, task.classes)
    whole = task.network.fusion.loss(weights.fusion, *told)
    own = alone(task.network.fusion, weights.fusion, *told)
    real = (batch.row >= 0)[:, None]
    there = real & jnp.concatenate([jnp.ones_like(real), batch.presence], axis=1)
    losses = jnp.concatenate([whole[:, None], own], axis=1)
    return jnp.sum(jnp.where(there, losses, 0), axis=0), jnp.sum(there.astype(losses.dtype), axis=0)


@partial(jax.jit, static_argnums=0)
def _validation_sum(task: Task, state: State, batch: Batch) -> Float[Array, ""]:
    shown = _dropped(task, jax.random.key(state.seed), batch)
    losses = [_losses(task, state.average, batch, o) for o in (batch.presence, shown)]
    return jnp.where(batch.row >= 0, sum(losses) / 2, 0.0).sum()


def _losses(
    task: Task, weights: Weights, batch: Batch, presence: Bool[Array, "batch modality"]
) -> Float[Array, " batch"]:
    onehot = jax.nn.one_hot(batch.label, task.classes)
    features = encode(task.network.encoders, weights.encoders, batch.inputs)
    return task.network.fusion.loss(weights.fusion, features, presence, onehot)


def _dropped(task: Task, key: Key, batch: Batch) -> Bool[Array, "batch modality"]:
    rates = jnp.full(batch.presence.shape[1], task.config.dropout)
    return missing.drop(key, batch.presence, rates)


def _record(state: State, nll: float, epoch: int, steps: int) -> State:
    seen = jnp.stack([state.running_loss / steps, jnp.asarray(nll, jnp.float32)])
    state = state._replace(
        history=state.history.at[epoch].set(seen), running_loss=jnp.zeros_like(state.running_loss)
    )
    if not nll < float(state.best_nll):
        return state
    return state._replace(best=state.average, best_nll=seen[1], best_step=state.step)


def _out_of_patience(state: State, config: TrainConfig, steps: int) -> bool:
    return int(state.step) - int(state.best_step) >= config.patience * steps


def _finish(state: State, epochs: int, steps: int) -> Trained:
    history = np.asarray(state.history)[:epochs]
    return Trained(state.best, np.arange(1, epochs + 1) * steps, history[:, 0], history[:, 1])


def _open(folder: Path, config: TrainConfig, state: State) -> "ocp.CheckpointManager":
    """Keeps the two newest states, each written whole or not at all."""
    import orbax.checkpoint as ocp

    shapes = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(state)]
    _claim(folder, {"config": asdict(config), "state": shapes})
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder.absolute() / "states", options=options)


def _restore(manager: "ocp.CheckpointManager", state: State) -> State:
    import orbax.checkpoint as ocp

    newest = manager.latest_step()
    if newest is None:
        return state
    restored: Any = manager.restore(newest, args=ocp.args.StandardRestore(state))
    return restored


def _save(manager: "ocp.CheckpointManager", step: int, state: State) -> None:
    import orbax.checkpoint as ocp

    manager.save(step, args=ocp.args.StandardSave(state))


def _claim(folder: Path, fingerprint: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "config.json"
    text = json.dumps(fingerprint, indent=1, sort_keys=True)
    if note.exists() and note.read_text() != text:
        raise ModelError(
            folder,
            "holds the checkpoints of another configuration",
            "Choose another folder, or delete this one to start again.",
        )
    files.write(note, text)
