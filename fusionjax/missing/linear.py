"""The log-linear model under most siblings: the mode of θ, with the scales τ by the evidence.

Each sibling is a map of (features, presence) and this. A full posterior over θ instead of its mode
comes from `posterior.laplace` or `posterior.nuts` on the same mapped observations.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fusionjax import presence as missing
from fusionjax.log_linear import Theta, log_prob
from fusionjax.posterior import Observations, newton
from fusionjax.types import Key

DROPOUT = 0.5
STEPS = 6
LEAST_TAU = 1e-3


def theta(observations: Observations, bias: Float[Array, " class"]) -> Theta:
    """The mode of θ at the scales that maximise evidence times their half-normal prior.

    MacKay's (1992) update of log τ, from 1/√p, for a few steps; the same weights as
    `posterior.scales` starts from.
    """
    sizes = newton.sizes(observations)
    tau, u = 1 / np.sqrt(np.array(sizes, float)), None
    with jax.enable_x64(True):
        exact, exact_bias = newton.double((observations, bias))
    mode = None
    for _ in range(STEPS):
        columns = _columns(tau, observations)
        mode = newton.solve(tau, exact, exact_bias, None if u is None else u / columns, 1e-4)
        u = np.asarray(mode.z) * columns
        with jax.enable_x64(True):
            slope = _slope(mode, jnp.asarray(tau), exact, exact_bias)
        squares, known = (np.asarray(part) for part in slope)
        now = (1 - known + np.sqrt((1 - known) ** 2 + 4 * tau**2 * squares)) / 2
        moved, tau = np.abs(np.log(now) / 2 - np.log(tau)), np.sqrt(np.maximum(now, LEAST_TAU**2))
        if np.max(moved) < 0.05:
            break
    mode = newton.solve(tau, exact, exact_bias, u / _columns(tau, observations), 1e-6)
    basis = newton.zero_sum_basis(len(bias))
    weights = basis @ (np.asarray(mode.z) * _columns(tau, observations)).T
    parts = np.split(weights.astype(np.float32), np.cumsum(sizes)[:-1], axis=1)
    return tuple(jnp.asarray(part) for part in parts)


def augmented(
    key: Key, observations: Observations, draws: int = 1
) -> tuple[Observations, Bool[Array, "row modality"]]:
    """The records as they came and under modality dropout, and the presence as it was in nature."""
    rates = jnp.full(observations.presence.shape[1], DROPOUT)
    shown, weight, index = missing.augment(key, observations.presence, rates, draws)
    vectors = missing.blank(tuple(f[index] for f in observations.features), shown)
    rows = Observations(
        vectors, shown, observations.onehot[index], weight * observations.weight[index]
    )
    return rows, observations.presence[index]


def appended(observations: Observations, feature: Float[Array, "row p"]) -> Observations:
    """The observations with one modality more, which every row has."""
    everyone = jnp.ones((len(feature), 1), bool)
    return observations._replace(
        features=(*observations.features, feature),
        presence=jnp.concatenate([observations.presence, everyone], axis=1),
    )


def one_vector(observations: Observations, vector: Float[Array, "row p"]) -> Observations:
    """The observations as one modality, which every row has."""
    return observations._replace(features=(vector,), presence=jnp.ones((len(vector), 1), bool))


def log_prob_of_vector(
    theta: Theta, bias: Float[Array, " class"], vector: Float[Array, "batch p"]
) -> Float[Array, "batch class"]:
    """log P(y | vector) of a model of one vector."""
    return log_prob(theta, bias, (vector,), jnp.ones((len(vector), 1), bool))


def concatenated(
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    *others: Float[Array, "batch _"],
) -> Float[Array, "batch p"]:
    """1, then the features without their constants, 0 where missing, then `others`."""
    vectors = [f[:, 1:] for f in missing.blank(features, presence)]
    return jnp.concatenate([jnp.ones((len(presence), 1)), *vectors, *others], axis=1)


_slope = jax.jit(newton.evidence_slope)


def _columns(tau: np.ndarray, observations: Observations) -> np.ndarray:
    return np.asarray(newton.columns(jnp.asarray(tau, jnp.float32), observations.features))[
        :, None
    ].astype(float)
