"""Posterior predictive: probabilities, their uncertainty in two parts, and the evidence ledger."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import entr
from jaxtyping import Bool, Float, Int

from fusionjax.log_linear import contrast, energy, evidence

_TAIL = 0.025
_CHUNK_NUMBERS = 1 << 22


class Predictive(NamedTuple):
    """What a posterior over θ says about some patients. Uncertainty and evidence are in nats.

    `total` = `aleatoric` + `epistemic`: the entropy of the mean probabilities is the mean entropy
    of the draws' probabilities and the information that θ holds about the label (Depeweg et al.
    2018). Evidence is calibrated as the probabilities are, in the zero-sum gauge, with the ends of
    its central 95 % interval; a missing modality's is exactly 0. `contrast_mean` is the evidence
    for the likeliest class `top` against the next, `runner_up`, so that

        bias[top] − bias[runner_up] + Σ_i contrast_mean_i

    is the posterior mean of the log-odds between the two.
    """

    prob: Float[Array, "batch class"]
    total: Float[Array, " batch"]
    aleatoric: Float[Array, " batch"]
    epistemic: Float[Array, " batch"]
    evidence_mean: Float[Array, "batch modality class"]
    evidence_low: Float[Array, "batch modality class"]
    evidence_high: Float[Array, "batch modality class"]
    contrast_mean: Float[Array, "batch modality"]
    contrast_low: Float[Array, "batch modality"]
    contrast_high: Float[Array, "batch modality"]
    top: Int[Array, " batch"]
    runner_up: Int[Array, " batch"]


def predictive(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: float | Float[Array, "draw batch"] = 1.0,
    shift: Float[Array, "draw modality class"] | None = None,
) -> Predictive:
    """Average P(y | X, θ) ∝ exp(b_y + Σ_i o_i (scale · evidence_{i,y} + shift_{i,y})) over draws.

    Draws weigh the same. `scale` is 1/T: a temperature on the evidence and not on the prior, so
    that a patient with no modality still gets softmax(bias). `shift`, zero-sum over classes, is
    what calibration adds to modality i's evidence wherever it is present; none is 0. Records are
    taken some at a time, so that the memory beyond the draws does not grow with their number.
    """
    return _by_chunk(_predictive, theta_draws, bias, features, presence, scale, shift)


def mean_log_prob(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: float | Float[Array, "draw batch"] = 1.0,
    shift: Float[Array, "draw modality class"] | None = None,
) -> Float[Array, "batch class"]:
    """The log of `predictive(...).prob` and nothing else, exact however small it is."""
    return _by_chunk(_mean_log_prob, theta_draws, bias, features, presence, scale, shift)


@jax.jit
def _predictive(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: Float[Array, "draw batch"],
    shift: Float[Array, "draw modality class"],
) -> Predictive:
    """`predictive` of one chunk, with every draw at once."""
    drawn = jax.vmap(evidence, in_axes=(0, None, None))(theta_draws, features, presence)
    moved = jnp.where(presence[None, :, :, None], shift[:, None, :, :], 0)
    drawn = scale[:, :, None, None] * drawn + moved
    prob_drawn = jax.nn.softmax(bias[None, None, :] + jnp.sum(drawn, axis=2), axis=2)
    prob = jnp.mean(prob_drawn, axis=0)
    total = jnp.sum(entr(prob), axis=1)
    aleatoric = jnp.mean(jnp.sum(entr(prob_drawn), axis=2), axis=0)
    top, runner_up = jax.lax.top_k(prob, 2)[1].T
    contrast_drawn = jax.vmap(contrast, in_axes=(0, None, None))(drawn, top, runner_up)
    evidence_mean = jnp.mean(drawn, axis=0)
    evidence_low, evidence_high = _interval(drawn)
    contrast_low, contrast_high = _interval(contrast_drawn)
    return Predictive(
        prob=prob,
        total=total,
        aleatoric=aleatoric,
        epistemic=jnp.maximum(total - aleatoric, 0),
        evidence_mean=evidence_mean,
        evidence_low=evidence_low,
        evidence_high=evidence_high,
        contrast_mean=contrast(evidence_mean, top, runner_up),
        contrast_low=contrast_low,
        contrast_high=contrast_high,
        top=top,
        runner_up=runner_up,
    )


@jax.jit
def _mean_log_prob(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: Float[Array, "draw batch"],
    shift: Float[Array, "draw modality class"],
) -> Float[Array, "batch class"]:
    """`mean_log_prob` of one chunk, with every draw at once."""
    nothing = jnp.zeros_like(bias)
    drawn = jax.vmap(energy, in_axes=(0, None, None, None))(
        theta_draws, nothing, features, presence
    )
    moved = jnp.einsum("nm,dmk->dnk", presence.astype(shift.dtype), shift, precision="highest")
    score = bias[None, None, :] + scale[:, :, None] * drawn + moved
    return jax.nn.logsumexp(jax.nn.log_softmax(score, axis=2), axis=0) - jnp.log(len(drawn))


def _interval(
    drawn: Float[Array, "draw *shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Central 95 % interval over the draws, interpolated as `numpy.quantile` does.

    Only the tails are ordered, which on a CPU takes a tenth of the time of a sort; the barrier
    keeps XLA from taking two elements of the tail to be two elements of a sort.
    """
    draws = len(drawn)
    position = _TAIL * (draws - 1)
    outer = int(position)
    inner = min(outer + 1, draws - 1)

    def end(sign: float) -> Float[Array, "*shape"]:
        largest = jax.lax.top_k(sign * jnp.moveaxis(drawn, 0, -1), inner + 1)[0]
        tail = sign * jax.lax.optimization_barrier(largest)
        return tail[..., outer] + (position - outer) * (tail[..., inner] - tail[..., outer])

    return end(-1.0), end(1.0)


def _by_chunk(
    predict: Callable[..., Any],
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: float | Float[Array, "draw batch"],
    shift: Float[Array, "draw modality class"] | None,
) -> Any:
    """`predict` over chunks of records, the last one padded: one shape, so one compilation."""
    records, modalities = presence.shape
    draws = len(theta_draws[0])
    chunk = max(1, min(records, _CHUNK_NUMBERS // (draws * modalities * len(bias))))
    shift = jnp.zeros((draws, modalities, len(bias)), bias.dtype) if shift is None else shift
    scales = jnp.broadcast_to(jnp.asarray(scale, bias.dtype), (draws, records)).T
    parts = [
        predict(
            theta_draws,
            bias,
            tuple(_rows(feature, start, chunk) for feature in features),
            _rows(presence, start, chunk),
            _rows(scales, start, chunk).T,
            shift,
        )
        for start in range(0, max(records, 1), chunk)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:records], *parts)


def _rows(values: Array, start: int, chunk: int) -> Array:
    """`chunk` rows from `start`, zero-padded at the end."""
    rows = values[start : start + chunk]
    return jnp.pad(rows, ((0, chunk - len(rows)), (0, 0)))
