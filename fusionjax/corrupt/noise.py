"""Graded noise on any numbers."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fusionjax.types import Key


def gaussian(
    key: Key, values: Float[Array, "row *shape"], strength: float | Float[Array, ""]
) -> Float[Array, "row *shape"]:
    """Independent noise of `strength` times each number's deviation over the rows."""
    spread = jnp.nanstd(values, axis=0, keepdims=True)
    noise = jax.random.normal(key, values.shape, values.dtype)
    return values + strength * jnp.nan_to_num(spread) * noise
