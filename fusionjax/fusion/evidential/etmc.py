"""Enhanced trusted multi-view classification: all features together are one more view."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import prior_where_nothing, shown
from fusionjax.fusion.evidential.opinions import collectors, gathered, log_prob
from fusionjax.fusion.evidential.tmc import dempster, losses
from fusionjax.fusion.layers import side_by_side
from fusionjax.types import Features, Fusion, Key, Params


def etmc(bias: Float[Array, " class"], penalty: float = 0.1) -> Fusion:
    """ETMC (Han et al. 2022): TMC with a pseudo-view whose evidence reads all features at once.

    "Trusted multi-view classification with dynamic evidential fusion". Departures as for TMC. The
    pseudo-view is there where any modality is.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        views = (*(f.vector for f in features), side_by_side(features))
        *theta, together = collectors(key, views, len(bias))
        return {"theta": tuple(theta), "together": together}

    def views(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> tuple[Float[Array, "batch view class"], Bool[Array, "batch view"]]:
        anything = jnp.any(presence, axis=1, keepdims=True)
        linear = side_by_side(shown(features, presence)) @ params["together"].T
        pseudo = jnp.where(anything, jax.nn.softplus(linear), 0)
        each = gathered(params, features, presence)
        there = jnp.concatenate([presence, anything], axis=1)
        return jnp.concatenate([each, pseudo[:, None, :]], axis=1), there

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        each, _ = views(params, features, presence)
        found = log_prob(dempster(each), jax.nn.log_softmax(bias))
        return prior_where_nothing(found, bias, presence)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        each, there = views(params, features, presence)
        return losses(each, there, jax.nn.log_softmax(bias), onehot, penalty)

    return Fusion(init, apply, loss)
