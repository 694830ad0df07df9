"""Features of a prepared study by the untrained projection, in three splits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax import model, study
from fusionjax.missing.types import Handler
from fusionjax.posterior import Observations, observe
from fusionjax.study import Study
from fusionjax.types import Encoder, Inputs, Params


class Part(NamedTuple):
    """Records of one split."""

    features: tuple[Float[Array, "row _"], ...]
    presence: Bool[Array, "row modality"]
    label: Int[np.ndarray, " row"]
    row: Int[np.ndarray, " row"]


class Cohort(NamedTuple):
    """The three splits, the log prior and the encoders that made the features."""

    train: Part
    validation: Part
    test: Part
    bias: Float[Array, " class"]
    encoders: tuple[Encoder, ...]
    weights: tuple[Params, ...]


def encoded(prepared: Study, width: int) -> Cohort:
    """Projections of at most `width` columns, fitted on training records without labels."""
    modalities = prepared.card.modalities
    stack = model.encoder_stack(modalities, ("linear",) * len(modalities), 16, width)
    inputs = study.sample(prepared).inputs
    key = jax.random.key(0)
    weights = tuple(e.init(key, one) for e, one in zip(stack, inputs, strict=True))
    split = prepared.split
    parts = [
        _part(prepared, stack, weights, r) for r in (split.train, split.validation, split.test)
    ]
    bias = jnp.asarray(study.log_prior(prepared))
    return Cohort(parts[0], parts[1], parts[2], bias, stack, weights)


def features(
    stack: tuple[Encoder, ...], weights: tuple[Params, ...], inputs: tuple[Inputs, ...]
) -> tuple[Float[Array, "row _"], ...]:
    """ψ of each modality."""
    return tuple(e.apply(w, x).vector for e, w, x in zip(stack, weights, inputs, strict=True))


def observations(part: Part, classes: int) -> Observations:
    """What a handler is fitted on."""
    return observe(part.features, part.presence, jnp.asarray(part.label), classes)


def showing(part: Part, presence: Bool[Array, "row modality"]) -> Part:
    """The same records with other gaps; those of nature stay."""
    return part._replace(presence=part.presence & presence)


def prob(
    handler: Handler, params: Params, bias: Float[Array, " class"], part: Part
) -> Float[np.ndarray, "row class"]:
    """P(y | F_S) in float64."""
    said = handler.log_prob(params, bias, part.features, part.presence)
    return np.exp(np.asarray(said, np.float64))


def _part(
    prepared: Study, stack: tuple[Encoder, ...], weights: tuple[Params, ...], rows: np.ndarray
) -> Part:
    batches = list(study.ordered(prepared, rows))
    each = [features(stack, weights, b.inputs) for b in batches]
    vectors = tuple(jnp.concatenate(f)[: len(rows)] for f in zip(*each, strict=True))
    presence = jnp.concatenate([b.presence for b in batches])[: len(rows)]
    return Part(vectors, presence, prepared.label[rows], rows)
