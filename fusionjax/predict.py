"""Posterior predictive: probabilities, their uncertainty in two parts, and the evidence ledger."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import entr
from jaxtyping import Bool, Float, Int

from fusionjax.log_linear import contrast, evidence, scores

Draw = tuple[tuple[Array, ...], Array, Array]  # θ, the scale of each record, the shift

_TAIL = 0.025
_DRAWS = 32
_NUMBERS = 1 << 22


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
    what calibration adds to modality i's evidence wherever it is present; none is 0.

    Averages are accumulated over draws. Intervals need every draw of the evidence, so these are
    taken for as few records at a time as memory asks: beyond the draws of θ, scale and shift it
    grows neither with records nor with draws, unless one record's draws are over `_NUMBERS`.
    """
    draws, scales, moves = _filled(theta_draws, bias, presence, scale, shift)
    own = (features, presence, scales)
    mean = _by_chunk(_averaged, min(_DRAWS, draws), theta_draws, bias, moves, *own)
    prob, aleatoric, evidence_mean = mean
    order = lax.top_k(prob, 2)[1]
    top, runner_up = order.T
    ends = _by_chunk(_ends, draws, theta_draws, bias, moves, *own, order)
    total = jnp.sum(entr(prob), axis=1)
    return Predictive(
        prob=prob,
        total=total,
        aleatoric=aleatoric,
        epistemic=jnp.maximum(total - aleatoric, 0),
        evidence_mean=evidence_mean,
        evidence_low=ends[0],
        evidence_high=ends[1],
        contrast_mean=contrast(evidence_mean, top, runner_up),
        contrast_low=ends[2],
        contrast_high=ends[3],
        top=top,
        runner_up=runner_up,
    )


def mean_log_prob(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: float | Float[Array, "draw batch"] = 1.0,
    shift: Float[Array, "draw modality class"] | None = None,
) -> Float[Array, "batch class"]:
    """The log of `predictive(...).prob` and nothing else, exact however small it is."""
    draws, scales, moves = _filled(theta_draws, bias, presence, scale, shift)
    own = (features, presence, scales)
    return _by_chunk(_mean_log_prob, min(_DRAWS, draws), theta_draws, bias, moves, *own)


def _filled(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
    scale: float | Float[Array, "draw batch"],
    shift: Float[Array, "draw modality class"] | None,
) -> tuple[int, Float[Array, "batch draw"], Float[Array, "draw modality class"]]:
    """How many draws there are, and scale and shift of each, a record a row."""
    records, modalities = presence.shape
    draws = len(theta_draws[0])
    scales = jnp.broadcast_to(jnp.asarray(scale, bias.dtype), (draws, records)).T
    none = jnp.zeros((draws, modalities, len(bias)), bias.dtype)
    return draws, scales, none if shift is None else shift


@jax.jit
def _averaged(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    shift: Float[Array, "draw modality class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: Float[Array, "batch draw"],
) -> tuple[
    Float[Array, "batch class"], Float[Array, " batch"], Float[Array, "batch modality class"]
]:
    """Means over draws of the probabilities, their entropy and the evidence."""

    def one(draw: Draw) -> tuple[Array, Array, Array]:
        parts = _calibrated(evidence, draw, features, presence)
        prob = jax.nn.softmax(bias[None, :] + jnp.sum(parts, axis=1), axis=1)
        return prob, jnp.sum(entr(prob), axis=1), parts

    sums = _over_draws(one, jnp.sum, (theta_draws, scale.T, shift))
    return jax.tree.map(lambda total: total / len(shift), sums)


@jax.jit
def _mean_log_prob(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    shift: Float[Array, "draw modality class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: Float[Array, "batch draw"],
) -> Float[Array, "batch class"]:
    """`mean_log_prob` of one chunk."""

    def one(draw: Draw) -> Array:
        parts = _calibrated(scores, draw, features, presence)
        return jax.nn.log_softmax(bias[None, :] + jnp.sum(parts, axis=1), axis=1)

    summed = _over_draws(one, jax.nn.logsumexp, (theta_draws, scale.T, shift))
    return summed - jnp.log(len(shift))


@jax.jit
def _ends(
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    _: Float[Array, " class"],
    shift: Float[Array, "draw modality class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: Float[Array, "batch draw"],
    order: Int[Array, "batch 2"],
) -> tuple[
    Float[Array, "batch modality class"],
    Float[Array, "batch modality class"],
    Float[Array, "batch modality"],
    Float[Array, "batch modality"],
]:
    """Ends of the intervals of evidence and of contrasts, from every draw at once."""
    drawn = jax.vmap(partial(_calibrated, evidence), in_axes=(0, None, None))(
        (theta_draws, scale.T, shift), features, presence
    )
    between = jax.vmap(contrast, in_axes=(0, None, None))(drawn, *order.T)
    return (*_interval(drawn), *_interval(between))


def _calibrated(
    terms: Callable[..., Array],
    draw: Draw,
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch modality class"]:
    """One draw's `scores` or `evidence`, calibrated."""
    theta, scale, shift = draw
    moved = jnp.where(presence[:, :, None], shift[None, :, :], 0)
    return scale[:, None, None] * terms(theta, features, presence) + moved


def _over_draws(one: Callable[[Draw], Any], reduce: Callable[..., Array], drawn: Draw) -> Any:
    """What `reduce` makes of `one` of every draw, `_DRAWS` of them at a time, the first fewer."""
    draws = len(drawn[1])
    size = min(_DRAWS, draws)
    blocks = (draws - 1) // size
    first = draws - blocks * size

    def block(start: int | Array, size: int) -> Any:
        part = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size), drawn)
        return jax.tree.map(partial(reduce, axis=0), jax.vmap(one)(part))

    def add(k: Array, so_far: Any) -> Any:
        more = block(first + k * size, size)
        return jax.tree.map(lambda a, b: reduce(jnp.stack([a, b]), axis=0), so_far, more)

    return lax.fori_loop(0, blocks, add, block(0, first))


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
        largest = lax.top_k(sign * jnp.moveaxis(drawn, 0, -1), inner + 1)[0]
        tail = sign * lax.optimization_barrier(largest)
        return tail[..., outer] + (position - outer) * (tail[..., inner] - tail[..., outer])

    return end(-1.0), end(1.0)


def _by_chunk(
    predict: Callable[..., Any],
    draws: int,
    theta_draws: tuple[Float[Array, "draw ..."], ...],
    bias: Float[Array, " class"],
    shift: Float[Array, "draw modality class"],
    *own: Any,
) -> Any:
    """`predict` over chunks of records, the last one padded: one shape, so one compilation.

    It holds so many `draws` at once; `own` are arrays with a row for each record.
    """
    records, modalities = own[1].shape
    most = max(1, _NUMBERS // (draws * modalities * len(bias)))
    chunks = max(1, math.ceil(records / most))
    chunk = max(1, math.ceil(records / chunks))
    parts = [
        predict(
            theta_draws,
            bias,
            shift,
            *jax.tree.map(lambda values, start=start: _rows(values, start, chunk), own),
        )
        for start in range(0, max(records, 1), chunk)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:records], *parts)


def _rows(values: Array, start: int, chunk: int) -> Array:
    """`chunk` rows from `start`, zero-padded at the end."""
    rows = values[start : start + chunk]
    return jnp.pad(rows, ((0, chunk - len(rows)), (0, 0)))
