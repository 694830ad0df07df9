"""On-the-fly gradient modulation: the encoder of the modality that is ahead learns more slowly."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.types import Features, Fusion, Key, Params


def coefficients(
    fusion: Fusion,
    params: Params,
    features: tuple[Features, ...],
    presence: Bool[Array, "batch modality"],
    onehot: Float[Array, "batch class"],
    alpha: float = 0.5,
) -> Float[Array, " modality"]:
    """k_i = 1 − tanh(α ρ_i) of each modality that is ahead (ρ_i > 1), 1 of the others.

    OGM (Peng et al. 2022, "Balanced multimodal learning via on-the-fly gradient modulation", eq.
    10): ρ_i is P_i(label), summed over the batch, over that of the other modality. Departures: P_i
    is the fusion with the others masked; of more than two modalities ρ_i takes the mean of the
    others; and scores are means, so that missing modalities do not count.
    """
    scores = []
    for i in range(presence.shape[1]):
        only = presence & (jnp.arange(presence.shape[1]) == i)[None, :]
        right = jnp.sum(onehot * jnp.exp(fusion.apply(params, features, only)), axis=1)
        count = jnp.maximum(jnp.sum(presence[:, i]), 1)
        scores.append(jnp.sum(jnp.where(presence[:, i], right, 0)) / count)
    score = jnp.stack(scores)
    others = (jnp.sum(score) - score) / max(len(scores) - 1, 1)
    ratio = score / jnp.maximum(others, 1e-6)
    ahead = (ratio > 1) & (others > 0)
    return jnp.where(ahead, 1 - jnp.tanh(alpha * ratio), 1)


def modulated(
    gradient: tuple[Params, ...], factors: Float[Array, " modality"]
) -> tuple[Params, ...]:
    """Each encoder's gradient times its k_i."""
    return tuple(
        jax.tree.map(lambda leaf, k=k: k * leaf, tree)
        for tree, k in zip(gradient, factors, strict=True)
    )


def noise(key: Key, gradient: tuple[Params, ...]) -> tuple[Params, ...]:
    """Gaussian noise as wide as the entries of each weight of the gradient differ; none for biases.

    The generalisation enhancement of OGM-GE, as its authors' program estimates it: one deviation a
    weight array, taken before modulation, added after it. There it is for convolutions alone; here
    convolutions are matrix products, so it is for every array with rows and columns.
    """
    leaves, form = jax.tree.flatten(gradient)
    keys = jax.random.split(key, max(len(leaves), 1))
    drawn = [
        jnp.std(leaf) * jax.random.normal(k, leaf.shape) if leaf.ndim > 1 else jnp.zeros_like(leaf)
        for leaf, k in zip(leaves, keys, strict=False)
    ]
    return jax.tree.unflatten(form, drawn)
