"""Gradient blending: losses of the whole and of each modality, weighed by how they overfit."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.schemes.auxiliary import alone
from fusionjax.types import Features, Fusion, Params


def blending(fusion: Fusion, weights: Float[Array, " loss"]) -> Fusion:
    """w_0 · loss of the whole + Σ_i w_i · loss of modality i alone (Wang et al. 2020).

    `weights` come from `blend` on the course of an earlier run. Departures: the heads of single
    modalities are the fusion itself with the others masked; a missing one adds nothing; and that
    run is one for all losses, where the paper trains a network on each.
    """

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        whole = fusion.loss(params, features, presence, onehot)
        own = alone(fusion, params, features, presence, onehot)
        return weights[0] * whole + own @ weights[1:]

    return fusion._replace(loss=loss)


def blend(
    train_before: Float[Array, " loss"],
    train_after: Float[Array, " loss"],
    valid_before: Float[Array, " loss"],
    valid_after: Float[Array, " loss"],
) -> Float[Array, " loss"]:
    """Weights w_k ∝ G_k/O_k² that sum to 1, from each loss k at two moments of a run.

    G is how much the validation loss fell, O how much further it then lies above the training loss
    (Wang et al. 2020, proposition 1: the overfitting-to-generalisation ratio is O/G, and its
    minimiser is this). What has not generalised, G ≤ 0, gets 0; all get the same where nothing has.
    """
    gain = jnp.maximum(valid_before - valid_after, 0)
    overfit = (valid_after - train_after) - (valid_before - train_before)
    worth = gain / jnp.maximum(overfit**2, 1e-6)
    total = jnp.sum(worth)
    same = jnp.full_like(worth, 1 / len(worth))
    return jnp.where(total > 0, worth / jnp.where(total > 0, total, 1), same)
