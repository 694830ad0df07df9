"""Average a model of complete records over P(F_missing | F_observed), Gaussian within each class.

    P(y | F_S) = E[P(y | F_S, F_rest) | F_S],    F_rest | F_S ~ Σ_k P(k | F_S) N(…; k)

exact if the model of complete records and the Gaussian of `gaussian.py` are. Where features are
not quite Gaussian it leans on that only for what is missing. Training records with gaps are filled
by draws given their label, each record counted once (multiple imputation, Rubin 1987).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fusionjax import log_linear
from fusionjax.log_linear import Theta
from fusionjax.missing import gaussian, linear, normal
from fusionjax.posterior.types import Observations
from fusionjax.types import Key

TRAINING_DRAWS, DRAWS = 4, 16


class Params(NamedTuple):
    """The Gaussian of features given y; roots of what each pattern leaves open; noise; θ."""

    gaussian: gaussian.Params
    gain: Float[Array, "pattern p p"]
    root: Float[Array, "pattern p p"]
    noise: Float[Array, "draw p"]
    theta: Theta


def fit(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Params:
    """The Gaussian by EM, then θ on filled records."""
    masked = normal.masks(observations.features)
    inner = gaussian.fit(key, observations, bias)
    found = normal.rest(inner.moments.covariance, jnp.asarray(masked))
    training_key, key = jax.random.split(key)
    noise = jax.random.normal(key, (DRAWS, masked.shape[1]))
    root = jnp.asarray(_roots(np.asarray(found.covariance, float)), jnp.float32)
    params = Params(inner, found.gain, root, noise, ())
    return params._replace(theta=linear.theta(_filled(training_key, params, observations), bias))


def log_prob(
    params: Params,
    bias: Float[Array, " class"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch class"]:
    """log of the mean of P(y | F): over the class that F_rest is drawn from exactly, then draws."""
    guess = gaussian.log_prob(params.gaussian, bias, features, presence)
    everything = jnp.ones_like(presence)

    def given(mean: Float[Array, " p"]) -> Float[Array, "batch class"]:
        expected, root = _regression(params, mean[None, :], features, presence)

        def one(noise: Float[Array, " p"]) -> Float[Array, "batch class"]:
            parts = _parts(expected + jnp.einsum("npq,q->np", root, noise), features)
            return log_linear.log_prob(params.theta, bias, parts, everything)

        each = jax.lax.map(one, params.noise)
        return jax.nn.logsumexp(each, axis=0) - jnp.log(len(each))

    said = jax.lax.map(given, params.gaussian.moments.mean)
    mean = jax.nn.logsumexp(guess.T[:, :, None] + said, axis=0)
    return jnp.where(jnp.any(presence, axis=1, keepdims=True), mean, jax.nn.log_softmax(bias)[None])


def _regression(
    params: Params,
    mean: Float[Array, "_ p"],
    features: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> tuple[Float[Array, "batch p"], Float[Array, "batch p p"]]:
    """E[F | F_S, y], with `mean` that of y, and a root of the covariance."""
    pattern = normal.number(presence)
    known = jnp.concatenate(
        [jnp.broadcast_to(presence[:, [i]], f[:, 1:].shape) for i, f in enumerate(features)], axis=1
    )
    apart = jnp.where(known, normal.joined(features, presence) - mean, 0)
    moved = jnp.einsum("npq,nq->np", params.gain[pattern], apart, precision="highest")
    return mean + moved, params.root[pattern]


def _filled(key: Key, params: Params, observations: Observations) -> Observations:
    """Each record several times, its gaps drawn anew given its label; once if none has a gap."""
    complete = bool(np.asarray(observations.presence).all())
    draws = 1 if complete else TRAINING_DRAWS
    mean = observations.onehot @ params.gaussian.moments.mean
    expected, root = _regression(params, mean, observations.features, observations.presence)
    parts = []
    for k in jax.random.split(key, draws):
        noise = jax.random.normal(k, expected.shape)
        drawn = expected + jnp.einsum("npq,nq->np", root, noise)
        parts.append(_parts(drawn, observations.features))
    rows = draws * len(expected)
    return Observations(
        tuple(jnp.concatenate(each) for each in zip(*parts, strict=True)),
        jnp.ones((rows, observations.presence.shape[1]), bool),
        jnp.tile(observations.onehot, (draws, 1)),
        jnp.tile(observations.weight, draws) / draws,
    )


def _parts(
    x: Float[Array, "row p"], features: tuple[Float[Array, "_ _"], ...]
) -> tuple[Float[Array, "row _"], ...]:
    """Columns back in their modalities, each with its constant 1."""
    ends = np.cumsum([f.shape[1] - 1 for f in features])[:-1]
    ones = jnp.ones((len(x), 1))
    return tuple(jnp.concatenate([ones, part], axis=1) for part in jnp.split(x, ends, axis=1))


def _roots(covariance: Float[np.ndarray, "pattern p p"]) -> Float[np.ndarray, "pattern p p"]:
    """Symmetric roots: the covariance of F given F_S has no Cholesky factor, for it is singular."""
    power, axes = np.linalg.eigh(covariance)
    return axes * np.sqrt(np.maximum(power, 0.0))[:, None, :] @ axes.transpose(0, 2, 1)
