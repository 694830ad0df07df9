"""The log-linear model under most siblings: the mode of θ, with the scales τ by the evidence.

Each sibling is a map of (features, presence) and this. A full posterior over θ instead of its mode
comes from `posterior.laplace` or `posterior.nuts` on the same mapped observations.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax import log_linear
from fusionjax import presence as missing
from fusionjax.log_linear import Theta
from fusionjax.missing.types import Handler
from fusionjax.posterior import Observations, newton, proposals, scales
from fusionjax.types import Key

DROPOUT = 0.5

Vector = Callable[
    [tuple[Float[Array, "batch _"], ...], Bool[Array, "batch modality"]], Float[Array, "batch p"]
]


def theta(observations: Observations, bias: Float[Array, " class"]) -> Theta:
    """The mode of θ at the mode of P(log τ | y): where every engine's posterior is anchored."""
    with jax.enable_x64(True):
        _, surrogate, _ = scales.anchor(*newton.prepare(observations, bias))
        centre = proposals.theta(surrogate.centre[None], newton.sizes(observations))
    return tuple(part[0] for part in centre)


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


def handler(vector: Vector, *, dropout: bool) -> Handler:
    """A sibling that weighs one vector, made of features and presence; its params are θ alone.

    It is fitted on the records as they came, or also under modality dropout.
    """

    def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Theta:
        rows = augmented(key, observations)[0] if dropout else observations
        return theta(one_vector(rows, vector(rows.features, rows.presence)), bias)

    def log_prob(
        params: Theta,
        bias: Float[Array, " class"],
        features: tuple[Float[Array, "batch _"], ...],
        presence: Bool[Array, "batch modality"],
    ) -> Float[Array, "batch class"]:
        return log_prob_of_vector(params, bias, vector(features, presence))

    return Handler(fit, log_prob)


def with_gaps(
    features: tuple[Float[Array, "batch _"], ...], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch p"]:
    """`concatenated`, and a column for each modality: 1 where it is missing."""
    return concatenated(features, presence, (~presence).astype(jnp.float32))


def log_prob_of_vector(
    theta: Theta, bias: Float[Array, " class"], vector: Float[Array, "batch p"]
) -> Float[Array, "batch class"]:
    """log P(y | vector) of a model of one vector."""
    return log_linear.log_prob(theta, bias, (vector,), jnp.ones((len(vector), 1), bool))


def concatenated(
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    *others: Float[Array, "batch _"],
) -> Float[Array, "batch p"]:
    """1, then the features without their constants, 0 where missing, then `others`."""
    vectors = [f[:, 1:] for f in missing.blank(features, presence)]
    return jnp.concatenate([jnp.ones((len(presence), 1)), *vectors, *others], axis=1)
