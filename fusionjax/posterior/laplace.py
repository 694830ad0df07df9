"""Laplace's posterior: given the scales τ, a Gaussian of θ; τ integrated by `scales`.

The Gaussian has the curvature at the mode, and its mean is moved from the mode by what skewness
moves it (`newton.mean`): weights that the data determine well are larger on average than at the
mode. The certificate weighs the draws against the true density.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fusionjax.keys import split
from fusionjax.posterior import newton, proposals
from fusionjax.posterior.certificate import verdict
from fusionjax.posterior.proposals import Groundwork
from fusionjax.posterior.scales import carried, describe
from fusionjax.posterior.types import Observations, Posterior
from fusionjax.types import Key


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    *,
    draws: int = 400,
) -> Posterior:
    """`draws` independent draws in float32; everything behind them is in float64.

    Raises ValueError where `observations` cannot be followed (see `check`).
    """
    scale_key, draw_key = split(key, 2)
    return sample(draw_key, proposals.groundwork(scale_key, observations, bias), draws=draws)


def sample(key: Key, ground: Groundwork, *, draws: int) -> Posterior:
    """`fit` from its groundwork on."""
    found = proposals.draw(key, ground, draws)
    certificate = verdict(
        "laplace",
        ground.observations,
        ground.started,
        log_ratio=found.log_ratio,
        least_share=0.5,
        carried=carried(ground.scales),
        likelihood_evaluations=ground.scales.evaluations + draws,
        notes=(describe(ground.scales),),
    )
    theta = proposals.theta(found.u, newton.sizes(ground.observations))
    return Posterior(theta, jnp.asarray(found.tau, jnp.float32), certificate)
