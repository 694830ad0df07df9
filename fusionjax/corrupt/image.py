"""A picture that is out of focus, or partly covered, in the format of `types.Inputs`."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fusionjax.types import Key

Images = Float[Array, "row instance height width channel"]


def blurred(images: Images, strength: float) -> Images:
    """A Gaussian blur whose deviation is `strength` pixels, edges repeated."""
    if strength <= 0:
        return images
    reach = int(3 * strength + 0.5) or 1
    offsets = jnp.arange(-reach, reach + 1)
    weight = jnp.exp(-((offsets / strength) ** 2) / 2)
    weight = weight / jnp.sum(weight)
    for axis in (2, 3):
        pad = [(0, 0)] * 5
        pad[axis] = (reach, reach)
        padded = jnp.pad(images, pad, mode="edge")
        size = images.shape[axis]
        parts = [
            w * jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k, w in enumerate(weight)
        ]
        images = jnp.sum(jnp.stack(parts), axis=0)
    return images


def occluded(key: Key, images: Images, strength: float) -> Images:
    """A square of `strength` of the area, anywhere, at the picture's mean; another in each row."""
    rows, _, height, width, _ = images.shape
    tall, wide = (round(side * min(max(strength, 0.0), 1.0) ** 0.5) for side in (height, width))
    down, across = jax.random.split(key)
    top = jax.random.randint(down, (rows, 1), 0, height - tall + 1)
    left = jax.random.randint(across, (rows, 1), 0, width - wide + 1)
    y, x = jnp.arange(height)[None, :], jnp.arange(width)[None, :]
    inside = ((y >= top) & (y < top + tall))[:, :, None] & ((x >= left) & (x < left + wide))[
        :, None
    ]
    mean = jnp.mean(images, axis=(2, 3), keepdims=True)
    return jnp.where(inside[:, None, :, :, None], mean, images)
