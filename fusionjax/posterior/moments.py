"""θ's posterior as one Gaussian: its mean and covariance, the scales τ integrated.

Enough where only linear functions of θ are asked for, such as a patient's energies: of those the
first two moments are then exact under the posterior that the moments are of.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.linalg import solve_triangular

from fusionjax.posterior import newton, psis
from fusionjax.posterior import surrogate as gaussian
from fusionjax.posterior.proposals import Groundwork
from fusionjax.types import Key

OPERATIONS = 2e11
LEAST_POINTS, MOST_POINTS = 16, 256


class Moments(NamedTuple):
    """Of the weights u, θᵀ = u Bᵀ for the basis B of `newton.zero_sum_basis`, in float32.

    Rows and columns of `covariance` are in the order of `mean.ravel()`.
    """

    mean: Float[Array, "p free"]
    covariance: Float[Array, "d d"]


def of_surrogate(key: Key, ground: Groundwork, points: int | None = None) -> Moments:
    """Of Laplace's posterior: a Gaussian for each of `points` values of τ, and the spread of means.

    Without `points`, as many as there is time for: each costs a Cholesky factor and its inverse.
    """
    size = ground.scales.surrogate.centre.size
    if points is None:
        points = int(np.clip(OPERATIONS / size**3, LEAST_POINTS, MOST_POINTS))
    chosen = psis.resample(key, ground.scales.log_weight, points)
    tau, sizes = ground.scales.tau[chosen], newton.sizes(ground.observations)
    return _mixture(tau, ground.scales.surrogate, sizes)


def of_draws(theta: tuple[Float[Array, "draw class _"], ...]) -> Moments:
    """Of any engine's draws; raises ValueError for fewer than two."""
    if len(theta[0]) < 2:
        raise ValueError("a covariance takes two draws of θ or more")
    whole = jnp.concatenate(theta, axis=2)
    basis = jnp.asarray(newton.zero_sum_basis(whole.shape[1]), whole.dtype)
    u = jnp.einsum("nkp,kf->npf", whole, basis, precision="highest")
    mean = jnp.mean(u, axis=0)
    apart = (u - mean[None]).reshape(len(u), -1)
    covariance = jnp.matmul(apart.T, apart, precision="highest") / (len(u) - 1)
    return Moments(mean, covariance)


def _mixture(tau, surrogate, sizes) -> Moments:
    size, shape = surrogate.centre.size, surrogate.centre.shape
    # About the centre, so that what is squared is small.
    apart, square = np.zeros(size), np.zeros((size, size))
    for one in tau:
        at = gaussian.given(one, surrogate, sizes)
        scale = newton.columns(one, sizes)[:, None]
        root = solve_triangular(at.cholesky, np.eye(size), lower=True, check_finite=False)
        root *= np.repeat(scale, shape[1])
        off = (scale * at.mean - surrogate.centre).ravel()
        apart += off / len(tau)
        square += (root.T @ root + np.outer(off, off)) / len(tau)
    mean, covariance = surrogate.centre + apart.reshape(shape), square - np.outer(apart, apart)
    return Moments(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))
