"""0 in place of the features of a missing modality, under modality dropout.

One intercept, whatever is present; the prior where nothing is.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.missing import linear


def _vector(
    features: tuple[Float[Array, "batch _"], ...], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch p"]:
    """All 0, the intercept too, where nothing is present."""
    anything = jnp.any(presence, axis=1, keepdims=True)
    return jnp.where(anything, linear.concatenated(features, presence), 0)


fit, log_prob = linear.handler(_vector, dropout=True)
