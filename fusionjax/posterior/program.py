"""The one statement of prior and likelihood, in NumPyro; every engine is tested against it.

τ_i ~ HalfNormal(1)                       what modality i is worth
z_i ~ ZeroSumNormal(1) over the classes   for each of the p_i features
θ_i = τ_i s z_i                           non-centred; s is 1, for the constant `INTERCEPT`
P(y | F) ∝ exp(b_y + Σ_i θ_{i,y}·F_i)     features of a missing modality are zero

The weight on a modality's constant says how frequent a class is where that modality was measured:
much of it is whom a hospital sends there, which the next hospital does otherwise. So it is drawn
towards 0 more than what the modality itself says.
"""

import jax.numpy as jnp
import numpyro
from jax import Array
from jaxtyping import Float
from numpyro import distributions as dist

from fusionjax import log_linear
from fusionjax.posterior.types import Observations, relative


def model(observations: Observations, bias: Float[Array, " class"]) -> None:
    """The program: the sites of `weights`, and the likelihood."""
    theta = weights(observations, bias.shape[0])
    numpyro.factor("log_likelihood", log_likelihood(theta, observations, bias))


def weights(observations: Observations, classes: int) -> tuple[Float[Array, "class _"], ...]:
    """θ from its prior: sites `tau` [modality], `z_i` [p_i, class], deterministic `theta_i`."""
    sizes = [feature.shape[1] for feature in observations.features]
    tau = jnp.asarray(numpyro.sample("tau", dist.HalfNormal(1.0).expand([len(sizes)]).to_event(1)))
    theta = []
    for i, size in enumerate(sizes):
        normal = dist.ZeroSumNormal(1.0, (classes,)).expand([size]).to_event(1)
        z = jnp.asarray(numpyro.sample(f"z_{i}", normal))
        deviation = tau[i] * relative(size)
        theta.append(numpyro.deterministic(f"theta_{i}", deviation[None, :] * z.T))
    return tuple(theta)


def log_likelihood(
    theta: tuple[Float[Array, "class _"], ...],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, ""]:
    """Weighted sum over rows of log P(y | F, θ), in nats."""
    log_prob = log_linear.log_prob(theta, bias, observations.features, observations.presence)
    loss = log_linear.negative_log_likelihood(log_prob, observations.onehot)
    return -jnp.sum(observations.weight * loss)
