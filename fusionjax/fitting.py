"""From prepared records to a model: choose encoders, cross-fit ψ and θ, calibrate.

Which records see what (a patient is in one row only):

| records            | fit                                                                     |
|--------------------|-------------------------------------------------------------------------|
| training           | φ; for each fold the encoders, on the other folds; θ, and what is far   |
|                    | from them, on what encoders make of the unseen fold (see `crossfit`);   |
|                    | calibration, by θ without them, where no encoder is trained             |
| validation         | early stopping, the choice of encoders, calibration, prediction sets    |
| test               | nothing                                                                 |
"""

from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fusionjax import crossfit, train, triage
from fusionjax import encoders as psi
from fusionjax import model as models
from fusionjax.calibration import calibrated, uncalibrated, without_own_labels
from fusionjax.card import Kind
from fusionjax.crossfit import FitConfig, Fold, Progress, stack_of
from fusionjax.model import Model, features, mean_evidence, of_posterior
from fusionjax.posterior import Observations
from fusionjax.predict import mean_log_prob
from fusionjax.study import Study, log_prior, ordered, restrict

Choice = TypeVar("Choice", bound=Hashable)


class Fitted(NamedTuple):
    """A model and the folds it was fitted on."""

    model: Model
    folds: tuple[Fold, ...]


def fit(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the log-linear fusion of a study with the encoders named, one a modality."""
    stack, bias = stack_of(study, names, config), jnp.asarray(log_prior(study))
    folds = crossfit.folds(study, stack, bias, config, checkpoints, progress)
    observations, record = crossfit.observe(study, stack, folds, config.seed)
    away = crossfit.elsewhere(study)
    whole = crossfit.with_sent(observations, record) if away else observations
    found = crossfit.draw(whole, bias, config, progress)
    model = of_posterior(
        study.card,
        study.statistics,
        names,
        (config.width, crossfit.kept(study, config)),
        tuple(fold.member for fold in folds),
        bias,
        crossfit.without_sent(found, len(stack)),
        config.believed,
    )
    model = _familiar(model, study, observations, folds)
    if folds[0].training is not None:
        return Fitted(calibrated(model, study), folds)
    training = without_own_labels(
        found, whole, record, bias, folds[0].unseen, len(stack), config.seed
    )
    return Fitted(calibrated(model, study, training), folds)


def _familiar(
    model: Model, study: Study, observations: Observations, folds: tuple[Fold, ...]
) -> Model:
    """The model with the distances and the cases of the training records, as unseen by ψ."""
    rows = np.concatenate([fold.unseen for fold in folds])
    seen = tuple(f[: len(rows)] for f in observations.features)
    here = observations.presence[: len(rows)]
    own = np.asarray(here)
    distances = tuple(triage.fit_distance(np.asarray(f)[own[:, i], 1:]) for i, f in enumerate(seen))
    ids = tuple(map(str, study.table["id"].to_numpy()[rows]))
    cases = triage.Cases(ids, own, mean_evidence(model, seen, here))
    return model._replace(familiar=distances, cases=cases)


def theta_on_seen(fitted: Fitted, study: Study, config: FitConfig) -> Model | None:
    """The model that θ would have given on the records that trained ψ; None where none did."""
    model, folds = fitted
    if folds[0].training is None:
        return None
    stack = stack_of(study, model.encoders, config)
    found = crossfit.theta(study, stack, folds, model.bias, config, seen=True)
    return uncalibrated(model._replace(theta=found.theta, tau=found.tau))


def choose(
    study: Study,
    config: FitConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[str, ...], tuple[Fitted, ...]]:
    """Choose an encoder for each modality on validation, and return each modality's own model.

    Where the card says "auto", a trained encoder is taken only if it beats the untrained
    projection by more than one standard error of the paired difference in validation NLL: it is
    dearer (the one-standard-error rule of Breiman et al. 1984). Two folds are enough to tell; the
    models returned have as many as `config` asks for.
    """
    each = [
        _single(study, i, config, checkpoints, progress) for i in range(len(study.card.modalities))
    ]
    return tuple(name for name, _ in each), tuple(fitted for _, fitted in each)


def fit_chosen(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """The fusion with the encoders chosen, or with untrained ones where these do as well.

    What wins alone need not win together: by the same rule as in `choose`, the fusion falls back
    on projections wherever the card leaves the encoder open.
    """
    plain = tuple(
        "linear" if m.encoder == "auto" else name
        for m, name in zip(study.card.modalities, names, strict=True)
    )
    trials = {
        stack: fit(
            study,
            stack,
            config,
            checkpoints=checkpoints and checkpoints / "-".join(stack),
            progress=_named(progress, f"fusion of {', '.join(stack)}"),
        )
        for stack in dict.fromkeys((plain, names))
    }
    return trials[_best({s: validation_losses(t.model, study) for s, t in trials.items()})]


def validation_losses(model: Model, study: Study) -> Float[np.ndarray, " row"]:
    """−log P(y | X) of each validation record, in nats."""
    labels = study.label[study.split.validation]
    log_prob = log_probs(model, study, study.split.validation)
    return -log_prob[np.arange(len(labels)), labels]


def log_probs(
    model: Model,
    study: Study,
    rows: Int[np.ndarray, " row"],
    only: Bool[np.ndarray, " modality"] | None = None,
) -> Float[np.ndarray, "row class"]:
    """log P(y | X) of the posterior predictive; `only` hides the other modalities."""
    mask = jnp.ones(len(model.theta), bool) if only is None else jnp.asarray(only)
    parts = [
        mean_log_prob(
            model.theta,
            model.bias,
            features(model, b),
            b.presence & mask[None, :],
            *models.calibrated(model, b.presence & mask[None, :]),
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


def _single(
    study: Study, i: int, config: FitConfig, checkpoints: Path | None, progress: Progress | None
) -> tuple[str, Fitted]:
    """The encoder that validation prefers for modality i alone, and its model."""
    modality, alone = study.card.modalities[i], restrict(study, (i,))
    names = _candidates(modality.kind, modality.encoder)
    trial = replace(config, folds=min(2, config.folds)) if len(names) > 1 else config
    trials = {n: _alone(study, i, n, trial, checkpoints, progress) for n in names}
    name = _best({n: validation_losses(t.model, alone) for n, t in trials.items()})
    enough = trial == config or trials[name].folds[0].training is None
    chosen = trials[name] if enough else _alone(study, i, name, config, checkpoints, progress)
    return name, chosen


def _alone(
    study: Study,
    i: int,
    name: str,
    config: FitConfig,
    checkpoints: Path | None,
    progress: Progress | None,
) -> Fitted:
    """Modality i's own model."""
    modality = study.card.modalities[i].name
    return fit(
        restrict(study, (i,)),
        (name,),
        config,
        checkpoints=checkpoints and checkpoints / f"{modality}-{name}-{config.folds}",
        progress=_named(progress, f"{modality} alone, {name}"),
    )


def _candidates(kind: Kind, named: str) -> tuple[str, ...]:
    return ("linear", psi.DEFAULT[kind]) if named == "auto" else (named,)


def _best(losses: dict[Choice, Float[np.ndarray, " row"]]) -> Choice:
    """The candidate with the least loss, or an earlier one within a standard error of it."""
    best = min(losses, key=lambda name: losses[name].mean())
    for name, loss in losses.items():
        gap = loss - losses[best]
        if gap.mean() <= gap.std(ddof=1) / np.sqrt(len(gap)):
            return name
    return best


def _named(progress: Progress | None, name: str) -> Progress | None:
    return progress and (lambda stage, *at: progress(f"{name}: {stage}", *at))
