"""What goes into a posterior over θ, what comes out, and the certificate that comes with it."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax.presence import blank

INTERCEPT = 0.3
"""Prior deviation of the weight on a modality's constant, in units of τ."""


class Observations(NamedTuple):
    """Frozen features of labelled records, as the likelihood reads them, the constant 1 first.

    A record may stand in several rows, each with another presence pattern, if its weights sum to 1:
    the composite likelihood then counts it once.
    """

    features: tuple[Float[Array, "row _"], ...]
    presence: Bool[Array, "row modality"]
    onehot: Float[Array, "row class"]
    weight: Float[Array, " row"]


class Certificate(NamedTuple):
    """What was checked about a posterior; `None` where the engine has no such figure.

    `r_hat` (rank-normalised, split) and both effective sample sizes are the worst over θ and τ of
    chains, and of weighted draws Kish's number; `k_hat` is the Pareto shape of their importance
    weights, `accept` the mean probability of acceptance. `d2_over_n` is the squared number of
    weights per record: far above 1, θ is seldom near to Gaussian. `ok` is False if any check
    failed; `notes` say which, and what was tried.
    """

    engine: str
    ok: bool
    r_hat: float | None = None
    ess_bulk: float | None = None
    ess_tail: float | None = None
    divergences: int | None = None
    accept: float | None = None
    k_hat: float | None = None
    likelihood_evaluations: int | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    d2_over_n: float | None = None


class Posterior(NamedTuple):
    """Equally weighted draws of θ and of the modalities' scales τ, chain after chain."""

    theta: tuple[Float[Array, "draw class _"], ...]
    tau: Float[Array, "draw modality"]
    certificate: Certificate
    chains: int = 1


def observe(
    features: tuple[Float[Array, "row _"], ...],
    presence: Bool[Array, "row modality"],
    label: Int[Array, " row"],
    classes: int,
    weight: Float[Array, " row"] | None = None,
) -> Observations:
    """The observations of rows with known labels; features of a missing modality are blanked.

    Without `weight` every row counts once. Raises ValueError where a posterior cannot follow:
    an unknown label, a negative weight, a feature that is present and not finite.
    """
    weight = jnp.ones(label.shape) if weight is None else weight
    if not np.all((np.asarray(label) >= 0) & (np.asarray(label) < classes)):
        raise ValueError(f"labels must lie between 0 and {classes - 1}: leave unlabelled rows out")
    onehot = (label[:, None] == jnp.arange(classes)[None, :]).astype(weight.dtype)
    observations = Observations(blank(features, presence), presence, onehot, weight)
    check(observations)
    return observations


def relative(size: int) -> Float[np.ndarray, " p"]:
    """Prior deviation of a modality's `size` weights in units of τ; the constant comes first."""
    return np.where(np.arange(size) == 0, INTERCEPT, 1.0)


def check(observations: Observations) -> None:
    """Raise ValueError where `observations` would make a posterior meaningless."""
    presence = np.asarray(observations.presence)
    for i, feature in enumerate(map(np.asarray, observations.features)):
        if not np.all(np.isfinite(feature)):
            raise ValueError(f"features of modality {i} are not all finite")
        if np.any(feature[~presence[:, i]]):
            raise ValueError(f"features of modality {i} are not blanked where it is missing")
    weight = np.asarray(observations.weight)
    if not np.all(np.isfinite(weight) & (weight >= 0.0)):
        raise ValueError("weights must be finite and not negative")
