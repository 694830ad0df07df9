"""Cross-fitted members: a ψ, and a posterior over θ fitted on records that this ψ never saw.

Features of the records that trained ψ separate the classes better than those of new records will,
and θ would believe them. So the training patients are divided into folds. For each fold one ψ is
trained on the others, and θ's posterior fitted on the fold itself (Chernozhukov et al. 2018, on
cross-fitting; Wolpert 1992, on stacking). The model is the equal mixture of these members. Where
no encoder is trained there is one member, and every training record is unseen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fusionjax import posterior, presence, splits, train
from fusionjax.fusion.log_linear import log_linear
from fusionjax.model import Map, Member, encoder_stack, mapped
from fusionjax.posterior import Certificate, Observations, Posterior
from fusionjax.study import Study, ordered, sample
from fusionjax.train import TrainConfig, Trained
from fusionjax.types import Encoder

Progress = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class FitConfig:
    """How a model is fitted."""

    train: TrainConfig = field(default_factory=TrainConfig)
    width: int = 16
    """Features of a trained encoder."""
    projection: int = 96
    """Weights in θ for an untrained encoder at most: class − 1 for each feature it keeps."""
    folds: int = 2
    """Members of the model, where an encoder is trained."""
    posterior: Literal["auto", "laplace", "importance", "independence", "nuts"] = "laplace"
    """The engine for θ; auto takes the cheapest that certifies itself, nuts is the reference."""
    draws: int = 400
    """Draws of θ, over all members (with nuts: in each of four chains)."""
    believed: float = 0.9
    """Prior probability π that a modality can be believed."""
    seed: int = 0
    """Of splits, encoders, dropout and draws."""


class Fold(NamedTuple):
    """A member, its posterior, which records its ψ saw and which its θ, and how ψ was trained."""

    member: Member
    found: Posterior
    seen: Int[np.ndarray, " row"]
    unseen: Int[np.ndarray, " row"]
    training: Trained | None


def stack_of(study: Study, names: tuple[str, ...], config: FitConfig) -> tuple[Encoder, ...]:
    """The encoders named, one a modality of the study."""
    return encoder_stack(study.card.modalities, names, config.width, kept(study, config))


def kept(study: Study, config: FitConfig) -> int:
    """How many features an untrained encoder keeps at most."""
    return max(8, config.projection // (len(study.card.classes) - 1))


def folds(
    study: Study,
    stack: tuple[Encoder, ...],
    bias: Float[Array, " class"],
    config: FitConfig,
    checkpoints: Path | None,
    progress: Progress | None,
) -> tuple[Fold, ...]:
    """Train and fit every member."""
    rows = study.split.train
    if not any(e.trained for e in stack):
        member = _untrained(study, stack, config)
        found = theta(study, stack, member, rows, bias, config, config.draws, progress)
        return (Fold(member, found, rows[:0], rows, None),)
    network = train.Network(stack, log_linear(bias))
    return tuple(
        _fold(study, network, bias, config, number, unseen, checkpoints, progress)
        for number, unseen in enumerate(_divide(study, rows, config))
    )


def theta(
    study: Study,
    stack: tuple[Encoder, ...],
    member: Member,
    rows: Int[np.ndarray, " row"],
    bias: Float[Array, " class"],
    config: FitConfig,
    draws: int,
    progress: Progress | None = None,
) -> Posterior:
    """θ's posterior on the features that a member's ψ makes of `rows`."""
    if progress:
        progress(f"posterior of θ by {config.posterior}", 0, 1, float("nan"))
    engine = import_module(f"fusionjax.posterior.{config.posterior}")
    observations = observe(study, stack, member, rows, config.seed)
    return engine.fit(jax.random.key(config.seed), observations, bias, draws=draws)


def observe(
    study: Study,
    stack: tuple[Encoder, ...],
    member: Member,
    rows: Int[np.ndarray, " row"],
    seed: int,
) -> Observations:
    """θ's observations: features of `rows`, as they are and under dropout, weights summing to 1.

    Dropout identifies the intercept of each modality; with one modality there is nothing to drop.
    """
    batches = list(ordered(study, rows))
    parts = [mapped(stack, member, b.inputs) for b in batches]
    vectors = [jnp.concatenate(part)[: len(rows)] for part in zip(*parts, strict=True)]
    here = jnp.concatenate([b.presence for b in batches])[: len(rows)]
    draws, rates = (1 if len(stack) > 1 else 0), jnp.full(len(stack), 0.5)
    shown, weight, index = presence.augment(jax.random.key(seed), here, rates, draws)
    label = jnp.asarray(study.label[rows])[index]
    found = posterior.observe(
        tuple(v[index] for v in vectors), shown, label, len(study.card.classes), weight
    )
    return jax.tree.map(partial(_pad, multiple=256), found)


def mixture(found: tuple[Posterior, ...]) -> Posterior:
    """The members' posteriors as one over their features side by side.

    A draw of member m weighs the features of the others by 0, so that drawing a member first and
    then its θ is drawing from this.
    """
    if len(found) == 1:
        return found[0]
    parts = zip(*(p.theta for p in found), strict=True)
    tau = jnp.concatenate([p.tau for p in found])
    return Posterior(
        tuple(map(_block_diagonal, parts)), tau, _joint([p.certificate for p in found])
    )


def _fold(
    study: Study,
    network: train.Network,
    bias: Float[Array, " class"],
    config: FitConfig,
    number: int,
    unseen: Int[np.ndarray, " row"],
    checkpoints: Path | None,
    progress: Progress | None,
) -> Fold:
    seen = np.setdiff1d(study.split.train, unseen)
    stage = f"training ψ, fold {number + 1} of {config.folds}"
    training = train.fit(
        network,
        study.loader(seen, config.train.batch_size, config.seed),
        study.loader(study.split.validation, 512, 0),
        sample(study),
        len(bias),
        replace(config.train, seed=config.folds * config.seed + number),
        checkpoints=checkpoints and checkpoints / f"fold-{number}",
        progress=progress and (lambda *at: progress(stage, *at)),
    )
    weights = training.weights.encoders
    stack = network.encoders
    maps = _maps(study, stack, weights, training.weights.fusion["theta"], unseen)
    member = Member(weights, maps)
    draws = config.draws // config.folds
    found = theta(study, stack, member, unseen, bias, config, draws, progress)
    return Fold(member, found, seen, unseen, training)


def _untrained(study: Study, stack: tuple[Encoder, ...], config: FitConfig) -> Member:
    keys, inputs = jax.random.split(jax.random.key(config.seed), len(stack)), sample(study).inputs
    weights = tuple(train.init_encoder(*one) for one in zip(stack, keys, inputs, strict=True))
    none = tuple(jnp.zeros((len(study.card.classes), 1)) for _ in stack)
    return Member(weights, _maps(study, stack, weights, none, study.split.train[:1]))


def _divide(
    study: Study, rows: Int[np.ndarray, " row"], config: FitConfig
) -> list[Int[np.ndarray, " _"]]:
    """The training rows in folds of patients, stratified by label."""
    parts = []
    for left in range(config.folds, 1, -1):
        part, rows = splits.halve(rows, study.table, 1 / left, config.seed)
        parts.append(part)
    return [*parts, rows]


def _maps(
    study: Study,
    stack: tuple[Encoder, ...],
    weights: tuple,
    theta: tuple[Float[Array, "class _"], ...],
    rows: Int[np.ndarray, " row"],
) -> tuple[Map, ...]:
    """Standardise trained features within the directions that training used; leave the others.

    θ ∈ [class, p] reads at most class − 1 directions of F: the right singular vectors of θ less
    its mean over classes. The rest of a trained encoder's features has nothing to say.
    """
    batches = list(ordered(study, rows))
    parts = [train.encode(stack, weights, b.inputs) for b in batches]
    here = np.concatenate([np.asarray(b.presence) for b in batches])[: len(rows)]
    maps = []
    for i, encoder in enumerate(stack):
        values = np.concatenate([np.asarray(p[i].vector) for p in parts])[: len(rows), 1:]
        values = values[here[:, i]]
        maps.append(_map(values, np.asarray(theta[i])[:, 1:]) if encoder.trained else _same(values))
    return tuple(maps)


def _map(values: Float[np.ndarray, "row p"], theta: Float[np.ndarray, "class p"]) -> Map:
    _, _, directions = np.linalg.svd(theta - theta.mean(0), full_matrices=False)
    directions = directions[: len(theta) - 1].T
    shift = values.mean(0) if len(values) else np.zeros(theta.shape[1], np.float32)
    spread = ((values - shift) @ directions).std(0) if len(values) else np.ones(directions.shape[1])
    return Map(jnp.asarray(shift), jnp.asarray(directions / np.maximum(spread, 1e-6)))


def _same(values: Float[np.ndarray, "row p"]) -> Map:
    width = values.shape[1]
    return Map(jnp.zeros(width), jnp.eye(width))


def _pad(leaf: Array, multiple: int) -> Array:
    """More rows, of weight 0 and nothing present, so that folds share one compilation."""
    room = -len(leaf) % multiple
    return jnp.pad(leaf, [(0, room), *[(0, 0)] * (leaf.ndim - 1)])


def _block_diagonal(parts: tuple[Float[Array, "draw class _"], ...]) -> Float[Array, "all class p"]:
    widths = [part.shape[2] for part in parts]
    before = np.cumsum([0, *widths])
    padded = [
        jnp.pad(part, ((0, 0), (0, 0), (start, sum(widths) - start - width)))
        for part, start, width in zip(parts, before, widths, strict=False)
    ]
    return jnp.concatenate(padded)


def _joint(each: list[Certificate]) -> Certificate:
    """The certificate of a mixture: the worst of every figure, the sum of the costs."""

    def over(name: str, combine: Callable) -> Any:
        values = [getattr(c, name) for c in each if getattr(c, name) is not None]
        return combine(values) if values else None

    worst = {"r_hat": max, "ess_bulk": min, "ess_tail": min, "accept": min, "k_hat": max}
    total = ("divergences", "likelihood_evaluations")
    return Certificate(
        engine=each[0].engine,
        ok=all(c.ok for c in each),
        seconds=sum(c.seconds for c in each),
        notes=tuple(f"fold {i + 1}: {note}" for i, c in enumerate(each) for note in c.notes),
        **{name: over(name, combine) for name, combine in worst.items()},
        **{name: over(name, sum) for name in total},
    )
