"""From a rule or a Flax module to a `Fusion`: what is common to many variants is done here."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.log_linear import negative_log_likelihood
from fusionjax.types import Features, Fusion, Key, Params

Apply = Callable[
    [Params, tuple[Features, ...], Bool[Array, "batch modality"]], Float[Array, "batch class"]
]


def shown(
    features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
) -> tuple[Features, ...]:
    """The features with 0 and no token wherever a modality, or a token, is missing.

    Called before any arithmetic it keeps a NaN in a missing place out of the gradient as well.
    """
    present = jnp.split(presence, len(features), axis=1)
    return tuple(_blanked(f, o) for f, o in zip(features, present, strict=True))


def likelihood(init: Callable[[Key, tuple[Features, ...]], Params], apply: Apply) -> Fusion:
    """The fusion that is trained on its own negative log-likelihood."""

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        return negative_log_likelihood(apply(params, features, presence), onehot)

    return Fusion(init, apply, loss)


def from_linen(module: nn.Module, bias: Float[Array, " class"]) -> Fusion:
    """log P(y | X) = log softmax(b + scores), the scores [batch, class] those of a Linen module.

    The module maps (`shown` features, presence) to scores; where a record has nothing its scores
    are not used, and the prior is left.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        presence = jnp.ones((len(features[0].vector), len(features)), bool)
        return dict(module.init(key, features, presence))["params"]

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        seen = shown(features, presence)
        scores = jnp.asarray(module.apply({"params": params}, seen, presence))
        return prior_where_nothing(bias[None, :] + scores, bias, presence)

    return likelihood(init, apply)


def prior_where_nothing(
    energy: Float[Array, "batch class"],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log softmax of the energy, or of the bias in the rows that have no modality."""
    anything = jnp.any(presence, axis=1, keepdims=True)
    return jax.nn.log_softmax(jnp.where(anything, energy, bias[None, :]), axis=1)


def _blanked(feature: Features, present: Bool[Array, "batch 1"]) -> Features:
    mask = feature.token_mask & present
    return Features(
        vector=jnp.where(present, feature.vector, 0),
        tokens=jnp.where(mask[:, :, None], feature.tokens, 0),
        token_mask=mask,
    )
