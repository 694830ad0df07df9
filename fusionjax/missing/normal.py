"""Gaussian features with blocks missing: moments by EM, and what a subset says of the rest.

F is the concatenation of the modalities' features without their constants; F given y is
N(μ_y, Σ) with one Σ for all classes. With one class it is the plain N(μ, Σ).

Everything about a pattern S of present modalities is computed at once for all 2^M of them, in the
order of the binary numbers Σ_i o_i 2^i: a mask and not a branch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax.posterior.types import Observations
from fusionjax.presence import blank

MOST_MODALITIES = 8
STEPS = 30


class Moments(NamedTuple):
    """μ_y and Σ, in float64 while they are fitted."""

    mean: Float[Array, "class p"]
    covariance: Float[Array, "p p"]


class Rest(NamedTuple):
    """F_missing given F_observed for each pattern: regression on what is there, and the spread.

    E[F | F_S] = μ + gain (F_S − μ_S), and `covariance` is that of F given F_S; both are the
    identity's and 0 on what is observed.
    """

    gain: Float[Array, "pattern p p"]
    covariance: Float[Array, "pattern p p"]


def joined(
    features: tuple[Float[Array, "row _"], ...], presence: Bool[Array, "row modality"]
) -> Float[Array, "row p"]:
    """The features side by side without their constants, 0 where missing."""
    return jnp.concatenate([f[:, 1:] for f in blank(features, presence)], axis=1)


def number(presence: Bool[Array, "row modality"]) -> Int[Array, " row"]:
    """Which of the 2^M patterns each row has."""
    return presence @ (2 ** jnp.arange(presence.shape[1]))


def masks(features: tuple[Float[Array, "row _"], ...]) -> Bool[np.ndarray, "pattern p"]:
    """The columns that each pattern observes. Raises ValueError for more than 8 modalities."""
    modalities = len(features)
    if modalities > MOST_MODALITIES:
        raise ValueError(f"a Gaussian of every pattern wants at most {MOST_MODALITIES} modalities")
    shown = (np.arange(2**modalities)[:, None] >> np.arange(modalities)) & 1
    widths = [f.shape[1] - 1 for f in features]
    return np.repeat(shown.astype(bool), widths, axis=1)


def fit(observations: Observations, onehot: Float[Array, "row class"]) -> Moments:
    """Maximum a posteriori by EM over the missing blocks (Little and Rubin 2002, section 11.2).

    The prior is worth p + 2 records of uncorrelated features, for Σ, and one of the overall mean,
    for each μ_y. Without gaps the first step is exact.
    """
    masked = masks(observations.features)
    with jax.enable_x64(True):
        x = jnp.asarray(joined(observations.features, observations.presence), jnp.float64)
        y, weight = (jnp.asarray(a, jnp.float64) for a in (onehot, observations.weight))
        which = number(observations.presence)
        seen = jnp.asarray(masked)[which]
        moments = _start(x, y, weight, seen)
        scale = jnp.diagonal(moments.covariance)
        complete = bool(np.asarray(observations.presence).all())
        for _ in range(1 if complete else STEPS):
            moments = _step(moments, x, y, weight, which, jnp.asarray(masked), scale)
    return Moments(*(jnp.asarray(np.asarray(a, np.float32)) for a in moments))


@jax.jit
def rest(covariance: Float[Array, "p p"], masked: Bool[Array, "pattern p"]) -> Rest:
    """What each pattern says of the columns that it lacks."""

    def one(mask: Bool[Array, " p"]) -> Rest:
        regression = jnp.where(mask[None, :], covariance, 0) @ _inverse(covariance, mask)
        gain = jnp.where(mask[:, None], jnp.diag(mask.astype(covariance.dtype)), regression)
        left = covariance - gain @ jnp.where(mask[:, None], covariance, 0)
        unseen = ~mask[:, None] & ~mask[None, :]
        return Rest(gain, jnp.where(unseen, (left + left.T) / 2, 0))

    return jax.lax.map(one, masked)


@jax.jit
def weights(
    moments: Moments, masked: Bool[Array, "pattern p"]
) -> tuple[Float[Array, "pattern class p"], Float[Array, "pattern class"]]:
    """θ^S and its intercepts: log N(F_S; μ_y, Σ_SS) up to what does not depend on y.

    θ^S_y = Σ_SS⁻¹ μ_{y,S}, which is no sub-block of the θ of all columns; 0 outside S.
    """

    def one(mask: Bool[Array, " p"]) -> tuple[Array, Array]:
        mean = jnp.where(mask[None, :], moments.mean, 0)
        theta = mean @ _inverse(moments.covariance, mask)
        return theta, -jnp.sum(theta * mean, axis=1) / 2

    return jax.lax.map(one, masked)


def _inverse(covariance: Float[Array, "p p"], mask: Bool[Array, " p"]) -> Float[Array, "p p"]:
    """Σ_SS⁻¹ in its place, 0 elsewhere."""
    inside = mask[:, None] & mask[None, :]
    padded = jnp.where(inside, covariance, jnp.eye(len(mask), dtype=covariance.dtype))
    return jnp.where(inside, jnp.linalg.inv(padded), 0)


def _start(x: Array, y: Array, weight: Array, seen: Array) -> Moments:
    """Means and variances of what is observed."""
    rows = weight[:, None] * seen
    overall = jnp.sum(rows * x, axis=0) / jnp.maximum(jnp.sum(rows, axis=0), 1e-9)
    counts = y.T @ rows
    mean = (y.T @ (rows * x) + overall[None, :]) / (counts + 1)
    left = jnp.where(seen, x - y @ mean, 0)
    variance = jnp.sum(rows * left**2, axis=0) / jnp.maximum(jnp.sum(rows, axis=0), 1e-9)
    return Moments(mean, jnp.diag(jnp.maximum(variance, 1e-6)))


@jax.jit
def _step(
    moments: Moments, x: Array, y: Array, weight: Array, which: Array, masked: Array, scale: Array
) -> Moments:
    """One step of EM: fill in what is expected, then take moments with what is uncertain."""
    expected = y @ moments.mean
    patterns = rest(moments.covariance, masked)

    def fill(filled: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        pattern, gain = at
        guess = expected + jnp.where(masked[pattern][None, :], x - expected, 0) @ gain.T
        return jnp.where((which == pattern)[:, None], guess, filled), None

    numbers = jnp.arange(len(masked))
    full, _ = jax.lax.scan(fill, x, (numbers, patterns.gain))
    overall = weight @ full / jnp.sum(weight)
    counts = y.T @ weight
    mean = (y.T @ (weight[:, None] * full) + overall[None, :]) / (counts[:, None] + 1)
    left = full - y @ mean
    share = jnp.sum(weight[:, None] * (which[:, None] == numbers[None, :]), axis=0)
    unsure = jnp.einsum("s,spq->pq", share, patterns.covariance)
    prior = len(scale) + 2.0
    scatter = left.T @ (weight[:, None] * left) + unsure + prior * jnp.diag(scale)
    return Moments(mean, scatter / (jnp.sum(weight) + prior))
