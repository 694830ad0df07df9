"""θ's posterior from sums over sites: the same Newton steps, scales, draws and weights as pooled.

The engines of `fusionjax.posterior` read the records in three sums alone: the expansion of the
log-likelihood, the slope of the skewness correction, and what draws gain over the centre. Here
these come from a federation, and all else is their own code, so that for the same key the draws are
those of the pooled rows but for rounding. NUTS would need a sum for every gradient, and is not
offered.
"""

import time
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fusionjax.federated.coordinator import Federation
from fusionjax.federated.messages import Request
from fusionjax.posterior import Observations, Posterior, importance, independence, laplace, newton
from fusionjax.posterior import scales as scale
from fusionjax.posterior import surrogate as gaussian
from fusionjax.posterior.proposals import Groundwork
from fusionjax.types import Key

Engine = Literal["laplace", "importance", "independence"]
PROPOSED = {"importance": 2048, "independence": 8192}


class Shape(NamedTuple):
    """What is public about θ: log class frequencies, features of each modality, and φ and ψ."""

    bias: Float[np.ndarray, " class"]
    sizes: tuple[int, ...]
    setup: str = ""

    @property
    def weights(self) -> tuple[int, int]:
        """The shape of u: columns of all modalities, and class − 1."""
        return sum(self.sizes), len(self.bias) - 1


def fit(
    key: Key, federation: Federation, shape: Shape, *, engine: Engine = "laplace", draws: int = 400
) -> Posterior:
    """`draws` draws of θ and τ, as the engine of that name makes of the pooled rows."""
    scale_key, draw_key = jax.random.split(key)
    ground = groundwork(scale_key, federation, shape)
    if engine == "laplace":
        return laplace.sample(draw_key, ground, draws=draws)
    sample = importance.sample if engine == "importance" else independence.sample
    return sample(draw_key, ground, draws=draws, proposed=PROPOSED[engine])


def groundwork(key: Key, federation: Federation, shape: Shape) -> Groundwork:
    """`proposals.groundwork` from sums."""
    started, weight = time.perf_counter(), 0.0

    def around(tau: np.ndarray, start: np.ndarray | None) -> tuple[gaussian.Surrogate, int]:
        nonlocal weight
        mode, weight = solve(federation, shape, tau, start, tolerance=scale.TOLERANCE)
        return _around(federation, shape, mode, tau), mode.steps + 1

    def gains(u: Array, centre: Array) -> Array:
        arrays = {"u": np.asarray(u), "centre": np.asarray(centre)}
        request = Request("gains", arrays, {"gains": (len(u),)}, setup=shape.setup)
        return jnp.asarray(federation.total(request)["gains"])

    with jax.enable_x64(True):
        scales = scale.integrate_around(key, scale.anchor_by(around, shape.sizes), shape.sizes)
    outline, bias = _outline(shape, weight), jnp.asarray(shape.bias)
    return Groundwork(outline, bias, outline, bias, scales, started, gains)


def solve(
    federation: Federation,
    shape: Shape,
    tau: Float[np.ndarray, " modality"],
    start: Float[np.ndarray, "p free"] | None = None,
    tolerance: float = 1e-8,
) -> tuple[newton.Mode, float]:
    """`newton.solve` from sums, step for step, and the total weight of the rows.

    Raises FloatingPointError if the mode is not reached.
    """
    with jax.enable_x64(True):
        deviation = newton.columns(jnp.asarray(tau, jnp.float64), shape.sizes)[:, None]
        z = jnp.zeros(shape.weights) if start is None else jnp.asarray(start, jnp.float64)
        at, weight = expand(federation, shape, deviation * z)
        cholesky, direction, decrement = _direction(z, deviation, at)
        steps = 1
        while decrement > tolerance and steps < newton.MOST_STEPS:
            z, at, tried = _rise(federation, shape, deviation, z, at, direction, decrement)
            cholesky, direction, decrement = _direction(z, deviation, at)
            steps += tried
        if not decrement <= tolerance:
            raise FloatingPointError(f"no mode of θ after {steps} Newton steps at τ = {tau}")
        joint = float(at.value - jnp.sum(z**2) / 2)
        half_log_det = float(jnp.sum(jnp.log(jnp.diagonal(cholesky))))
        return newton.Mode(z, at, cholesky, joint - half_log_det, joint, steps), weight


def expand(
    federation: Federation, shape: Shape, u: Float[Array, "p free"]
) -> tuple[newton.Expansion, float]:
    """`newton.expand` over all sites, and the weight of their rows; call it in float64."""
    (p, free), d = shape.weights, u.size
    expected = {"value": (), "slope": (p, free), "curvature": (d, d), "weight": ()}
    arrays = {"u": np.asarray(u), "constants": np.cumsum([0, *shape.sizes[:-1]])}
    found = federation.total(Request("expand", arrays, expected, setup=shape.setup))
    parts = (jnp.asarray(found[name]) for name in ("value", "slope", "curvature"))
    return newton.Expansion(*parts), float(found["weight"])


def _rise(federation, shape, deviation, z, at, direction, decrement):
    """Backtrack until the objective rises enough (Armijo); each trial asks for all of an expansion.

    The first trial is nearly always the last, and asking again is dearer than a longer answer.
    """
    value, length, tried = at.value - jnp.sum(z**2) / 2, 1.0, 1
    while True:
        ahead = z + length * direction
        found, _ = expand(federation, shape, deviation * ahead)
        there = found.value - jnp.sum(ahead**2) / 2
        if newton.long_enough(length, there, value, decrement):
            return ahead, found, tried
        length, tried = length / 2, tried + 1


_direction = jax.jit(newton.direction)


def _around(federation: Federation, shape: Shape, mode: newton.Mode, tau: np.ndarray):
    deviation = newton.columns(jnp.asarray(tau), shape.sizes)[:, None]
    arrays = {
        "u": np.asarray(deviation * mode.z),
        "covariance": np.asarray(newton.covariance(mode, deviation)),
    }
    request = Request("slope", arrays, {"slope": shape.weights}, setup=shape.setup)
    slope = jnp.asarray(federation.total(request)["slope"])
    return gaussian.about(mode, deviation, newton.moved(mode, deviation, slope))


def _outline(shape: Shape, weight: float) -> Observations:
    """One row that says nothing, of the shapes and the weight of all rows."""
    features = tuple(jnp.zeros((1, p)) for p in shape.sizes)
    presence = jnp.zeros((1, len(shape.sizes)), bool)
    return Observations(features, presence, jnp.zeros((1, len(shape.bias))), jnp.full(1, weight))
