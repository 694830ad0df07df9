"""Experts fitted one by one: a temperature for each alone, then what they are believed together.

An expert's temperature belongs to it alone: it is fitted on the expert's own predictions of records
that did not fit the expert, as in `calibrate`. Fitted through the mixture it would not be
identified: where modalities repeat each other the likelihood silences some experts, and then does
not notice when they contradict.

π comes from the same predictions, shown with the swaps that one expects (`corrupt.swap`), by the
mixture's likelihood of the label and a Beta prior.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fusionjax import calibrate
from fusionjax.fusion import reliability
from fusionjax.fusion.reliability import Prior
from fusionjax.log_linear import negative_log_likelihood

NARROWEST = 1e-4
"""π is kept this far from 0 and 1."""


class Trust(NamedTuple):
    """What the experts are worth: the scale 1/T of each one's evidence, and P(it is believed)."""

    scale: Float[Array, " modality"]
    pi: Float[Array, " modality"]


class Seen(NamedTuple):
    """Predictions of records that fitted no expert: log P_i(y | X_i), and the joint model's."""

    experts: Float[Array, "row modality class"]
    presence: Bool[Array, "row modality"]
    onehot: Float[Array, "row class"]
    joint: Float[Array, "row class"] | None = None


def scales(seen: Seen, bias: Float[Array, " class"]) -> Float[Array, " modality"]:
    """The scale of each expert's evidence that suits the records which have its modality."""
    prior = np.exp(np.asarray(jax.nn.log_softmax(bias), float))
    label = np.asarray(seen.onehot).argmax(axis=1)
    found = []
    for i in range(seen.presence.shape[1]):
        here = np.asarray(seen.presence[:, i])
        expert = np.asarray(seen.experts[:, i], float)[here]
        found.append(calibrate.temperature(expert, label[here], prior))
    return jnp.asarray(found, bias.dtype)


def fit(
    seen: Seen,
    bias: Float[Array, " class"],
    scale: Float[Array, " modality"],
    prior: Prior | None = None,
    shared: bool = True,
) -> Trust:
    """π of largest Σ log P(label | X) + log prior, one for all modalities unless `shared` is False.

    `seen` holds the records as they may come, swaps included; `scale` was fitted without them. With
    a shared π the prior is counted once.
    """
    from scipy.optimize import minimize

    scaled = seen._replace(experts=sharpened(seen.experts, bias, scale))
    modalities = seen.presence.shape[1]
    slope = jax.jit(jax.value_and_grad(partial(_loss, prior=prior, shared=shared)))

    def both(logit: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = slope(jnp.asarray(logit, bias.dtype), scaled, bias)
        return float(value), np.asarray(gradient, float)

    limit = float(np.log(1 / NARROWEST - 1))
    start = np.full(1 if shared else modalities, 1.0)
    bounds = [(-limit, limit)] * len(start)
    best: Any = minimize(both, start, jac=True, method="L-BFGS-B", bounds=bounds)
    pi = jax.nn.sigmoid(jnp.asarray(best.x, bias.dtype))
    return Trust(scale, jnp.broadcast_to(pi, (modalities,)))


def sharpened(
    experts: Float[Array, "row modality class"],
    bias: Float[Array, " class"],
    scale: Float[Array, " modality"],
) -> Float[Array, "row modality class"]:
    """log P_i(y | X_i) with the evidence scaled and the prior left alone, normalised."""
    prior = jax.nn.log_softmax(bias)[None, None, :]
    return jax.nn.log_softmax(prior + scale[None, :, None] * (experts - prior), axis=2)


def _loss(
    logit: Float[Array, " _"],
    seen: Seen,
    bias: Float[Array, " class"],
    prior: Prior | None,
    shared: bool,
) -> Float[Array, ""]:
    pi = jax.nn.sigmoid(logit)
    everyone = jnp.broadcast_to(pi, (seen.presence.shape[1],))
    log_prob = reliability.log_prob(seen.experts, bias, seen.presence, everyone, seen.joint)
    loss = jnp.sum(negative_log_likelihood(log_prob, seen.onehot))
    density = 0.0 if prior is None else jnp.sum(reliability.log_prior(prior, pi))
    return (loss - density) / len(seen.onehot)
