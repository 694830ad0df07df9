"""The fusion beside what it must beat: one modality, a concatenating MLP, logistic regression.

All contenders share the split, the encoders that validation chose and calibration on validation
records: the rivals by a temperature, the fusion and the single modalities, which alone carry a
posterior, by that or with intercepts (`calibrate.by_pattern`), whichever validation prefers.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fusionjax import baselines, calibrate, train
from fusionjax.crossfit import FitConfig, Progress, stack_of
from fusionjax.fitting import Fitted, log_probs, network_log_probs
from fusionjax.fusion.concat_mlp import concat_mlp
from fusionjax.study import Study, log_prior, ordered, restrict, sample
from fusionjax.train import encode

Role = Literal["fusion", "single", "baseline"]


class Contender(NamedTuple):
    """A model's calibrated log P(y | X) [row, class] of the rows it was asked about."""

    name: str
    role: Role
    log_prob: Float[np.ndarray, "row class"]
    note: str = ""


def fusion(fitted: Fitted, study: Study, rows: Int[np.ndarray, " row"]) -> Contender:
    """The log-linear fusion's posterior predictive."""
    return Contender("log-linear fusion", "fusion", log_probs(fitted.model, study, rows))


def single(fitted: Fitted, study: Study, i: int, rows: Int[np.ndarray, " row"]) -> Contender:
    """Modality i alone; a patient who lacks it gets the class frequencies."""
    modality = study.card.modalities[i]
    log_prob = log_probs(fitted.model, restrict(study, (i,)), rows)
    return Contender(f"{modality.name} alone", "single", log_prob, fitted.model.encoders[0])


def concatenating_mlp(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    rows: Int[np.ndarray, " row"],
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Contender:
    """Encoders and an MLP on their concatenated features, trained on all training records."""
    valid, asked = _mlp(study, names, config, rows, config.seed, checkpoints, progress)
    return Contender("concatenating MLP", "baseline", _tempered(study, valid, asked))


def deep_ensemble(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    rows: Int[np.ndarray, " row"],
    members: int = 5,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Contender:
    """The mean probability of concatenating MLPs that differ in their seed, then one temperature.

    Lakshminarayanan et al. (2017), without adversarial training. As dear as its members together.
    """
    parts = [
        _mlp(
            study,
            names,
            config,
            rows,
            1000 + members * config.seed + member,
            checkpoints and checkpoints / f"member-{member}",
            progress,
        )
        for member in range(members)
    ]
    valid, asked = (_mean_log_prob([part[side] for part in parts]) for side in (0, 1))
    log_prob = _tempered(study, valid, asked)
    return Contender("deep ensemble", "baseline", log_prob, f"{members} MLPs")


def logistic_regression(
    study: Study, config: FitConfig, rows: Int[np.ndarray, " row"]
) -> Contender:
    """Ridge logistic regression on every modality's untrained features, side by side."""
    parts = (study.split.train, study.split.validation, rows)
    seen, valid, asked = (_side_by_side(study, config, part) for part in parts)
    labels = study.label
    classes = len(study.card.classes)
    model = baselines.logistic(
        seen, labels[study.split.train], valid, labels[study.split.validation], classes=classes
    )
    log_prob = _tempered(study, baselines.log_prob(model, valid), baselines.log_prob(model, asked))
    return Contender("logistic regression", "baseline", log_prob, f"C = {model.strength:g}")


def _mlp(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    rows: Int[np.ndarray, " row"],
    seed: int,
    checkpoints: Path | None,
    progress: Progress | None,
) -> tuple[Float[np.ndarray, "valid class"], Float[np.ndarray, "row class"]]:
    """One concatenating MLP's log P(y | X) of the validation records and of the rows."""
    bias = jnp.asarray(log_prior(study))
    network = train.Network(stack_of(study, names, config), concat_mlp(bias))
    trained = train.fit(
        network,
        study.loader(study.split.train, config.train.batch_size, seed),
        study.loader(study.split.validation, 512, 0),
        sample(study),
        len(bias),
        replace(config.train, seed=seed),
        checkpoints=checkpoints,
        progress=progress and (lambda *at: progress("concatenating MLP", *at)),
    )
    valid, asked = (
        network_log_probs(network, trained.weights, study, part)
        for part in (study.split.validation, rows)
    )
    return valid, asked


def _mean_log_prob(
    each: list[Float[np.ndarray, "row class"]],
) -> Float[np.ndarray, "row class"]:
    return np.logaddexp.reduce(np.stack(each), axis=0) - np.log(len(each))


def _tempered(
    study: Study,
    valid: Float[np.ndarray, "valid class"],
    asked: Float[np.ndarray, "row class"],
) -> Float[np.ndarray, "row class"]:
    label, prior = study.label[study.split.validation], np.exp(log_prior(study))

    def nll(scale: float) -> float:
        losses = -calibrate.apply(valid, prior, scale)[np.arange(len(label)), label]
        return float(losses.mean()) + calibrate.reluctance(scale, len(label))

    return calibrate.apply(asked, prior, calibrate.predictive_scale(nll))


def _side_by_side(
    study: Study, config: FitConfig, rows: Int[np.ndarray, " row"]
) -> Float[np.ndarray, "row column"]:
    """Untrained features of every modality and the presence bits, 0 where missing."""
    stack = stack_of(study, ("linear",) * len(study.card.modalities), config)
    key = jax.random.key(config.seed)
    weights = tuple(e.init(key, x) for e, x in zip(stack, sample(study).inputs, strict=True))
    blocks = []
    for batch in ordered(study, rows):
        vectors = [f.vector[:, 1:] for f in encode(stack, weights, batch.inputs)]
        here = np.asarray(batch.presence)
        shown = [np.where(here[:, i : i + 1], v, 0.0) for i, v in enumerate(vectors)]
        blocks.append(np.concatenate([*shown, here], axis=1))
    return np.concatenate(blocks)[: len(rows)]
