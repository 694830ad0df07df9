"""Evidence, opinions, and the loss of a Dirichlet distribution."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, gammaln
from jaxtyping import Bool, Float

from fusionjax.fusion.log_linear import start_theta
from fusionjax.log_linear import scores
from fusionjax.types import Features, Key, Params

Evidence = Float[Array, "*batch class"]


class Opinion(NamedTuple):
    """Belief in each class, and the uncertainty u that is left: b_1 + … + b_K + u = 1."""

    belief: Float[Array, "*batch class"]
    uncertainty: Float[Array, "*batch"]


def collectors(
    key: Key, features: tuple[Float[Array, "batch _"], ...], classes: int
) -> tuple[Float[Array, "class _"], ...]:
    """Where the weights of the modalities' evidence start."""
    return start_theta(key, features, classes, "full")


def gathered(
    params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
) -> Float[Array, "batch modality class"]:
    """e_i = softplus(θ_i F_i), 0 where modality i is missing."""
    linear = scores(params["theta"], tuple(f.vector for f in features), presence)
    return jnp.where(presence[:, :, None], jax.nn.softplus(linear), 0)


def opinion(evidence: Evidence) -> Opinion:
    """b = e/S, u = K/S, S = K + Σ_y e_y (Jøsang 2016, section 3.5; as in TMC)."""
    classes = evidence.shape[-1]
    strength = classes + jnp.sum(evidence, axis=-1)
    return Opinion(evidence / strength[..., None], classes / strength)


def evidence(opinion: Opinion) -> Evidence:
    """The evidence of an opinion, e = K b/u."""
    classes = opinion.belief.shape[-1]
    return classes * opinion.belief / opinion.uncertainty[..., None]


def log_prob(evidence: Evidence, log_prior: Float[Array, " class"]) -> Float[Array, "*batch class"]:
    """log P(y) = log(b_y + u a_y), a the prior: the mean of the Dirichlet distribution."""
    alpha = concentration(evidence, log_prior)
    return jnp.log(alpha) - jnp.log(jnp.sum(alpha, axis=-1, keepdims=True))


def concentration(
    evidence: Evidence, log_prior: Float[Array, " class"]
) -> Float[Array, "*batch class"]:
    """α = e + K a; the papers' e + 1 where the prior is uniform."""
    base = evidence.shape[-1] * jnp.exp(log_prior)
    return evidence + base.reshape((1,) * (evidence.ndim - 1) + base.shape)


def expected_loss(
    evidence: Evidence,
    log_prior: Float[Array, " class"],
    onehot: Float[Array, "*batch class"],
    penalty: float,
) -> Float[Array, "*batch"]:
    """ψ(S) − ψ(α_label) + `penalty` · KL(Dir(α̃) ‖ Dir(K a)) (as in TMC).

    α̃ is α without the evidence for the label: evidence for what is false is pulled to nothing.
    """
    alpha = concentration(evidence, log_prior)
    nobody = concentration(jnp.zeros_like(evidence), log_prior)
    misled = concentration(evidence * (1 - onehot), log_prior)
    strength = jnp.sum(alpha, axis=-1, keepdims=True)
    expected = jnp.sum(onehot * (digamma(strength) - digamma(alpha)), axis=-1)
    return expected + penalty * divergence(misled, nobody)


def divergence(
    alpha: Float[Array, "*batch class"], beta: Float[Array, "*batch class"]
) -> Float[Array, "*batch"]:
    """KL(Dir(α) ‖ Dir(β)) in nats."""
    strength, other = jnp.sum(alpha, axis=-1), jnp.sum(beta, axis=-1)
    constants = (
        gammaln(strength) - gammaln(other) + jnp.sum(gammaln(beta) - gammaln(alpha), axis=-1)
    )
    slopes = digamma(alpha) - digamma(strength)[..., None]
    return constants + jnp.sum((alpha - beta) * slopes, axis=-1)
