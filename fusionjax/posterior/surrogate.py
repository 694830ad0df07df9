"""A Gaussian in the likelihood's place, under which θ given the scales is exactly Gaussian.

The likelihood is expanded once, to second order in the weights u = τz, and serves for every τ: what
depends on the records is one slope and one curvature. The prior is kept as it is. So the posterior
under the surrogate differs from the true one by the factor

    P(y | u) / surrogate(u)

and by nothing else, which is what the importance weights of every engine are.
"""

from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.linalg import cho_solve, cholesky, solve_triangular

from fusionjax.posterior import newton
from fusionjax.posterior.types import Observations

ROOM = 50_000
"""Numbers in all the precisions that are factored at a time: they stay in the cache."""


class Surrogate(NamedTuple):
    """value + slope·(u − centre) − (u − centre)ᵀ curvature (u − centre)/2, in nats.

    `offset` is the true log-likelihood at the centre less `value`.
    """

    centre: Float[np.ndarray, "p free"]
    value: float
    slope: Float[np.ndarray, "p free"]
    curvature: Float[np.ndarray, "d d"]
    offset: float


class Given(NamedTuple):
    """z given τ under the surrogate: its mean, and the lower factor of its precision."""

    mean: Float[np.ndarray, "p free"]
    cholesky: Float[np.ndarray, "d d"]


def around(
    mode: newton.Mode,
    tau: Float[np.ndarray, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Surrogate:
    """The surrogate whose z given τ has the mean, the precision and the evidence of Laplace's.

    Its slope is set so that the mean, and not the mode, is right to first order (`newton.mean`):
    then so is the slope of its evidence in τ.
    """
    scale = newton.columns(tau, newton.sizes(observations))[:, None]
    return about(mode, scale, newton.mean(mode, tau, observations, bias))


def about(
    mode: newton.Mode, scale: Float[np.ndarray, "p 1"], z: Float[np.ndarray, "p free"]
) -> Surrogate:
    """`around`, from the deviations `scale` of the columns and the mean `z` of `newton.mean`."""
    centre, mean = scale * mode.z, scale * z
    curvature = mode.likelihood.curvature
    bent = (curvature @ (mean - centre).ravel()).reshape(z.shape)
    slope = bent + z / scale
    rise = np.sum(slope * (mean - centre)) - np.sum(bent * (mean - centre)) / 2
    value = mode.log_joint - float(rise - np.sum(z**2) / 2)
    return Surrogate(centre, value, slope, curvature, float(mode.likelihood.value) - value)


def given(
    tau: Float[np.ndarray, " modality"], surrogate: Surrogate, sizes: tuple[int, ...]
) -> Given:
    """The Gaussian of z given τ, in closed form, without the records."""
    precision, linear = _natural(tau[None], surrogate, sizes)
    # Its transpose is the same and in LAPACK's order: nothing is copied.
    factor = cholesky(precision[0].T, lower=True, overwrite_a=True, check_finite=False)
    mean = cho_solve((factor, True), linear[0], check_finite=False)
    return Given(mean.reshape(surrogate.centre.shape), factor)


def log_evidence(
    tau: Float[np.ndarray, "point modality"], surrogate: Surrogate, sizes: tuple[int, ...]
) -> Float[np.ndarray, " point"]:
    """log P(y | τ) under the surrogate of every τ, in closed form, without the records."""
    each = max(1, ROOM // surrogate.centre.size**2)
    parts = [tau[start : start + each] for start in range(0, len(tau), each)]
    found = np.concatenate([_log_evidence(part, surrogate, sizes) for part in parts])
    return found + log_density(np.zeros((1, *surrogate.centre.shape)), surrogate)


def log_density(
    u: Float[np.ndarray, "draw p free"], surrogate: Surrogate
) -> Float[np.ndarray, " draw"]:
    """The surrogate's log-likelihood of every draw."""
    apart = (u - surrogate.centre).reshape(len(u), -1)
    bent = apart @ surrogate.curvature / 2
    return surrogate.value + np.sum(apart * (surrogate.slope.ravel() - bent), axis=1)


def place(
    noise: Float[np.ndarray, "draw d"],
    tau: Float[np.ndarray, " modality"],
    at: Given,
    sizes: tuple[int, ...],
) -> Float[np.ndarray, "draw p free"]:
    """Weights u = τ(mean + L⁻ᵀ noise): draws of u given τ where the noise is standard normal."""
    step = solve_triangular(at.cholesky, noise.T, lower=True, trans=1, check_finite=False).T
    return newton.columns(tau, sizes)[:, None] * (at.mean + step.reshape(-1, *at.mean.shape))


def _natural(tau, surrogate, sizes):
    """Of z given every τ: the precision [point, d, d], and the precision times the mean."""
    scale = np.stack([newton.columns(one, sizes) for one in tau])
    scale = np.repeat(scale, surrogate.centre.shape[1], axis=1)
    precision = scale[:, :, None] * surrogate.curvature * scale[:, None, :]
    index = np.arange(scale.shape[1])
    precision[:, index, index] += 1.0
    linear = surrogate.slope.ravel() + surrogate.curvature @ surrogate.centre.ravel()
    return precision, scale * linear


def _log_evidence(tau, surrogate, sizes):
    """bᵀA⁻¹b/2 − log|A|/2: b as one row more of A makes one row more of its factor L, (L⁻¹b)ᵀ."""
    precision, linear = _natural(tau, surrogate, sizes)
    corner = 1 + 2 * np.sum(linear**2, axis=1)
    below = np.concatenate([linear, corner[:, None]], axis=1)
    bordered = np.concatenate([precision, linear[:, None, :]], axis=1)
    factor = np.linalg.cholesky(np.concatenate([bordered, below[:, :, None]], axis=2))
    log_det = np.sum(np.log(np.diagonal(factor, axis1=1, axis2=2)[:, :-1]), axis=1)
    return np.sum(factor[:, -1, :-1] ** 2, axis=1) / 2 - log_det
