"""Laplace's draws, weighed by the true density: exact in θ as the draws grow, where k̂ allows.

The weights are Pareto-smoothed (`psis`), and the draws resampled in proportion to them: so that
what reads them need not know of weights. A proposal costs one evaluation of the likelihood.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fusionjax.keys import split
from fusionjax.posterior import newton, proposals, psis
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
    proposed: int = 2048,
    degrees: float | None = None,
) -> Posterior:
    """`draws` equally weighted draws in float32, out of `proposed` or of as many.

    With `degrees` of freedom the proposals are Student's t given τ, and not Gaussian. `ess_bulk` is
    the effective number of the weighted proposals. Raises ValueError where `observations` cannot be
    followed (see `check`).
    """
    scale_key, draw_key = split(key, 2)
    ground = proposals.groundwork(scale_key, observations, bias)
    return sample(draw_key, ground, draws=draws, proposed=proposed, degrees=degrees)


def sample(
    key: Key, ground: Groundwork, *, draws: int, proposed: int, degrees: float | None = None
) -> Posterior:
    """`fit` from its groundwork on."""
    draw_key, pick_key = split(key, 2)
    count = max(draws, proposed)
    found = proposals.draw(draw_key, ground, count, degrees)
    log_weight, _ = psis.smooth(found.log_ratio)
    chosen = psis.resample(pick_key, log_weight, draws)
    kind = "proposals" if degrees is None else f"proposals of {degrees:g} degrees of freedom"
    certificate = verdict(
        "importance",
        ground.observations,
        ground.started,
        ess_bulk=psis.effective(log_weight),
        log_ratio=found.log_ratio,
        carried=carried(ground.scales),
        likelihood_evaluations=ground.scales.evaluations + count,
        notes=(describe(ground.scales), f"{draws} draws resampled from {count} {kind}"),
    )
    theta = proposals.theta(found.u[chosen], newton.sizes(ground.observations))
    return Posterior(theta, jnp.asarray(found.tau[chosen], jnp.float32), certificate)
