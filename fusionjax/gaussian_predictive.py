"""Prediction from the Gaussian of a patient's K energies, without draws of θ.

Energies are linear in θ. Where θ is Gaussian so are they, K numbers a patient however many weights
there are, and the softmax of a Gaussian is what is left to average:

| function | is | error |
|---|---|---|
| `probit` | a closed form from pairs of classes | some hundredths where the variance is large |
| `bridge` | the Dirichlet whose softmax basis is nearest | about as much; gives entropies too |
| `drawn`  | draws of the energies | that of `draws` draws |

`accumulated` takes draws of θ from any engine, one at a time. In none does memory grow with the
draws, beyond that of the draws of θ that `accumulated` is given.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import digamma, entr
from jaxtyping import Bool, Float

from fusionjax.log_linear import log_prob
from fusionjax.posterior.moments import Moments
from fusionjax.posterior.newton import zero_sum_basis
from fusionjax.presence import blank
from fusionjax.types import Key

LEAST_VARIANCE = 1e-8
LEAST_PROB = 1e-6


class Energies(NamedTuple):
    """The Gaussian of b_y + scale Σ_i evidence_{i,y}, in nats; rows of `covariance` sum to 0."""

    mean: Float[Array, "batch class"]
    covariance: Float[Array, "batch class class"]


class Outlook(NamedTuple):
    """P(y | X), and its uncertainty in nats: `total` = `aleatoric` + `epistemic`.

    As in `predict.Predictive`: the entropy of the mean, the mean entropy, and what is between.
    """

    prob: Float[Array, "batch class"]
    total: Float[Array, " batch"]
    aleatoric: Float[Array, " batch"]
    epistemic: Float[Array, " batch"]


@jax.jit
def energies(
    moments: Moments,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: float | Float[Array, ""] = 1.0,
) -> Energies:
    """The K-dimensional Gaussian of each patient, from θ's mean and covariance.

    `scale` is 1/T, as in `predict.predictive`. A patient with no modality has no variance.
    """
    design = jnp.concatenate(blank(features, presence), axis=1) * scale
    basis = jnp.asarray(zero_sum_basis(len(bias)), design.dtype)
    free = basis.shape[1]
    blocks = moments.covariance.reshape(*moments.mean.shape, *moments.mean.shape)
    first, second = np.triu_indices(free)
    place = np.zeros((free, free), int)
    place[first, second] = place[second, first] = np.arange(len(first))

    def pair(ab):
        product = jnp.matmul(design, blocks[:, ab[0], :, ab[1]], precision="highest")
        return jnp.sum(product * design, axis=1)

    pairs = lax.map(pair, (jnp.asarray(first), jnp.asarray(second)))
    covariance = jnp.einsum(
        "ka,abn,lb->nkl", basis, pairs[place.ravel()].reshape(free, free, -1), basis,
        precision="highest",
    )  # fmt: skip
    shift = jnp.matmul(design, moments.mean @ basis.T, precision="highest")
    return Energies(bias[None, :] + shift, covariance)


@jax.jit
def probit(at: Energies) -> Float[Array, "batch class"]:
    """P(y | X) ≈ 1/Σ_j exp(−(μ_y − μ_j)/√(1 + π s²_yj/8)) with s² the variance of E_y − E_j.

    Normalised. For two classes it is MacKay's (1992, "The evidence framework applied to
    classification networks"); for more, the pairwise form of Lu, Ie and Sha (2020, "Mean-field
    approximation to Gaussian-softmax integral"), which needs no gauge.
    """
    spread = jnp.diagonal(at.covariance, axis1=1, axis2=2)
    between = spread[:, :, None] + spread[:, None, :] - 2 * at.covariance
    shrink = jnp.sqrt(1 + np.pi / 8 * jnp.maximum(between, 0))
    log_odds = (at.mean[:, :, None] - at.mean[:, None, :]) / shrink
    return jax.nn.softmax(-jax.nn.logsumexp(-log_odds, axis=2), axis=1)


@jax.jit
def bridge(at: Energies) -> Float[Array, "batch class"]:
    """The Dirichlet's concentrations α by the Laplace bridge, from the diagonal of the covariance.

    α_y = (1 − 2/K + e^{μ_y} Σ_j e^{−μ_j}/K²)/Σ_yy (MacKay 1998, "Choice of basis for Laplace
    approximation"; Hobbhahn et al. 2022, eq. 9). It inverts the moments that a Dirichlet has in the
    softmax basis, so of a covariance that no Dirichlet has even its mean is off: see `matched`.
    """
    classes = at.mean.shape[1]
    odds = jnp.exp(at.mean + jax.nn.logsumexp(-at.mean, axis=1, keepdims=True))
    variance = jnp.maximum(jnp.diagonal(at.covariance, axis1=1, axis2=2), LEAST_VARIANCE)
    return (1 - 2 / classes + odds / classes**2) / variance


@jax.jit
def matched(at: Energies) -> Float[Array, "batch class"]:
    """The bridge by the trace alone: concentrations whose mean is `probit`'s.

    A Dirichlet's covariance in the softmax basis has the trace (1 − 1/K) Σ_y 1/α_y, which sets
    Σ_y α_y. With two classes that is `bridge`, but for the mean.
    """
    prob = probit(at)
    trace = jnp.maximum(jnp.trace(at.covariance, axis1=1, axis2=2), LEAST_VARIANCE)
    total = (1 - 1 / prob.shape[1]) * jnp.sum(1 / jnp.maximum(prob, LEAST_PROB), axis=1) / trace
    return prob * total[:, None]


@jax.jit
def of_dirichlet(alpha: Float[Array, "batch class"]) -> Outlook:
    """Mean and entropies in closed form, of `bridge` or `matched`."""
    total = jnp.sum(alpha, axis=1, keepdims=True)
    prob = alpha / total
    aleatoric = jnp.sum(prob * (digamma(total + 1) - digamma(alpha + 1)), axis=1)
    return _outlook(prob, aleatoric)


@partial(jax.jit, static_argnames="draws")
def drawn(key: Key, at: Energies, draws: int = 1000) -> Outlook:
    """`draws` pairs of antithetic draws of the energies of each patient, one pair after another."""
    basis = jnp.asarray(zero_sum_basis(at.mean.shape[1]), at.mean.dtype)
    within = jnp.einsum("ka,nkl,lb->nab", basis, at.covariance, basis, precision="highest")
    values, vectors = jnp.linalg.eigh(within)
    root = basis @ (vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None, :])

    def add(draw, total):
        noise = jax.random.normal(jax.random.fold_in(key, draw), values.shape)
        shift = jnp.einsum("nka,na->nk", root, noise, precision="highest")
        both = [_prob_and_entropy(at.mean + sign * shift) for sign in (1, -1)]
        return jax.tree.map(lambda t, a, b: t + (a + b) / 2, total, *both)

    zero = jnp.zeros_like(at.mean), jnp.zeros(len(at.mean))
    prob, entropy = lax.fori_loop(0, draws, add, zero)
    return _outlook(prob / draws, entropy / draws)


@jax.jit
def accumulated(
    theta_draws: tuple[Float[Array, "draw class _"], ...],
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    scale: float | Float[Array, ""] = 1.0,
) -> Outlook:
    """The average over equally weighted draws of θ: `predict.predictive` without its intervals."""

    def add(total, theta):
        scaled = jax.tree.map(lambda t: scale * t, theta)
        found = log_prob(scaled, bias, features, presence)
        return jax.tree.map(jnp.add, total, _prob_and_entropy(found)), None

    batch, draws = len(presence), len(theta_draws[0])
    zero = jnp.zeros((batch, len(bias))), jnp.zeros(batch)
    prob, entropy = lax.scan(add, zero, theta_draws)[0]
    return _outlook(prob / draws, entropy / draws)


def _prob_and_entropy(energy):
    prob = jax.nn.softmax(energy, axis=1)
    return prob, jnp.sum(entr(prob), axis=1)


def _outlook(prob, aleatoric) -> Outlook:
    total = jnp.sum(entr(prob), axis=1)
    return Outlook(prob, total, aleatoric, jnp.maximum(total - aleatoric, 0))
