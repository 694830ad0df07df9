"""A recording that breaks off, or was recorded too loud; waves [row, sample] within −1..1."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.types import Key


def truncated(
    key: Key, mask: Bool[Array, "row instance frame"], strength: float
) -> Bool[Array, "row instance frame"]:
    """The mask of a recording of which up to `strength` is lost at its end, how much by chance."""
    frames = mask.shape[2]
    lost = strength * jax.random.uniform(key, mask.shape[:2])
    length = jnp.sum(mask, axis=2)
    kept = jnp.ceil((1 - lost) * length)
    return mask & (jnp.arange(frames)[None, None, :] < kept[:, :, None])


def clipped(wave: Float[Array, "row sample"], strength: float) -> Float[Array, "row sample"]:
    """What lies above 1 − `strength` of a recording's peak is cut off."""
    peak = jnp.max(jnp.abs(wave), axis=1, keepdims=True)
    limit = (1 - min(max(strength, 0.0), 1.0)) * peak
    return jnp.clip(wave, -limit, limit)
