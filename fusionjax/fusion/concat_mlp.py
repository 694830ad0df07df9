"""Fusion by a multilayer perceptron on the concatenated features: the baseline to beat."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import likelihood
from fusionjax.presence import blank
from fusionjax.types import Features, Fusion, Key, Params


def concat_mlp(bias: Float[Array, " class"], hidden: int = 64) -> Fusion:
    """log P(y | X) = log softmax(b + MLP(o_1 F_1, …, o_M F_M, o)), one hidden layer of `hidden`.

    Early fusion in the words of Baltrušaitis, Ahuja and Morency (2019, section 6.1), with GELU
    (Hendrycks and Gimpel 2016); presence bits tell 0 from missing (Lipton, Kale and Wetzel 2016).
    The last layer starts at 0, where the model gives the prior; a record with no modality gets the
    prior exactly, whatever the weights.
    """
    mlp = nn.Sequential(
        [nn.Dense(hidden), nn.gelu, nn.Dense(len(bias), kernel_init=nn.initializers.zeros)]
    )

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        presence = jnp.ones((len(features[0].vector), len(features)), bool)
        return mlp.init(key, _concatenate(features, presence))

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        scores = jnp.asarray(mlp.apply(params, _concatenate(features, presence)))
        anything = jnp.any(presence, axis=1, keepdims=True)
        return jax.nn.log_softmax(bias[None, :] + jnp.where(anything, scores, 0), axis=1)

    return likelihood(init, apply)


def _concatenate(
    features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch column"]:
    """The features side by side, 0 where missing, then the presence bits that tell 0 from gone."""
    vectors = blank(tuple(f.vector for f in features), presence)
    return jnp.concatenate([*vectors, presence.astype(vectors[0].dtype)], axis=1)
