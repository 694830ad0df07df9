"""The calibration of a fitted model and the limits of its prediction sets, from records it can be
judged by.

What θ says of a record must owe nothing to that record's own label. That is so of validation
records; and of training records once their part in θ is taken off (`posterior.left_out`), but only
where no encoder is trained: else θ reads one member's features of them, and the mean of all
members' of a new record.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax import conformal
from fusionjax.calibrate import by_pattern, shown
from fusionjax.calibrate.shown import Patterns, Shown
from fusionjax.crossfit import elsewhere
from fusionjax.log_linear import evidence
from fusionjax.model import Model, features
from fusionjax.posterior import Observations, Posterior, left_out
from fusionjax.study import Study, ordered
from fusionjax.types import Batch

DRAWS = 32
MOST_TRAINING = 4096


class Judged(NamedTuple):
    """Each modality's evidence for some rows of a study, under some draws of θ."""

    rows: Int[np.ndarray, " record"]
    terms: Float[np.ndarray, "record draw modality class"]
    presence: Bool[np.ndarray, "record modality"]


def calibrated(model: Model, study: Study, training: Judged | None = None, seed: int = 0) -> Model:
    """The model with the calibration of its validation records, and of `training` ones.

    The limits of 90 % sets are those of validation records alone, whose promise needs records like
    the new ones; their probabilities are by the calibration of the other patients.
    """
    validation = _validation(model, study)
    both = (validation,) if training is None else (validation, training)
    rows, terms, presence = (np.concatenate(each) for each in zip(*both, strict=True))
    label, bias = study.label[rows], np.asarray(model.bias)
    patterns = shown.known(presence)
    under = shown.show(terms, presence, patterns, seed)
    draws = len(model.tau)
    came = presence if elsewhere(study) else np.ones_like(presence)
    found, prob = by_pattern.choose(
        under, patterns, came, label, study.group[rows], bias, draws, seed
    )
    limits = _limits(under, patterns, prob, label, validation.presence, bias)
    return model._replace(calibration=found, limits=limits)


def uncalibrated(model: Model) -> Model:
    """The model with its evidence as θ gives it."""
    draws, modalities, classes = len(model.tau), len(model.theta), len(model.bias)
    return model._replace(calibration=by_pattern.unchanged(modalities, classes, draws))


def drawn_evidence(
    theta: tuple[Float[Array, "draw class _"], ...],
    vectors: tuple[Float[Array | np.ndarray, "record _"], ...],
    presence: Bool[np.ndarray, "record modality"],
) -> Float[np.ndarray, "record some modality class"]:
    """Each modality's evidence under some of the draws, evenly spaced."""
    some = tuple(t[:: max(1, len(t) // DRAWS)] for t in theta)
    seen = tuple(map(jnp.asarray, vectors)), jnp.asarray(presence)
    found = jax.vmap(evidence, in_axes=(0, None, None))(some, *seen)
    return np.moveaxis(np.asarray(found), 0, 1)


def without_own_labels(
    found: Posterior,
    observations: Observations,
    record: Int[np.ndarray, " row"],
    bias: Float[Array, " class"],
    rows: Int[np.ndarray, " record"],
    modalities: int,
    seed: int,
) -> Judged:
    """Some of the training records, of which `rows` are those in the study (`crossfit.observe`).

    `found` and `observations` may have a block beyond the modalities (`crossfit.with_sent`), which
    is part of what a record owes to its label, and not of its evidence.
    """
    asked = np.random.default_rng(seed).permutation(len(rows))[:MOST_TRAINING]
    own = left_out.surplus(found, observations, record, bias, asked)
    vectors = tuple(np.asarray(f)[asked] for f in observations.features[:modalities])
    here = np.asarray(observations.presence)[asked, :modalities]
    terms = drawn_evidence(found.theta[:modalities], vectors, here)
    return Judged(rows[asked], terms - own[:, None, :modalities].astype(np.float32), here)


def _validation(model: Model, study: Study) -> Judged:
    rows = study.split.validation

    def read(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        here = np.asarray(batch.presence)
        return drawn_evidence(model.theta, features(model, batch), here), here

    parts = zip(*map(read, ordered(study, rows)), strict=True)
    return Judged(rows, *(np.concatenate(part)[: len(rows)] for part in parts))


def _limits(
    under: Shown,
    patterns: Patterns,
    prob: Float[np.ndarray, "row class"],
    label: Int[np.ndarray, " record"],
    presence: Bool[np.ndarray, "held modality"],
    bias: Float[np.ndarray, " class"],
) -> conformal.Limits:
    """Of the first records, as many as `presence` has. Whoever has nothing gets the prior, and any
    record can be shown so."""
    held, count = np.flatnonzero(under.record < len(presence)), len(presence)
    score = conformal.lac(np.concatenate([prob[held], np.tile(np.exp(bias), (count, 1))]))
    own = conformal.of_label(score, np.concatenate([label[under.record[held]], label[:count]]))
    shows = np.concatenate([patterns[under.pattern[held]], np.zeros_like(presence)])
    natural = np.concatenate([under.natural[held], ~presence.any(axis=1)])
    return conformal.by_pattern(own, shown.spelled(shows), natural)
