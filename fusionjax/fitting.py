"""From prepared records to a model: choose and train ψ, then θ's posterior, then calibration.

Which records see what (a patient is in one of them only):

| records              | fit                                                            |
|----------------------|----------------------------------------------------------------|
| training, seen by ψ  | encoders that are trained, jointly with a log-linear fusion    |
| training, unseen     | θ's posterior; all training records where no encoder is trained|
| validation           | early stopping, the choice of encoders, the temperature        |
| test                 | nothing                                                        |
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax import calibrate, posterior, presence, splits, train
from fusionjax import encoders as psi
from fusionjax.card import Kind
from fusionjax.fusion.log_linear import log_linear
from fusionjax.model import Map, Model, encoder_stack, features, mapped
from fusionjax.posterior import Observations, Posterior, laplace, nuts
from fusionjax.predict import mean_log_prob
from fusionjax.study import Study, log_prior, ordered, restrict, sample
from fusionjax.train import TrainConfig, Trained
from fusionjax.types import Batch, Encoder

Progress = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class FitConfig:
    """How a model is fitted.

    `width` is the number of features of a trained encoder and `projection` the most that an
    untrained one keeps; `unseen` is the share of training patients that ψ does not see, so that
    θ can be fitted on them; `believed` is the prior probability π that a modality can be believed.
    """

    train: TrainConfig = field(default_factory=TrainConfig)
    width: int = 16
    projection: int = 128
    unseen: float = 0.35
    posterior: Literal["laplace", "nuts"] = "laplace"
    draws: int = 400
    believed: float = 0.9
    seed: int = 0


class Fitted(NamedTuple):
    """A model and how it came about; `training` is None where no encoder is trained."""

    model: Model
    training: Trained | None
    seen: Int[np.ndarray, " row"]
    unseen: Int[np.ndarray, " row"]


def fit(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the log-linear fusion of a study with the encoders named, one a modality."""
    stack = stack_of(study, names, config)
    bias = jnp.asarray(log_prior(study))
    first = sample(study)
    if any(e.trained for e in stack):
        seen, unseen = splits.halve(study.split.train, study.table, 1 - config.unseen, config.seed)
        training = _train(study, stack, bias, first, seen, config, checkpoints, progress)
        weights = training.weights.encoders
        theta = training.weights.fusion["theta"]
    else:
        seen, unseen, training = study.split.train[:0], study.split.train, None
        keys = jax.random.split(jax.random.key(config.seed), len(stack))
        weights = tuple(e.init(k, x) for e, k, x in zip(stack, keys, first.inputs, strict=True))
        theta = tuple(jnp.zeros((len(bias), 1)) for _ in stack)
    maps = _maps(study, stack, weights, theta, unseen)
    observations = observe(study, stack, weights, maps, unseen, config)
    found = _posterior(observations, bias, config, progress)
    model = _model(study, names, config, weights, maps, bias, found)
    return Fitted(tempered(model, study), training, seen, unseen)


def theta_on_seen(fitted: Fitted, study: Study, config: FitConfig) -> Model | None:
    """The model that θ would have given on the records that trained ψ; None where none did.

    Features of those records separate the classes better than new ones will, and θ believes them:
    the comparison shows by how much.
    """
    if not len(fitted.seen):
        return None
    model = fitted.model
    stack = stack_of(study, model.encoders, config)
    observations = observe(study, stack, model.weights, model.maps, fitted.seen, config)
    found = _posterior(observations, model.bias, config, None)
    return model._replace(theta=found.theta, tau=found.tau, scale=1.0)


def choose(
    study: Study,
    config: FitConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[str, ...], tuple[Fitted, ...]]:
    """Choose an encoder for each modality on validation, and return each modality's own model.

    Where the card says "auto", a trained encoder is taken only if it beats the untrained
    projection by more than one standard error of the paired difference in validation NLL: it
    costs θ the records that ψ has seen (Breiman et al. 1984, the one-standard-error rule).
    """
    chosen: list[tuple[str, Fitted]] = []
    for i, modality in enumerate(study.card.modalities):
        alone = restrict(study, (i,))
        trials = {
            name: fit(
                alone,
                (name,),
                config,
                checkpoints=checkpoints and checkpoints / f"{modality.name}-{name}",
                progress=_named(progress, f"{modality.name} alone, {name}"),
            )
            for name in _candidates(modality.kind, modality.encoder)
        }
        name = _best({n: validation_losses(t.model, alone) for n, t in trials.items()})
        chosen.append((name, trials[name]))
    return tuple(name for name, _ in chosen), tuple(fitted for _, fitted in chosen)


def validation_losses(model: Model, study: Study) -> Float[np.ndarray, " row"]:
    """−log P(y | X) of each validation record, in nats."""
    labels = study.label[study.split.validation]
    log_prob = log_probs(model, study, study.split.validation)
    return -log_prob[np.arange(len(labels)), labels]


def log_probs(
    model: Model,
    study: Study,
    rows: Int[np.ndarray, " row"],
    shown: Bool[np.ndarray, " modality"] | None = None,
) -> Float[np.ndarray, "row class"]:
    """log P(y | X) of the posterior predictive; `shown` hides the other modalities."""
    mask = jnp.ones(len(model.theta), bool) if shown is None else jnp.asarray(shown)
    parts = [
        mean_log_prob(
            model.theta, model.bias, features(model, b), b.presence & mask[None, :], model.scale
        )
        for b in ordered(study, rows)
    ]
    return np.concatenate([np.asarray(p) for p in parts])[: len(rows)]


def network_log_probs(
    network: train.Network, weights: train.Weights, study: Study, rows: Int[np.ndarray, " row"]
) -> Float[np.ndarray, "row class"]:
    """log P(y | X) of a trained network."""
    predict = jax.jit(partial(train.log_prob, network))
    parts = [np.asarray(predict(weights, b.inputs, b.presence)) for b in ordered(study, rows)]
    return np.concatenate(parts)[: len(rows)]


def tempered(model: Model, study: Study) -> Model:
    """The model with the scale 1/T of the evidence that validation records ask for."""
    rows = study.split.validation
    labels = study.label[rows]
    seen = [(features(model, b), b.presence) for b in ordered(study, rows)]

    def nll(scale: float) -> float:
        parts = [mean_log_prob(model.theta, model.bias, f, o, scale) for f, o in seen]
        log_prob = np.concatenate([np.asarray(p) for p in parts])[: len(rows)]
        return float(-log_prob[np.arange(len(rows)), labels].mean())

    return model._replace(scale=calibrate.predictive_scale(nll))


def observe(
    study: Study,
    stack: tuple[Encoder, ...],
    weights: tuple,
    maps: tuple[Map, ...],
    rows: Int[np.ndarray, " row"],
    config: FitConfig,
) -> Observations:
    """θ's observations: features of `rows`, as they are and under dropout, weights summing to 1.

    Dropout identifies the intercept of each modality; with one modality there is nothing to drop.
    """
    batches = list(ordered(study, rows))
    parts = [mapped(stack, weights, maps, b.inputs) for b in batches]
    vectors = [jnp.concatenate(part)[: len(rows)] for part in zip(*parts, strict=True)]
    here = jnp.concatenate([b.presence for b in batches])[: len(rows)]
    draws = 3 if len(stack) > 1 else 0
    key, rates = jax.random.key(config.seed), jnp.full(len(stack), 0.5)
    shown, weight, index = presence.augment(key, here, rates, draws)
    label = jnp.asarray(study.label[rows])
    return posterior.observe(
        tuple(v[index] for v in vectors), shown, label[index], len(study.card.classes), weight
    )


def stack_of(study: Study, names: tuple[str, ...], config: FitConfig) -> tuple[Encoder, ...]:
    """The encoders named, one a modality of the study."""
    kinds: tuple[Kind, ...] = tuple(m.kind for m in study.card.modalities)
    return encoder_stack(kinds, names, config.width, config.projection)


def _train(
    study: Study,
    stack: tuple[Encoder, ...],
    bias: Float[Array, " class"],
    first: Batch,
    seen: Int[np.ndarray, " row"],
    config: FitConfig,
    checkpoints: Path | None,
    progress: Progress | None,
) -> Trained:
    size = config.train.batch_size
    return train.fit(
        train.Network(stack, log_linear(bias)),
        study.loader(seen, size, config.seed),
        study.loader(study.split.validation, 512, 0),
        first,
        len(bias),
        replace(config.train, seed=config.seed),
        checkpoints=checkpoints,
        progress=progress and (lambda *at: progress("training ψ", *at)),
    )


def _maps(
    study: Study,
    stack: tuple[Encoder, ...],
    weights: tuple,
    theta: tuple[Float[Array, "class p"], ...],
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


def _posterior(
    observations: Observations,
    bias: Float[Array, " class"],
    config: FitConfig,
    progress: Progress | None,
) -> Posterior:
    if progress:
        progress(f"posterior of θ by {config.posterior}", 0, 1, float("nan"))
    key = jax.random.key(config.seed)
    engine = {"laplace": laplace, "nuts": nuts}[config.posterior]
    return engine.fit(key, observations, bias, draws=config.draws)


def _model(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    weights: tuple,
    maps: tuple[Map, ...],
    bias: Float[Array, " class"],
    found: Posterior,
) -> Model:
    return Model(
        card=study.card,
        statistics=study.statistics,
        encoders=names,
        width=config.width,
        projection=config.projection,
        weights=weights,
        maps=maps,
        bias=bias,
        theta=found.theta,
        tau=found.tau,
        certificate=found.certificate,
        scale=1.0,
        believed=config.believed,
        threshold=0.0,
    )


def _candidates(kind: Kind, named: str) -> tuple[str, ...]:
    return ("linear", psi.DEFAULT[kind]) if named == "auto" else (named,)


def _best(losses: dict[str, Float[np.ndarray, " row"]]) -> str:
    """The candidate with the least loss, or an earlier one within a standard error of it."""
    best = min(losses, key=lambda name: losses[name].mean())
    for name, loss in losses.items():
        gap = loss - losses[best]
        if gap.mean() <= gap.std(ddof=1) / np.sqrt(len(gap)):
            return name
    return best


def _named(progress: Progress | None, name: str) -> Progress | None:
    return progress and (lambda stage, *at: progress(f"{name}: {stage}", *at))
