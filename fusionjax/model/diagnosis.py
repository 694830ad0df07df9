"""From a model and a batch to a diagnosis."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fusionjax import conformal, triage
from fusionjax import encoders as psi
from fusionjax import predict as predicting
from fusionjax.calibrate import by_pattern, shown
from fusionjax.card import Modality, TextOptions
from fusionjax.fusion import reliability
from fusionjax.log_linear import evidence
from fusionjax.model.nouns import Diagnosis, Member, Model
from fusionjax.train import encode
from fusionjax.types import Batch, Encoder, Inputs


def encoder_stack(
    modalities: tuple[Modality, ...], names: tuple[str, ...], width: int, projection: int
) -> tuple[Encoder, ...]:
    """The encoders named, one a modality; the same arguments give the same functions."""
    sizes = (projection if name in psi.UNTRAINED else width for name in names)
    return tuple(_encoder(*one) for one in zip(modalities, names, sizes, strict=True))


@cache
def _encoder(modality: Modality, name: str, size: int) -> Encoder:
    options = modality.options
    known = {"vocabulary": options.vocabulary} if isinstance(options, TextOptions) else {}
    return psi.build(modality.kind, name, size, **known)


def features(model: Model, batch: Batch) -> tuple[Float[Array, "batch _"], ...]:
    """θ's features [batch, p_i] of each modality: the mean over members."""
    stack = encoder_stack(model.card.modalities, model.encoders, model.width, model.projection)
    each = [mapped(stack, member, batch.inputs) for member in model.members]
    return jax.tree.map(lambda *parts: sum(parts) / len(parts), *each)


@partial(jax.jit, static_argnums=0)
def mapped(
    stack: tuple[Encoder, ...], member: Member, inputs: tuple[Inputs, ...]
) -> tuple[Float[Array, "batch _"], ...]:
    """One member's features: the constant 1, then ψ's output through its last linear layer."""
    vectors = [f.vector for f in encode(stack, member.weights, inputs)]
    return tuple(
        jnp.concatenate([f[:, :1], (f[:, 1:] - m.shift[None, :]) @ m.matrix], axis=1)
        for f, m in zip(vectors, member.maps, strict=True)
    )


def diagnose(
    model: Model, batch: Batch, prior: Float[np.ndarray, " class"] | None = None
) -> Diagnosis:
    """Predict for a batch; `prior` states another prevalence than that of the training records."""
    bias = model.bias if prior is None else jnp.log(jnp.asarray(prior, jnp.float32))
    seen, here = features(model, batch), np.asarray(batch.presence)
    found = predicting.predictive(
        model.theta, bias, seen, batch.presence, *calibrated(model, batch.presence)
    )
    experts = reliability.expert_log_probs(_expert(model), bias, seen)
    believed = jnp.full(len(model.theta), model.believed)
    reliable = reliability.reliable(experts, bias, batch.presence, believed)
    most = conformal.limits_of(model.limits, shown.spelled(here))
    return Diagnosis(
        found,
        here,
        np.asarray(reliable),
        conformal.members(conformal.lac(np.asarray(found.prob)), most),
        triage.each_farness(model.familiar, tuple(np.asarray(f)[:, 1:] for f in seen), here),
        triage.nearest(model.cases, here, mean_evidence(model, seen, batch.presence)),
    )


def calibrated(
    model: Model, presence: Bool[Array | np.ndarray, "batch modality"]
) -> tuple[Float[Array, "draw batch"], Float[Array, "draw modality class"]]:
    """The scale and the shift that `predict` takes for records of these patterns."""
    scale = by_pattern.scale_of(model.calibration, np.asarray(presence))
    return jnp.asarray(scale), jnp.asarray(model.calibration.shift)


def mean_evidence(
    model: Model,
    seen: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[np.ndarray, "batch modality class"]:
    """Evidence at the posterior mean of θ, before calibration: what cases are compared by."""
    return np.asarray(evidence(tuple(t.mean(0) for t in model.theta), seen, presence))


def _expert(model: Model) -> tuple[Float[Array, "class _"], ...]:
    """Each modality's mean θ_i, calibrated as it is where it is alone."""
    alone = np.eye(len(model.theta), dtype=bool)
    scale = by_pattern.scale_of(model.calibration, alone).mean(0)
    shift = model.calibration.shift.mean(0)
    return tuple(
        (s * t.mean(0)).at[:, 0].add(c) for s, c, t in zip(scale, shift, model.theta, strict=True)
    )
