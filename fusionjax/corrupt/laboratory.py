"""A table of results in the wrong unit, and a sensor that is stuck."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fusionjax.types import Key

# mg/dL for 1 mmol/L: the molar mass in g/mol, over 10.
MG_DL_PER_MMOL_L = {"glucose": 18.016, "cholesterol": 38.67, "calcium": 4.008, "urea": 6.006}


def wrong_unit(
    key: Key,
    results: Float[Array, "row column"],
    factor: Float[Array, " column"],
    strength: float,
) -> Float[Array, "row column"]:
    """With probability `strength` a result is multiplied by its column's `factor`.

    A result in mg/dL that was entered as mmol/L has the factor 1/`MG_DL_PER_MMOL_L[...]`; a column
    without units has 1. Acts on results as they were measured, before standardisation.
    """
    wrong = jax.random.uniform(key, results.shape) < strength
    return jnp.where(wrong, results * factor[None, :], results)


def stuck(
    key: Key, results: Float[Array, "row column"], strength: float
) -> Float[Array, "row column"]:
    """With probability `strength` a result is the column's first that is known: a dead sensor."""
    known = jnp.argmax(jnp.isfinite(results), axis=0)
    first = jnp.sum(jnp.where(jnp.arange(len(results))[:, None] == known[None, :], results, 0), 0)
    wrong = jax.random.uniform(key, results.shape) < strength
    return jnp.where(wrong, first[None, :], results)
