"""What to measure next: how much a missing modality is expected to tell, for each patient.

Under the Gaussian feature model (`missing/gaussian.py`), measuring modality i of a patient of whom
F_S is known lowers the entropy of the diagnosis on average by the mutual information

    I(y; F_i | F_S) = H(P(y | F_S)) − E[H(P(y | F_S, F_i)) | F_S]   ≥ 0, in nats.

The expectation is over y exactly, with weights P(y | F_S), and over the energies that F_i would
move: given y and F_S they are Gaussian in as many dimensions as there are classes, whatever the
width of F_i, and are drawn with common random numbers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import entr
from jaxtyping import Bool, Float, Int

from fusionjax.missing import gaussian, normal
from fusionjax.types import Key


class Expected(NamedTuple):
    """In nats: the entropy now, and the fall that each modality promises, 0 where it is present."""

    entropy: Float[Array, " batch"]
    fall: Float[Array, "batch modality"]


def expected(
    key: Key,
    params: gaussian.Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    draws: int = 256,
) -> Expected:
    """The expected fall in entropy from measuring each missing modality alone."""
    masked = normal.masks(features)
    noise = jax.random.normal(key, (draws // 2, len(bias)))
    noise = jnp.concatenate([noise, -noise])
    found = normal.rest(params.moments.covariance, jnp.asarray(masked))
    falls = [_fall(params, found, bias, features, presence, noise, i) for i in range(len(features))]
    prob = jnp.exp(gaussian.log_prob(params, bias, features, presence))
    return Expected(jnp.sum(entr(prob), axis=1), jnp.stack(falls, axis=1))


def _fall(
    params: gaussian.Params,
    found: normal.Rest,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
    noise: Float[Array, "draw class"],
    modality: int,
) -> Float[Array, " batch"]:
    """I(y; F_i | F_S) of one modality."""
    now = gaussian.log_prob(params, bias, features, presence)
    x = normal.joined(features, presence)
    with_it = presence.at[:, modality].set(True)
    mean, root, start = _energies(params, found, bias, x, presence, with_it)

    def entropy(n: tuple[Array, Array, Array]) -> Float[Array, " class"]:
        centre, spread, base = n
        energy = base[None, None, :] + centre[:, None, :] + (noise @ spread.T)[None, :, :]
        return jnp.mean(jnp.sum(entr(jax.nn.softmax(energy, axis=2)), axis=2), axis=1)

    each = jax.lax.map(entropy, (mean, root, start))
    prob = jnp.exp(now)
    fall = jnp.sum(entr(prob), axis=1) - jnp.sum(prob * each, axis=1)
    return jnp.where(presence[:, modality], 0.0, fall)


@jax.jit
def _energies(
    params: gaussian.Params,
    found: normal.Rest,
    bias: Float[Array, " class"],
    x: Float[Array, "batch p"],
    presence: Bool[Array, "batch modality"],
    with_it: Bool[Array, "batch modality"],
) -> tuple[Float[Array, "batch class class"], Float[Array, "batch class class"], Array]:
    """Given each true class y: the mean of the energies θ^{S+i}·F, a root of their covariance."""
    before, after = normal.number(presence), normal.number(with_it)
    theta = params.theta[after]
    gain, covariance = found.gain[before], found.covariance[before]
    left = x[:, None, :] - params.moments.mean[None, :, :]
    # gain is 0 in the columns of what is missing, so that the 0 which stands there tells nothing.
    filled = params.moments.mean[None, :, :] + jnp.einsum("npq,nyq->nyp", gain, left)
    mean = jnp.einsum("nyp,nkp->nyk", filled, theta)
    spread = jnp.einsum("nkp,npq,nlq->nkl", theta, covariance, theta)
    power, axes = jnp.linalg.eigh(spread)
    root = axes * jnp.sqrt(jnp.maximum(power, 0.0))[:, None, :]
    return mean, root, bias[None, :] + params.intercept[after]


def best(expected: Expected, presence: Bool[Array, "batch modality"]) -> Int[np.ndarray, " batch"]:
    """The missing modality that promises most; -1 where nothing is missing."""
    fall = np.where(np.asarray(presence), -np.inf, np.asarray(expected.fall))
    return np.where(np.asarray(presence).all(axis=1), -1, fall.argmax(axis=1))
