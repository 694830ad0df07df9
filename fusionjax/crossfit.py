"""Cross-fitting: encoders on some of the training records, θ on what they make of the others.

Features of the records that trained ψ separate the classes better than those of new records will,
and θ would believe them. So the training patients are divided into folds, and for each fold one ψ
is trained on the others. Their features of the fold that they did not see, all folds together, are
what one θ is fitted on (Wolpert 1992, "Stacked generalization"; Chernozhukov et al. 2018, on
cross-fitting); a new record gets the mean of all members' features. Where no encoder is trained
there is one member, and every training record is unseen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax import posterior, presence, splits, train
from fusionjax.fusion.log_linear import log_linear
from fusionjax.model import Map, Member, encoder_stack, mapped
from fusionjax.posterior import Observations, Posterior
from fusionjax.posterior.newton import zero_sum_basis
from fusionjax.study import Study, ordered, sample
from fusionjax.train import TrainConfig, Trained
from fusionjax.types import Encoder

Progress = Callable[[str, int, int, float], None]
MOST_ROWS = 1 << 17


@dataclass(frozen=True)
class FitConfig:
    """How a model is fitted."""

    train: TrainConfig = field(default_factory=TrainConfig)
    width: int = 16
    """Features of a trained encoder."""
    projection: int = 96
    """Weights in θ for an untrained encoder at most: class − 1 for each feature it keeps."""
    folds: int = 4
    """Members of the model, where an encoder is trained."""
    posterior: Literal["auto", "laplace", "importance", "independence", "nuts", "svi"] = "laplace"
    """The engine for θ; auto takes the cheapest that certifies itself, nuts is the reference."""
    draws: int = 400
    """Draws of θ (with nuts: in each of four chains)."""
    worth: bool = False
    """Whether to say of each modality if it is worth having: a fit of each subset, and LOO."""
    believed: float = 0.9
    """Prior probability π that a modality can be believed."""
    seed: int = 0
    """Of splits, encoders, dropout and draws."""


class Fold(NamedTuple):
    """A member, which records its ψ saw and which it did not, and how ψ was trained."""

    member: Member
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
    """Train a member for each fold of the training records, on the other folds."""
    rows = study.split.train
    if not any(e.trained for e in stack):
        return (Fold(_untrained(study, stack, config), rows[:0], rows, None),)
    network = train.Network(stack, log_linear(bias))
    return tuple(
        _fold(study, network, bias, config, number, unseen, checkpoints, progress)
        for number, unseen in enumerate(_divide(study, rows, config))
    )


def theta(
    study: Study,
    stack: tuple[Encoder, ...],
    parts: tuple[Fold, ...],
    bias: Float[Array, " class"],
    config: FitConfig,
    *,
    seen: bool = False,
    progress: Progress | None = None,
) -> Posterior:
    """θ's posterior on what each member makes of its unseen records (or, to compare, of seen)."""
    observations, record = observe(study, stack, parts, config.seed, seen=seen)
    if elsewhere(study):
        observations = with_sent(observations, record)
    return without_sent(draw(observations, bias, config, progress), len(stack))


def draw(
    observations: Observations,
    bias: Float[Array, " class"],
    config: FitConfig,
    progress: Progress | None = None,
) -> Posterior:
    """θ's posterior by the engine that `config` names."""
    if progress:
        progress(f"posterior of θ by {config.posterior}", 0, 1, float("nan"))
    engine = import_module(f"fusionjax.posterior.{config.posterior}")
    return engine.fit(jax.random.key(config.seed), observations, bias, draws=config.draws)


def observe(
    study: Study,
    stack: tuple[Encoder, ...],
    parts: tuple[Fold, ...],
    seed: int,
    *,
    seen: bool = False,
    hidden: bool = True,
) -> tuple[Observations, Int[np.ndarray, " row"]]:
    """θ's observations, and the record of every row: as they are and with modalities hidden.

    Each record's features come from the member that did not see it; with `seen`, from another. The
    first rows are the records as they are, fold after fold. Those that follow, in which modalities
    are hidden, identify the intercept of each; they are every pattern that a record can show, or
    some drawn at random where all would be more than `MOST_ROWS`. Without `hidden` there are none,
    and each record weighs 1.
    """
    rows = [fold.unseen for fold in parts]
    rows = [*rows[1:], rows[0]] if seen else rows
    read = [_read(study, stack, f.member, r) for f, r in zip(parts, rows, strict=True)]
    vectors, here = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *read)
    shown, weight, index = _under_patterns(np.asarray(here), seed, hidden)
    label = jnp.asarray(study.label[np.concatenate(rows)])[index]
    shown_vectors, classes = tuple(v[index] for v in vectors), len(study.card.classes)
    return posterior.observe(shown_vectors, shown, label, classes, weight), np.asarray(index)


def elsewhere(study: Study) -> bool:
    """Whether new records come from other hospitals, as the card says by dividing them by site.

    Whom a hospital sends to a test tells of the diagnosis too. That helps with its next patients
    and misleads where others decide.
    """
    return study.card.split.by == "site"


def with_sent(observations: Observations, record: Int[np.ndarray, " row"]) -> Observations:
    """With one block more, in which every row says what was taken of its record, hidden or not.

    The weights of a modality would take whom the hospital sends for what the test says. The
    block's take it instead, and are for fitting alone (`without_sent`). Centred over records, so
    that leaving them out leaves the average record; nothing is added where the same was taken of
    everyone.
    """
    came = np.asarray(observations.presence, np.float32)[: record.max() + 1]
    if (came == came[:1]).all():
        return observations
    sent = np.c_[np.ones(len(came), np.float32), came - came.mean(axis=0)][record]
    everyone = jnp.ones((len(record), 1), bool)
    return observations._replace(
        features=(*observations.features, jnp.asarray(sent)),
        presence=jnp.concatenate([observations.presence, everyone], axis=1),
    )


def without_sent(found: Posterior, modalities: int) -> Posterior:
    """The posterior of the modalities' own weights."""
    return found._replace(theta=found.theta[:modalities], tau=found.tau[:, :modalities])


def _under_patterns(
    here: Bool[np.ndarray, "record modality"], seed: int, hidden: bool
) -> presence.Augmented:
    records, modalities = here.shape
    if hidden and float((2.0 ** here.sum(axis=1)).sum()) <= MOST_ROWS:
        return presence.every(here)
    draws = max(1, MOST_ROWS // records - 1) if hidden and modalities > 1 else 0
    rates = jnp.full(modalities, 0.5)
    return presence.augment(jax.random.key(seed), jnp.asarray(here), rates, draws)


def _read(
    study: Study, stack: tuple[Encoder, ...], member: Member, rows: Int[np.ndarray, " row"]
) -> tuple[tuple[Float[Array, "row _"], ...], Bool[Array, "row modality"]]:
    """A member's features of the rows, and their presence."""
    read = [(mapped(stack, member, b.inputs), b.presence) for b in ordered(study, rows)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[: len(rows)], *read)


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
    maps = _maps(study, network.encoders, weights, training.weights.fusion["theta"], unseen)
    return Fold(Member(weights, maps), seen, unseen, training)


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
    """The class evidence of trained encoders; the features of the others as they are."""
    batches = list(ordered(study, rows))
    parts = [train.encode(stack, weights, b.inputs) for b in batches]
    here = np.concatenate([np.asarray(b.presence) for b in batches])[: len(rows)]
    maps = []
    for i, encoder in enumerate(stack):
        values = np.concatenate([np.asarray(p[i].vector) for p in parts])[: len(rows), 1:]
        values = values[here[:, i]]
        weigh = np.asarray(theta[i])[:, 1:]
        maps.append(_evidence(values, weigh) if encoder.trained else _same(values))
    return tuple(maps)


def _evidence(values: Float[np.ndarray, "row p"], theta: Float[np.ndarray, "class p"]) -> Map:
    """θF in class − 1 zero-sum coordinates, centred, of mean variance 1.

    All that training used of F, and the same thing in every member, so that members average.
    """
    directions = theta.T @ zero_sum_basis(len(theta)).astype(theta.dtype)
    shift = values.mean(0) if len(values) else np.zeros(theta.shape[1], theta.dtype)
    power = np.mean(((values - shift) @ directions) ** 2) if len(values) else 1.0
    return Map(jnp.asarray(shift), jnp.asarray(directions / max(np.sqrt(power), 1e-6)))


def _same(values: Float[np.ndarray, "row p"]) -> Map:
    width = values.shape[1]
    return Map(jnp.zeros(width), jnp.eye(width))
