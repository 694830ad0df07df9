"""The exact log-linear model on bare arrays.

    P(y | X) = exp(E_y(X)) / Z(X)
    E_y(X)   = b_y + Σ_i o_i θ_{i,y}·F_i
    Z(X)     = Σ_y exp(E_y(X))

Z is summed over the classes, so nothing here is approximate. A missing modality (o_i = 0) is a
term that is not there: whatever stands in its features, NaN included, the value and the gradient
are the same bit for bit. With every modality missing, P(y | X) is the prior softmax(b).

`theta` holds one array a modality, and its rank says what it weighs:

| θ_i       | shape        | `features[i]`                  | score of class y |
|-----------|--------------|--------------------------------|------------------|
| full      | [class, p_i] | features F_i [batch, p_i]      | θ_{i,y}·F_i      |
| per class | [class]      | class scores s_i [batch, class]| θ_{i,y} s_{i,y}  |
| scalar    | []           | class scores s_i [batch, class]| θ_i s_{i,y}      |
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax.presence import blank

Theta = tuple[Float[Array, "..."], ...]

_SCORE = {0: ",ny->ny", 1: "y,ny->ny", 2: "yp,np->ny"}


def scores(
    theta: Theta,
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch modality class"]:
    """Each modality's term o_i θ_{i,y}·F_i of the energy, 0 where the modality is missing.

    Raises ValueError where θ_i and `features[i]` differ in width.
    """
    terms = [_score(t, f) for t, f in zip(theta, blank(features, presence), strict=True)]
    return jnp.stack(terms, axis=1)


def energy(
    theta: Theta,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """E_y(X) = b_y + Σ_i o_i θ_{i,y}·F_i, in nats."""
    return bias[None, :] + jnp.sum(scores(theta, features, presence), axis=1)


def log_z(energy: Float[Array, "batch class"]) -> Float[Array, " batch"]:
    """log Z(X) = log Σ_y exp(E_y(X)), summed exactly over the classes."""
    return jax.nn.logsumexp(energy, axis=1)


def log_prob(
    theta: Theta,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log P(y | X) = E_y(X) − log Z(X).

    The largest energy is taken off first, so that large energies cost no digits.
    """
    return jax.nn.log_softmax(energy(theta, bias, features, presence), axis=1)


def negative_log_likelihood(
    log_prob: Float[Array, "batch class"], onehot: Float[Array, "batch class"]
) -> Float[Array, " batch"]:
    """−Σ_y onehot_y log P(y | X) of each record, in nats.

    A product and not an index: the gradient of an index is a scatter, which is slow on a GPU.
    """
    return -jnp.sum(onehot * log_prob, axis=1)


def evidence(
    theta: Theta,
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch modality class"]:
    """Weight of evidence of each modality for each class, in nats, in the zero-sum gauge.

    The terms of the energy less their mean over the classes: a constant added to all the classes
    of θ_i says nothing about the diagnosis, so it must not show. The parts add up exactly,

        log P(a | X)/P(b | X) = b_a − b_b + Σ_i (evidence_{i,a} − evidence_{i,b}),

    an identity of the model. Where the modalities are independent given y, modality i's part is
    its log likelihood ratio log P(X_i | a)/P(X_i | b) (Good 1950, "Probability and the Weighing
    of Evidence").
    """
    terms = scores(theta, features, presence)
    return terms - jnp.mean(terms, axis=2, keepdims=True)


def contrast(
    evidence: Float[Array, "batch modality class"],
    first: Int[Array, " batch"],
    second: Int[Array, " batch"],
) -> Float[Array, "batch modality"]:
    """Each modality's part of log P(first | X)/P(second | X), in nats; classes by record."""
    classes = evidence.shape[2]
    sign = jax.nn.one_hot(first, classes) - jax.nn.one_hot(second, classes)
    return jnp.sum(evidence * sign[:, None, :], axis=2)


def _score(theta: Float[Array, "..."], feature: Float[Array, "batch _"]) -> Float[Array, "batch _"]:
    """The class scores of one modality, by the rank of its θ."""
    if theta.ndim and theta.shape[-1] != feature.shape[1]:
        raise ValueError(
            f"θ weighs {theta.shape[-1]} columns, the features have {feature.shape[1]}"
        )
    # "highest": a GPU otherwise multiplies float32 in TF32, which keeps three decimal digits.
    return jnp.einsum(_SCORE[theta.ndim], theta, feature, precision="highest")
