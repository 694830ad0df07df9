"""A Gaussian in the likelihood's place, under which θ given the scales is exactly Gaussian.

The likelihood is expanded once, to second order in the weights u = τz, and serves for every τ: what
depends on the records is one slope and one curvature. The prior is kept as it is. So the posterior
under the surrogate differs from the true one by the factor

    P(y | u) / surrogate(u)

and by nothing else, which is what the importance weights of every engine are.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Float

from fusionjax.posterior import newton
from fusionjax.posterior.types import Observations


class Surrogate(NamedTuple):
    """value + slope·(u − centre) − (u − centre)ᵀ curvature (u − centre)/2, in nats.

    `offset` is the true log-likelihood at the centre less `value`.
    """

    centre: Float[Array, "p free"]
    value: Float[Array, ""]
    slope: Float[Array, "p free"]
    curvature: Float[Array, "d d"]
    offset: Float[Array, ""]


class Given(NamedTuple):
    """z given τ under the surrogate: its mean, the lower factor of its precision; log P(y | τ)."""

    mean: Float[Array, "p free"]
    cholesky: Float[Array, "d d"]
    log_evidence: Float[Array, ""]


def around(
    mode: newton.Mode,
    tau: Float[Array, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Surrogate:
    """The surrogate whose z given τ has the mean, the precision and the evidence of Laplace's.

    Its slope is set so that the mean, and not the mode, is right to first order (`newton.mean`):
    then so is the slope of its evidence in τ.
    """
    scale = newton.columns(tau, newton.sizes(observations))[:, None]
    return about(mode, scale, newton.mean(mode, tau, observations, bias))


def about(mode: newton.Mode, scale: Float[Array, "p 1"], z: Float[Array, "p free"]) -> Surrogate:
    """`around`, from the deviations `scale` of the columns and the mean `z` of `newton.mean`."""
    centre, mean = scale * mode.z, scale * z
    curvature = mode.likelihood.curvature
    bent = (curvature @ (mean - centre).ravel()).reshape(z.shape)
    slope = bent + z / scale
    rise = jnp.sum(slope * (mean - centre)) - jnp.sum(bent * (mean - centre)) / 2
    value = mode.log_joint - rise + jnp.sum(z**2) / 2
    return Surrogate(centre, value, slope, curvature, mode.likelihood.value - value)


def given(tau: Float[Array, " modality"], surrogate: Surrogate, sizes: tuple[int, ...]) -> Given:
    """The Gaussian of z given τ, in closed form, without the records."""
    centre = surrogate.centre
    scale = jnp.repeat(newton.columns(tau, sizes), centre.shape[1])
    linear = surrogate.slope.ravel() + surrogate.curvature @ centre.ravel()
    precision = jnp.eye(len(scale)) + scale[:, None] * surrogate.curvature * scale[None, :]
    cholesky = jnp.linalg.cholesky(precision)
    mean = cho_solve((cholesky, True), scale * linear)
    at_zero = log_density(jnp.zeros_like(centre)[None], surrogate)[0]
    log_evidence = at_zero + jnp.sum(scale * linear * mean) / 2
    log_evidence -= jnp.sum(jnp.log(jnp.diagonal(cholesky)))
    return Given(mean.reshape(centre.shape), cholesky, log_evidence)


def log_density(u: Float[Array, "draw p free"], surrogate: Surrogate) -> Float[Array, " draw"]:
    """The surrogate's log-likelihood of every draw."""
    apart = (u - surrogate.centre[None]).reshape(len(u), -1)
    bent = apart @ surrogate.curvature / 2
    return surrogate.value + jnp.sum(apart * (surrogate.slope.ravel()[None] - bent), axis=1)


def place(
    noise: Float[Array, "draw d"], tau: Float[Array, " modality"], at: Given, sizes: tuple[int, ...]
) -> Float[Array, "draw p free"]:
    """Weights u = τ(mean + L⁻ᵀ noise): draws of u given τ where the noise is standard normal."""
    step = solve_triangular(at.cholesky, noise.T, lower=True, trans=1).T
    z = at.mean[None] + step.reshape(-1, *at.mean.shape)
    return newton.columns(tau, sizes)[None, :, None] * z
