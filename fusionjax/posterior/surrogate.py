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
from scipy.linalg import cholesky, solve_triangular

from fusionjax.posterior import newton
from fusionjax.posterior.types import Observations


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
    """z given τ under the surrogate: its mean, the lower factor of its precision; log P(y | τ)."""

    mean: Float[np.ndarray, "p free"]
    cholesky: Float[np.ndarray, "d d"]
    log_evidence: float


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
    centre, curvature = surrogate.centre, surrogate.curvature
    scale = np.repeat(newton.columns(tau, sizes), centre.shape[1])
    bent = curvature @ centre.ravel()
    linear = scale * (surrogate.slope.ravel() + bent)
    precision = scale[:, None] * curvature * scale
    np.fill_diagonal(precision, 1 + np.diagonal(precision))
    # Its transpose is the same and in LAPACK's order: nothing is copied.
    factor = cholesky(precision.T, lower=True, overwrite_a=True, check_finite=False)
    half = solve_triangular(factor, linear, lower=True, check_finite=False)
    mean = solve_triangular(factor, half, lower=True, trans=1, check_finite=False)
    at_zero = surrogate.value - np.sum(centre.ravel() * (surrogate.slope.ravel() + bent / 2))
    log_evidence = at_zero + half @ half / 2 - np.sum(np.log(np.diagonal(factor)))
    return Given(mean.reshape(centre.shape), factor, float(log_evidence))


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
