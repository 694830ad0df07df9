"""What a site computes about θ: sums over its own rows, and nothing else.

In the coordinates of `posterior.newton`: the log-likelihood expanded at weights u, the slope of the
skewness correction, and what draws gain over the centre.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fusionjax.federated.messages import Arrays, Request
from fusionjax.posterior import Observations, newton


class Rows(NamedTuple):
    """A site's rows of θ's likelihood and log class frequencies, in float64 as in a pooled fit."""

    observations: Observations
    bias: Float[Array, " class"]


def rows(observations: Observations, bias: Float[Array, " class"]) -> Rows:
    """Make ready."""
    with jax.enable_x64(True):
        return Rows(*newton.prepare(observations, bias))


def answer(site: Rows, request: Request) -> Arrays:
    """To "expand", "slope" or "gains"; raises ValueError for another task."""
    if request.task not in _SUMS:
        raise ValueError(f"{request.task!r} is not about θ")
    with jax.enable_x64(True):
        given = {name: jnp.asarray(x) for name, x in request.arrays.items()}
        return {name: np.asarray(x) for name, x in _SUMS[request.task](site, given).items()}


def _expand(site, given):
    found = _expansion(given["u"], *site)
    weight = jnp.sum(site.observations.weight)
    return {
        "value": found.value,
        "slope": found.slope,
        "curvature": found.curvature,
        "weight": weight,
    }


def _slope(site, given):
    return {"slope": _half_log_det_slope(given["u"], given["covariance"], *site)}


def _gain(site, given):
    return {"gains": newton.gains(given["u"], given["centre"], *site)}


_expansion = jax.jit(newton.expand)
_half_log_det_slope = jax.jit(newton.half_log_det_slope)
_SUMS = {"expand": _expand, "slope": _slope, "gains": _gain}
