"""The exact marginal of a Gaussian feature model: every subset S has a θ^S of its own.

F given y is N(μ_y, Σ), so F_S is Gaussian too, and

    log P(y | F_S) = b_y + θ^S_y·F_S − μ_{y,S}·θ^S_y/2 − log Z,    θ^S_y = Σ_SS⁻¹ μ_{y,S}

exact for every S if the features are that, however dependent the modalities are given y. Records
with gaps are used whole, by EM. The posterior is over means and covariance: `draws`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.missing import normal
from fusionjax.missing.normal import Moments
from fusionjax.posterior.types import Observations
from fusionjax.types import Key


class Params(NamedTuple):
    """θ^S and its intercepts for each pattern, the moments, and the records of each class."""

    theta: Float[Array, "pattern class p"]
    intercept: Float[Array, "pattern class"]
    moments: Moments
    records: Float[Array, " class"]


def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Params:
    """Moments by EM; the key draws nothing, and no dropout is needed."""
    moments = normal.fit(observations, observations.onehot)
    records = observations.weight @ observations.onehot
    return with_moments(moments, records, normal.masks(observations.features))


def with_moments(
    moments: Moments, records: Float[Array, " class"], masked: Bool[np.ndarray, "pattern p"]
) -> Params:
    """The weights of every pattern that follow from the moments."""
    theta, intercept = normal.weights(moments, jnp.asarray(masked))
    return Params(theta, intercept, moments, records)


def log_prob(
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | F_S); the prior where S is empty."""
    pattern = normal.number(presence)
    x = normal.joined(features, presence)
    energy = jnp.einsum("np,nkp->nk", x, params.theta[pattern], precision="highest")
    return jax.nn.log_softmax(bias[None, :] + params.intercept[pattern] + energy, axis=1)


def draws(
    key: Key, params: Params, masked: Bool[np.ndarray, "pattern p"], count: int
) -> tuple[Params, ...]:
    """Draws of (μ, Σ) from the normal-inverse-Wishart posterior around the moments.

    Exact for records without gaps; with gaps, what EM filled in is taken as seen, so that the draws
    are then somewhat too narrow.
    """
    from scipy.stats import invwishart

    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    mean, covariance = (np.asarray(a, float) for a in params.moments)
    records = np.asarray(params.records, float)
    degrees = records.sum() + 2 * len(covariance) + 3
    scale = (degrees - len(covariance) - 1) * covariance
    found = []
    for _ in range(count):
        drawn = invwishart.rvs(degrees, scale, random_state=rng)
        root = np.linalg.cholesky(np.atleast_2d(drawn))
        noise = rng.normal(size=mean.shape) @ root.T / np.sqrt(records + 1)[:, None]
        now = Moments(jnp.asarray(mean + noise, jnp.float32), jnp.asarray(drawn, jnp.float32))
        found.append(with_moments(now, params.records, masked))
    return tuple(found)
