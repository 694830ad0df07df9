"""Fusion by the reliability mixture: experts who may each be talking about another patient.

Modality i has an expert P_i(y | X_i) ∝ exp(b_y + θ_{i,y}·F_i), normalised, and is believed
(r_i = 1) with probability π_i. An X_i that is not believed was drawn from its own marginal,
without regard to y:

    P(y, r | X) ∝ P(y) Π_i [π_i P_i(y | X_i)/P(y)]^{r_i} [1 − π_i]^{1 − r_i}

Given r this is an exact log-linear model; the sum over all 2^M patterns r factorises:

    P(y | X) ∝ P(y) Π_i (1 − π_i + ρ_{i,y}),    ρ_{i,y} = π_i P_i(y | X_i)/P(y)

π = 0 gives the prior, and so does a missing modality; π = 1 the prior-corrected product of
experts, which is log-linear fusion with the same θ.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.log_linear import start_theta
from fusionjax.log_linear import Theta, negative_log_likelihood, scores
from fusionjax.presence import blank
from fusionjax.types import Features, Fusion, Key, Params


def reliability(bias: Float[Array, " class"], pi: Float[Array, " modality"]) -> Fusion:
    """The mixture with params {"theta": [class, p_i] a modality} and fixed π in [0, 1].

    Its loss is the mixture's negative log-likelihood, which is not convex in θ unless π = 1.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        return {"theta": start_theta(key, _vectors(features), len(bias), "full")}

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        vectors = blank(_vectors(features), presence)
        return log_prob(expert_log_probs(params["theta"], bias, vectors), bias, presence, pi)

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        return negative_log_likelihood(apply(params, features, presence), onehot)

    return Fusion(init, apply, loss)


def expert_log_probs(
    theta: Theta, bias: Float[Array, " class"], features: tuple[Float[Array, "batch _"], ...]
) -> Float[Array, "batch modality class"]:
    """log P_i(y | X_i) of each expert alone: log softmax(b + θ_i F_i).

    Takes no presence: blank the features of missing modalities first if gradients are wanted.
    """
    everything = jnp.ones((len(features[0]), len(features)), bool)
    return jax.nn.log_softmax(bias[None, None, :] + scores(theta, features, everything), axis=2)


def log_prob(
    expert_log_probs: Float[Array, "batch modality class"],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
    pi: Float[Array, " modality"],
) -> Float[Array, "batch class"]:
    """log P(y | X), summed exactly over the 2^M patterns of whom to believe."""
    _, term = _log_terms(expert_log_probs, bias, presence, pi)
    return jax.nn.log_softmax(bias[None, :] + jnp.sum(term, axis=1), axis=1)


def reliable(
    expert_log_probs: Float[Array, "batch modality class"],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
    pi: Float[Array, " modality"],
) -> Float[Array, "batch modality"]:
    """P(r_i = 1 | X) = E_{y|X}[ρ_{i,y} / (1 − π_i + ρ_{i,y})], the modality's claim to be believed.

    Far below π_i, the modality contradicts the rest. A missing modality is never believed: 0.
    """
    log_rho, term = _log_terms(expert_log_probs, bias, presence, pi)
    prob = jnp.exp(log_prob(expert_log_probs, bias, presence, pi))
    believed = jnp.sum(prob[:, None, :] * jnp.exp(log_rho - term), axis=2)
    return jnp.where(presence, believed, 0)


def _log_terms(
    expert_log_probs: Float[Array, "batch modality class"],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
    pi: Float[Array, " modality"],
) -> tuple[Float[Array, "batch modality class"], Float[Array, "batch modality class"]]:
    """log ρ and log(1 − π + ρ) of each modality and class, the latter 0 where it is missing."""
    present = presence[:, :, None]
    prior = jax.nn.log_softmax(bias)[None, None, :]
    log_ratio = jnp.where(present, expert_log_probs, prior) - prior
    log_rho = jnp.log(pi)[None, :, None] + log_ratio
    term = jnp.logaddexp(jnp.log1p(-pi)[None, :, None], log_rho)
    return log_rho, jnp.where(present, term, 0)


def _vectors(features: tuple[Features, ...]) -> tuple[Float[Array, "batch _"], ...]:
    return tuple(f.vector for f in features)
