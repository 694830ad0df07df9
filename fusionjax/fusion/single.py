"""One modality alone, the others unseen: what every fusion must beat."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import likelihood
from fusionjax.fusion.log_linear import start_theta
from fusionjax.log_linear import log_prob
from fusionjax.types import Features, Fusion, Key, Params


def single(bias: Float[Array, " class"], modality: int) -> Fusion:
    """log P(y | X_i) = b_y + o_i θ_{i,y}·F_i − log Z of modality i; the prior where it is missing.

    The multinomial logit (McFadden 1974). Wang et al. (2020) find that networks on all modalities
    often lose to the best one alone. The params hold one θ [class, p_i], in a tuple.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        return {"theta": start_theta(key, (features[modality].vector,), len(bias), "full")}

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        here = jnp.take(presence, jnp.array([modality]), axis=1)
        return log_prob(params["theta"], bias, (features[modality].vector,), here)

    return likelihood(init, apply)
