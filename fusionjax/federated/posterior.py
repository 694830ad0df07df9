"""θ's posterior from sums over sites: the same Newton steps, scales, draws and weights as pooled.

The engines of `fusionjax.posterior` read the records in three sums alone: the expansion of the
log-likelihood, the slope of the skewness correction, and what draws gain over the centre. Here
these come from a federation, and all else is their own code, so that for the same key the draws are
those of the pooled rows but for rounding. NUTS would need a sum for every gradient, and is not
offered.
"""

import time
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fusionjax.federated.coordinator import Federation
from fusionjax.federated.messages import Request
from fusionjax.keys import split
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
    scale_key, draw_key = split(key, 2)
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

    def gains(u: np.ndarray, centre: np.ndarray) -> np.ndarray:
        request = Request(
            "gains", {"u": u, "centre": centre}, {"gains": (len(u),)}, setup=shape.setup
        )
        return federation.total(request)["gains"]

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
    """`newton.solve` from sums, and the total weight of the rows.

    Raises FloatingPointError if the mode is not reached.
    """
    weight = 0.0

    def at(u: np.ndarray) -> newton.Expansion:
        nonlocal weight
        found, weight = expand(federation, shape, u)
        return found

    start = np.zeros(shape.weights) if start is None else start
    return newton.ascend(at, tau, shape.sizes, start, tolerance), weight


def expand(
    federation: Federation, shape: Shape, u: Float[np.ndarray, "p free"]
) -> tuple[newton.Expansion, float]:
    """`newton.expand` over all sites, and the weight of their rows."""
    (p, free), d = shape.weights, u.size
    expected = {"value": (), "slope": (p, free), "curvature": (d, d), "weight": ()}
    arrays = {"u": u, "constants": np.cumsum([0, *shape.sizes[:-1]])}
    found = federation.total(Request("expand", arrays, expected, setup=shape.setup))
    parts = (found[name] for name in newton.Expansion._fields)
    return newton.Expansion(*parts), float(found["weight"])


def _around(federation: Federation, shape: Shape, mode: newton.Mode, tau: np.ndarray):
    deviation = newton.columns(tau, shape.sizes)[:, None]
    arrays = {"u": deviation * mode.z, "covariance": newton.covariance(mode, deviation)}
    request = Request("slope", arrays, {"slope": shape.weights}, setup=shape.setup)
    slope = federation.total(request)["slope"]
    return gaussian.about(mode, deviation, newton.moved(mode, deviation, slope))


def _outline(shape: Shape, weight: float) -> Observations:
    """One row that says nothing, of the shapes and the weight of all rows."""
    features = tuple(jnp.zeros((1, p)) for p in shape.sizes)
    presence = jnp.zeros((1, len(shape.sizes)), bool)
    return Observations(features, presence, jnp.zeros((1, len(shape.bias))), jnp.full(1, weight))
