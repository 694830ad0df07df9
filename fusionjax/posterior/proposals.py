"""Independent draws of (θ, τ) from the posterior under the surrogate likelihood, and their weights.

`laplace` takes them for the posterior's, `importance` weighs them, `independence` accepts or
rejects them.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.special import gammaln

from fusionjax.keys import generator, split
from fusionjax.posterior import newton, psis
from fusionjax.posterior import scales as scale
from fusionjax.posterior import surrogate as gaussian
from fusionjax.posterior.scales import Scales
from fusionjax.posterior.types import Observations, check
from fusionjax.types import Key

Gains = Callable[
    [Float[np.ndarray, "draw p free"], Float[np.ndarray, "p free"]], Float[np.ndarray, " draw"]
]


class Groundwork(NamedTuple):
    """What every engine starts from: the records, in float64 too, and the surrogate posterior.

    `started` is what `time.perf_counter()` was before. Where the records are elsewhere,
    `gains(u, centre)` answers for them what `newton.gains` would, and the observations have the
    shapes and the total weight alone.
    """

    observations: Observations
    bias: Float[Array, " class"]
    exact: Observations
    exact_bias: Float[Array, " class"]
    scales: Scales
    started: float
    gains: Gains | None = None


class Proposals(NamedTuple):
    """Draws of u = τz and τ; `log_ratio` is log P(y | u) less the surrogate's, in nats."""

    u: Float[np.ndarray, "draw p free"]
    tau: Float[np.ndarray, "draw modality"]
    log_ratio: Float[np.ndarray, " draw"]


def groundwork(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Groundwork:
    """Raises ValueError where `observations` cannot be followed (see `check`)."""
    started = time.perf_counter()
    check(observations)
    with jax.enable_x64(True):
        exact, exact_bias = newton.prepare(observations, bias)
        scales = scale.integrate(key, exact, exact_bias)
    return Groundwork(observations, bias, exact, exact_bias, scales, started)


def draw(key: Key, ground: Groundwork, count: int, degrees: float | None = None) -> Proposals:
    """`count` draws in no order, each at the price of one evaluation of the likelihood.

    With `degrees` of freedom they are Student's t given τ and not Gaussian: wider, for a posterior
    with heavier tails; `log_ratio` then has the ratio of the two in it.
    """
    scales, observations = ground.scales, ground.exact
    point_key, noise_key = split(key, 2)
    points = min(count, len(scales.tau))
    each = -(-count // points)
    tau = scales.tau[psis.resample(point_key, scales.log_weight, points)]
    u, lighter = _place(noise_key, tau, scales.surrogate, newton.sizes(observations), each, degrees)
    u, surrogate = u[:count], scales.surrogate
    gains = ground.gains or partial(newton.gains, observations=observations, bias=ground.exact_bias)
    with jax.enable_x64(True):
        rise = surrogate.value + surrogate.offset + gains(u, surrogate.centre)
    log_ratio = rise - gaussian.log_density(u, surrogate) + lighter[:count]
    return Proposals(u, np.tile(tau, (each, 1))[:count], log_ratio)


def theta(
    u: Float[Array | np.ndarray, "draw p free"], sizes: tuple[int, ...]
) -> tuple[Float[Array, "draw class _"], ...]:
    """θᵀ = u Bᵀ, one array a modality, in float32."""
    basis = newton.zero_sum_basis(u.shape[2] + 1)
    whole = np.einsum("kf,npf->nkp", basis, np.asarray(u), optimize=True).astype(np.float32)
    return tuple(jnp.asarray(part) for part in np.split(whole, np.cumsum(sizes)[:-1], axis=2))


def _place(key, tau, surrogate, sizes, each, degrees):
    """`each` draws of u for every τ, all τ in turn: the first draws have each another τ.

    And the log of the Gaussian's density there less that of what they were drawn from.
    """
    noise, lighter = _noise(key, each * len(tau), surrogate.centre.size, degrees)
    u = np.empty((each, len(tau), *surrogate.centre.shape))
    for i, one in enumerate(tau):
        at = gaussian.given(one, surrogate, sizes)
        u[:, i] = gaussian.place(noise[i :: len(tau)], one, at, sizes)
    return u.reshape(-1, *surrogate.centre.shape), lighter


def _noise(key, count, size, degrees):
    """Standard noise [count, size], and log N(noise) less the log of the density it is from."""
    random = generator(key)
    noise = random.standard_normal((count, size))
    if degrees is None:
        return noise, np.zeros(count)
    noise *= np.sqrt(degrees / random.chisquare(degrees, (count, 1)))
    square = np.sum(noise**2, axis=1)
    constant = gammaln((degrees + size) / 2) - gammaln(degrees / 2) - size / 2 * np.log(degrees / 2)
    student = constant - (degrees + size) / 2 * np.log1p(square / degrees)
    return noise, -square / 2 - student
