"""Fusion by the reliability mixture: experts who may each be talking about another patient.

Modality i has an expert P_i(y | X_i) ∝ exp(b_y + θ_{i,y}·F_i), normalised, and is believed
(r_i = 1) with probability π_i. An X_i that is not believed was drawn from its own marginal,
without regard to y:

    P(y, r | X) ∝ P(y) Π_i [π_i P_i(y | X_i)/P(y)]^{r_i} [1 − π_i]^{1 − r_i}

Given r this is an exact log-linear model; the sum over all 2^M patterns r factorises:

    P(y | X) ∝ P(y) Π_i (1 − π_i + ρ_{i,y}),    ρ_{i,y} = π_i P_i(y | X_i)/P(y)

π = 0 gives the prior, and so does a missing modality; π = 1 the prior-corrected product of
experts (Kittler et al. 1998, eq. 7), which is log-linear fusion with the same θ. To leave a source
out with probability 1 − π is how Shafer (1976) discounts beliefs; the sum over patterns is derived
here, not taken from a paper.

The product counts twice what two modalities both say. Where a joint model of all that is present is
at hand, it may speak for the one pattern in which all of it is believed: that pattern keeps its
probability P(r = 1 | X), and so do all others, but P(y | X, r = 1) is the joint model's.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.log_linear import start_theta
from fusionjax.log_linear import Theta, negative_log_likelihood, scores
from fusionjax.presence import blank
from fusionjax.types import Features, Fusion, Key, Params


class Prior(NamedTuple):
    """π_i ~ Beta(1 + believed, 1 + doubted): earlier records, of which so many were to be believed.

    Clean training records say that everything can be believed: without a prior they drive π to 1,
    and with one they outvote it as they grow in number. What π is to be worth at the bedside must
    come from records that are shown with the swaps one expects there (`corrupt.swap`).
    """

    believed: float = 8.0
    doubted: float = 2.0


def reliability(
    bias: Float[Array, " class"],
    pi: Float[Array, " modality"],
    prior: Prior | None = None,
    records: int = 1,
) -> Fusion:
    """The mixture with params {"theta": [class, p_i] a modality} and fixed π in [0, 1].

    With a `prior`, π_i(X_i) = sigmoid(g_i·F_i) is learned too, {"gate": [p_i] a modality}, from
    `pi` at the start; the prior's density is shared out over so many `records`. A temperature for
    each modality is the length of its θ_i. The loss is not convex in θ unless π = 1.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        params = {"theta": start_theta(key, _vectors(features), len(bias), "full")}
        return params if prior is None else params | {"gate": _start_gate(pi, _vectors(features))}

    def trusted(params: Params, vectors: tuple[Float[Array, "batch _"], ...]) -> Array:
        return pi if prior is None else gate(params["gate"], vectors)

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        vectors = blank(_vectors(features), presence)
        experts = expert_log_probs(params["theta"], bias, vectors)
        return log_prob(experts, bias, presence, trusted(params, vectors))

    def loss(
        params: Params,
        features: tuple[Features, ...],
        presence: Bool[Array, "batch modality"],
        onehot: Float[Array, "batch class"],
    ) -> Float[Array, " batch"]:
        fit = negative_log_likelihood(apply(params, features, presence), onehot)
        if prior is None:
            return fit
        vectors = blank(_vectors(features), presence)
        density = log_prior(prior, trusted(params, vectors))
        return fit - jnp.sum(jnp.where(presence, density, 0), axis=1) / records

    return Fusion(init, apply, loss)


def gate(
    weights: tuple[Float[Array, " _"], ...], features: tuple[Float[Array, "batch _"], ...]
) -> Float[Array, "batch modality"]:
    """π_i(X_i) = sigmoid(g_i·F_i): what a modality's own features say of whether to believe it."""
    logits = [f @ g for g, f in zip(weights, features, strict=True)]
    return jax.nn.sigmoid(jnp.stack(logits, axis=1))


def log_prior(prior: Prior, pi: Float[Array, "*row modality"]) -> Float[Array, "*row modality"]:
    """log Beta(π; 1 + believed, 1 + doubted), less its constant."""
    return prior.believed * jnp.log(pi) + prior.doubted * jnp.log1p(-pi)


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
    pi: Float[Array, "*row modality"],
    joint: Float[Array, "batch class"] | None = None,
) -> Float[Array, "batch class"]:
    """log P(y | X), summed exactly over the 2^M patterns of whom to believe.

    `pi` is one of a modality or one of each record and modality. `joint` is the log P(y | X) of a
    model of all present modalities, which then speaks where all of them are believed.
    """
    log_rho, term = _log_terms(expert_log_probs, bias, presence, pi)
    prior = jax.nn.log_softmax(bias)[None, :]
    summed = prior + jnp.sum(term, axis=1)
    if joint is not None:
        together = prior + jnp.sum(jnp.where(presence[:, :, None], log_rho, 0), axis=1)
        mass = jax.nn.logsumexp(together, axis=1, keepdims=True)
        # 1 − exp(together − summed) is the share of the other patterns; rounding could make it < 0.
        share = jnp.minimum(together - summed, -1e-7)
        summed = jnp.logaddexp(summed + jnp.log(-jnp.expm1(share)), mass + joint)
    return jax.nn.log_softmax(summed, axis=1)


def reliable(
    expert_log_probs: Float[Array, "batch modality class"],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
    pi: Float[Array, "*row modality"],
) -> Float[Array, "batch modality"]:
    """P(r_i = 1 | X) = E_{y|X}[ρ_{i,y} / (1 − π_i + ρ_{i,y})], the modality's claim to be believed.

    Far below π_i, the modality contradicts the rest. A missing modality is never believed: 0. A
    joint model leaves it as it is, since the patterns keep their probabilities.
    """
    log_rho, term = _log_terms(expert_log_probs, bias, presence, pi)
    prob = jnp.exp(log_prob(expert_log_probs, bias, presence, pi))
    believed = jnp.sum(prob[:, None, :] * jnp.exp(log_rho - term), axis=2)
    return jnp.where(presence, believed, 0)


def _log_terms(
    expert_log_probs: Float[Array, "batch modality class"],
    bias: Float[Array, " class"],
    presence: Bool[Array, "batch modality"],
    pi: Float[Array, "*row modality"],
) -> tuple[Float[Array, "batch modality class"], Float[Array, "batch modality class"]]:
    """log ρ and log(1 − π + ρ) of each modality and class, the latter 0 where it is missing."""
    present = presence[:, :, None]
    prior = jax.nn.log_softmax(bias)[None, None, :]
    log_ratio = jnp.where(present, expert_log_probs, prior) - prior
    pi = jnp.broadcast_to(pi, presence.shape)[:, :, None]
    log_rho = jnp.log(pi) + log_ratio
    term = jnp.logaddexp(jnp.log1p(-pi), log_rho)
    return log_rho, jnp.where(present, term, 0)


def _vectors(features: tuple[Features, ...]) -> tuple[Float[Array, "batch _"], ...]:
    return tuple(f.vector for f in features)


def _start_gate(
    pi: Float[Array, " modality"], features: tuple[Float[Array, "batch _"], ...]
) -> tuple[Float[Array, " _"], ...]:
    """Weights that give π whatever the features: its logit on the constant."""
    logit = jnp.log(pi) - jnp.log1p(-pi)
    return tuple(jnp.zeros(f.shape[1]).at[0].set(logit[i]) for i, f in enumerate(features))
