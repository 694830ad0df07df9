"""EmbraceNet: every column of the fused vector comes from one modality, drawn by lot."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax.fusion.adapters import prior_where_nothing, shown
from fusionjax.fusion.layers import Perceptron, Projections
from fusionjax.log_linear import negative_log_likelihood
from fusionjax.types import Features, Fusion, Key, Params

DRAWS = 8
"""Lots over which a prediction is averaged."""


def embracenet(bias: Float[Array, " class"], width: int = 32) -> Fusion:
    """Choi and Lee (2019): docking layers, then the embracement, then a perceptron.

    d_i = relu(W_i F_i); column c of the fused vector is that of d_i, where i is drawn for each
    record and column, with equal chances for the modalities that are present. A fusion is a pure
    function without a key, so the lots of a training step come from the bits of its parameters,
    which change from step to step. A departure: predictions average the probabilities of 8 lots,
    the same for every record, where the paper draws one for each.
    """
    module = EmbraceNet(width, len(bias))

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        presence = jnp.ones((len(features[0].vector), len(features)), bool)
        lots = jnp.zeros((1, len(features), width))
        return dict(module.init(key, features, presence, lots))["params"]

    def drawn(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        lots: Float[Array, "record modality width"],
    ) -> Float[Array, "batch class"]:
        found = module.apply({"params": params}, shown(features, presence), presence, lots)
        return prior_where_nothing(bias[None, :] + jnp.asarray(found), bias, presence)

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        lots = jax.random.uniform(jax.random.key(0), (DRAWS, 1, len(features), width))
        each = jax.vmap(lambda lot: drawn(params, features, presence, lot))(lots)
        return jax.nn.logsumexp(each, axis=0) - jnp.log(DRAWS)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        lots = jax.random.uniform(jax.random.key(_bits(params)), (*presence.shape, width))
        return negative_log_likelihood(drawn(params, features, presence, lots), onehot)

    return Fusion(init, apply, loss)


class EmbraceNet(nn.Module):
    """Docking, embracement, perceptron."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        lots: Float[Array, "record modality width"],
    ) -> Float[Array, "batch class"]:
        """Scores [batch, class]; the present modality with the highest lot gives a column."""
        docked = nn.relu(Projections(self.width)(features))
        tickets = jnp.where(presence[:, :, None], lots, -1)
        chosen = tickets == jnp.max(tickets, axis=1, keepdims=True)
        embraced = jnp.sum(jnp.where(chosen, docked, 0), axis=1)
        return Perceptron(self.width, self.classes)(embraced)


def _bits(params: Any) -> Int[Array, ""]:
    """A number that changes with any parameter."""
    sums = [jnp.sum(jnp.asarray(leaf)) for leaf in jax.tree.leaves(params)]
    return jax.lax.bitcast_convert_type(sum(sums, jnp.zeros(())), jnp.int32)
