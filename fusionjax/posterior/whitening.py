"""Coordinates in which the posterior is near to a standard normal, for NUTS.

x ↦ (τ, u) with log τ = mode + root x_τ, and for modality i, in the eigenbasis U of its part of the
likelihood's curvature (eigenvalues λ, in units of the prior's relative deviations),

    u_i = U (m + D w_i),   D = τ_i/√(1 + λτ_i²),   w = C x_θ.

Where the data determine a direction, λτ² ≫ 1, D does not depend on τ: centred. Where they do not,
D = τ: non-centred. In between it is in between, direction by direction, so that neither the funnel
of the one nor the ridge of the other is left (Papaspiliopoulos, Roberts and Sköld 2007, "A general
framework for the parametrization of hierarchical models").

Where the classes are near to separable, larger weights leave less curvature, and u spreads with τ
even in the directions that the data determine. So λ falls as τ^−b, with b measured between modes
above and below the mode of τ; m, which is D²h for a Gaussian likelihood, follows in step as
D²h (D_0/D)^(b/2). h makes the mean, and the constant C the correlations, right at the mode of τ.

It is a change of variables and no prior: the Jacobian is Σ log D + Σ log τ and constants.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import block_diag
from jaxtyping import Float

from fusionjax.posterior import newton
from fusionjax.posterior import surrogate as gaussian
from fusionjax.posterior.proposals import Groundwork
from fusionjax.posterior.types import relative

APART = 0.5


class Whitening(NamedTuple):
    """The map's constants: λ, b, m D_0^(b/2)/D_0^2 and C, in the order of u."""

    mode: Float[Array, " modality"]
    root: Float[Array, "modality modality"]
    basis: tuple[Float[Array, "_ _"], ...]
    value: Float[Array, " d"]
    fall: Float[Array, " d"]
    linear: Float[Array, " d"]
    colour: Float[Array, "d d"]


class Placed(NamedTuple):
    """Where x lies, and the log of the Jacobian there, less a constant."""

    log_tau: Float[Array, " modality"]
    u: Float[Array, "p free"]
    log_jacobian: Float[Array, ""]


class Target(NamedTuple):
    """The posterior in x, in float32; `own` is log P(y) of every row at the surrogate's centre."""

    whitening: Whitening
    design: Float[Array, "row p"]
    onehot: Float[Array, "row class"]
    weight: Float[Array, " row"]
    bias: Float[Array, " class"]
    own: Float[Array, " row"]


X = tuple[Float[Array, " modality"], Float[Array, " d"]]


def target(ground: Groundwork, sizes: tuple[int, ...]) -> tuple[Target, int]:
    """The posterior in whitened coordinates, and how many passes over the rows it took."""
    observations = ground.observations
    with jax.enable_x64(True):
        whitening, evaluations = _whiten(ground, sizes)
        own = _own(ground.scales.surrogate.centre, ground.exact, ground.exact_bias)
        own = own[: len(observations.weight)]
        design = jnp.concatenate(observations.features, axis=1)
        parts = (whitening, design, observations.onehot, observations.weight, ground.bias, own)
        return jax.tree.map(lambda x: x.astype(jnp.float32), Target(*parts)), evaluations


def log_density(x: X, target: Target, sizes: tuple[int, ...]) -> Float[Array, ""]:
    """log P(x, y) less a constant, in nats: the program's log density at (τ, u), and the Jacobian.

    The likelihood is a sum of differences from the centre row by row: small numbers, for float32.
    """
    at = place(x, target.whitening, sizes)
    basis = jnp.asarray(newton.zero_sum_basis(len(target.bias)), at.u.dtype)
    shift = jnp.matmul(target.design, at.u @ basis.T, precision="highest")
    log_prob = jax.nn.log_softmax(target.bias[None, :] + shift, axis=1)
    gain = jnp.sum((target.weight[:, None] * target.onehot) * (log_prob - target.own[:, None]))
    each = jnp.concatenate(
        [jnp.full(p, at.log_tau[i]) + np.log(relative(p)) for i, p in enumerate(sizes)]
    )
    prior = -jnp.sum((at.u * jnp.exp(-each)[:, None]) ** 2) / 2 - at.u.shape[1] * jnp.sum(each)
    return gain + prior - jnp.sum(jnp.exp(2 * at.log_tau)) / 2 + at.log_jacobian


def place(x: X, whitening: Whitening, sizes: tuple[int, ...]) -> Placed:
    """x ↦ (log τ, u)."""
    free = len(x[1]) // sum(sizes)
    shift = whitening.root @ x[0]
    log_tau = whitening.mode + shift
    value = whitening.value * jnp.exp(-whitening.fall * _repeat(shift, sizes, free))
    each = jnp.exp(2 * _repeat(log_tau, sizes, free))
    shrink = jnp.sqrt(each / (1 + value * each))
    mean = whitening.linear * shrink ** (2 - whitening.fall / 2)
    parts = jnp.split(mean + shrink * (whitening.colour @ x[1]), np.cumsum(sizes)[:-1] * free)
    turned = [b @ part for b, part in zip(whitening.basis, parts, strict=True)]
    u = jnp.asarray(_deviation(sizes, free), shift.dtype) * jnp.concatenate(turned)
    return Placed(log_tau, u.reshape(-1, free), jnp.sum(jnp.log(shrink)) + jnp.sum(log_tau))


def _whiten(ground, sizes) -> tuple[Whitening, int]:
    scales, surrogate = ground.scales, ground.scales.surrogate
    free = surrogate.centre.shape[1]
    curvature = _relative(surrogate.curvature, sizes, free)
    ends = [0, *np.cumsum(sizes) * free]
    parts = [slice(*ab) for ab in pairwise(ends)]
    values, bases = zip(*(np.linalg.eigh(curvature[part, part]) for part in parts), strict=True)
    value, basis = np.maximum(np.concatenate(values), 0.0), np.asarray(block_diag(*bases))
    fall, evaluations = _fall(basis, ground, sizes)
    tau = np.repeat(scales.mode, np.array(sizes) * free)
    shrink = tau / np.sqrt(1 + value * tau**2)
    precision = basis.T @ curvature @ basis + np.diag(1 / tau**2)
    colour = np.linalg.inv(np.linalg.cholesky(shrink[:, None] * precision * shrink[None, :])).T
    mean = gaussian.given(scales.mode, surrogate, sizes).mean.ravel()
    linear = (basis.T @ (tau * mean)) / shrink ** (2 - fall / 2)
    mode = np.log(scales.mode)
    constants = (mode, scales.root, bases, value, fall, linear, colour)
    return Whitening(*jax.tree.map(jnp.asarray, constants)), evaluations


def _fall(basis, ground, sizes) -> tuple[Float[np.ndarray, " d"], int]:
    """b = −∂ log λ/∂ log τ in every direction, with all the scales moved together."""
    tau, free, left, evaluations = ground.scales.mode, len(ground.bias) - 1, [], 0
    for shift in (-APART, APART):
        mode = newton.solve(tau * np.exp(shift), ground.exact, ground.exact_bias, tolerance=1e-3)
        curvature = _relative(mode.likelihood.curvature, sizes, free)
        left.append(np.log(np.maximum(np.sum((curvature @ basis) * basis, axis=0), 1e-30)))
        evaluations += mode.steps
    return np.clip((left[0] - left[1]) / (2 * APART), 0.0, 2.0), evaluations


def _relative(curvature, sizes, free) -> Float[np.ndarray, "d d"]:
    deviation = _deviation(sizes, free)
    return deviation[:, None] * np.asarray(curvature) * deviation[None, :]


def _deviation(sizes, free) -> Float[np.ndarray, " d"]:
    return np.repeat(np.concatenate([relative(p) for p in sizes]), free)


def _repeat(by_modality, sizes, free):
    return jnp.concatenate([jnp.full(p * free, by_modality[i]) for i, p in enumerate(sizes)])


@jax.jit
def _own(centre, observations, bias):
    energy = jnp.concatenate(observations.features, axis=1) @ (
        centre @ newton.zero_sum_basis(len(bias)).T
    )
    return jnp.sum(observations.onehot * jax.nn.log_softmax(bias[None, :] + energy, axis=1), axis=1)
