"""Fusion by the exact log-linear model: log P(y | X) = b_y + Σ_i o_i θ_{i,y}·F_i − log Z(X)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import likelihood
from fusionjax.log_linear import Theta, log_prob
from fusionjax.types import Features, Fusion, Key, Params

Kind = Literal["full", "class", "scalar"]


def log_linear(bias: Float[Array, " class"], kind: Kind = "full") -> Fusion:
    """Log-linear fusion with params {"theta": one array a modality}.

    The multinomial logit (McFadden 1974) with a term for each modality, whose differences between
    classes are weights of evidence (Good 1950). On log-probabilities θ holds the exponents of a
    logarithmic opinion pool (Genest and Zidek 1986, eq. 3.11), but need not sum to 1. A departure:
    a missing modality has no term.

    `kind` is what θ_i is. "full" weighs the features, [class, p_i], and starts near 0, where the
    model gives the prior. "class" and "scalar" weigh the class scores of modality i, which are then
    the columns of its features after the constant, and start at 1, their plain sum; `init` raises
    ValueError where there are not as many of them as classes.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        return {"theta": start_theta(key, _weighed(features, kind), len(bias), kind)}

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        return log_prob(params["theta"], bias, _weighed(features, kind), presence)

    return likelihood(init, apply)


def start_theta(
    key: Key, features: tuple[Float[Array, "batch _"], ...], classes: int, kind: Kind
) -> Theta:
    """Where training starts: small random weights if θ is full, 1 if it weighs class scores."""
    widths = [feature.shape[1] for feature in features]
    if kind == "full":
        keys = jax.random.split(key, len(widths))
        return tuple(
            0.01 * jax.random.normal(k, (classes, p)) for k, p in zip(keys, widths, strict=True)
        )
    if any(width != classes for width in widths):
        raise ValueError(
            f"θ of kind {kind!r} weighs {classes} class scores of each modality beside the "
            f"constant, but the modalities have {widths}: give encoders {classes} features"
        )
    return tuple(jnp.ones((classes,) if kind == "class" else ()) for _ in widths)


def _weighed(features: tuple[Features, ...], kind: Kind) -> tuple[Float[Array, "batch _"], ...]:
    """What θ weighs: the features, or the class scores that follow their constant."""
    return tuple(f.vector if kind == "full" else f.vector[:, 1:] for f in features)
