"""The mode of θ given the scales, its curvature, and the Laplace evidence, in float64.

Works in the program's own non-centred coordinates: z [p, class-1], columns of all modalities one
after another, with θᵀ = τ z Bᵀ for an orthonormal basis B of the zero-sum space and τ the prior
deviation of each column. There the prior is N(0, I), so the precision

    I + Σ_n w_n τF_n τF_nᵀ ⊗ Bᵀ(diag(p_n) − p_n p_nᵀ)B

is never below the identity: separable classes, duplicated columns and fewer records than weights
need no special care.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import cho_solve
from jaxtyping import Float

from fusionjax.posterior.types import Observations, relative

MOST_STEPS = 100


class Mode(NamedTuple):
    """The maximum over z; its arrays are in float64, so use them under `jax.enable_x64(True)`.

    `cholesky` is the lower factor of the precision at `z`, rows in the order of `z.ravel()`;
    `log_evidence` the Laplace approximation of log P(y | τ), `log_joint` its value at `z`, both in
    nats; `steps` counts the evaluations.
    """

    z: Float[Array, "p free"]
    cholesky: Float[Array, "d d"]
    log_evidence: float
    log_joint: float
    steps: int


class _Problem(NamedTuple):
    design: Float[Array, "row p"]
    onehot: Float[Array, "row class"]
    weight: Float[Array, " row"]
    bias: Float[Array, " class"]
    basis: Float[Array, "class free"]


class _State(NamedTuple):
    z: Float[Array, "p free"]
    value: Float[Array, ""]
    cholesky: Float[Array, "d d"]
    log_det: Float[Array, ""]
    direction: Float[Array, "p free"]
    decrement: Float[Array, ""]
    steps: Array


def solve(
    tau: Float[Array | np.ndarray, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
    start: Float[Array | np.ndarray, "p free"] | None = None,
    tolerance: float = 1e-8,
) -> Mode:
    """Newton's method with backtracking, from `start` (else 0), until twice the gap is `tolerance`.

    Raises FloatingPointError if the mode is not reached.
    """
    with jax.enable_x64(True):
        start = jnp.zeros((sum(sizes(observations)), bias.shape[0] - 1)) if start is None else start
        observations, bias, tau, start = double((observations, bias, tau, start))
        end = _solve(tau, observations, bias, start, tolerance)
    value, log_det, steps = float(end.value), float(end.log_det), int(end.steps)
    if steps >= MOST_STEPS or not np.isfinite(value - log_det):
        raise FloatingPointError(f"no mode of θ after {steps} Newton steps at τ = {tau}")
    return Mode(end.z, end.cholesky, value - log_det / 2, value, steps)


def double(tree):
    """Every floating array of `tree` in float64; call it under `jax.enable_x64(True)`."""

    def one(x):
        x = jnp.asarray(x)
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, tree)


def zero_sum_basis(classes: int) -> Float[np.ndarray, "class free"]:
    """Orthonormal columns that sum to zero: the coordinates of NumPyro's ZeroSumNormal.

    They are the unit vectors but the last, turned by the rotation that takes the last to 1/√K.
    """
    upper = np.eye(classes - 1) - 1.0 / (np.sqrt(classes) + classes)
    return np.concatenate([upper, np.full((1, classes - 1), -1.0 / np.sqrt(classes))])


def sizes(observations: Observations) -> tuple[int, ...]:
    """The number p_i of features of each modality."""
    return tuple(feature.shape[1] for feature in observations.features)


def columns(
    tau: Float[Array, " modality"], features: tuple[Float[Array, "row _"], ...]
) -> Float[Array, " total"]:
    """The prior deviation of the weights on every column of the concatenated features."""
    return jnp.concatenate([tau[i] * relative(f) for i, f in enumerate(features)])


def log_joint(
    z: Float[Array, "p free"],
    tau: Float[Array, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, ""]:
    """log P(y | z, τ) − |z|²/2, in nats: the program's log density given τ, less its constants."""
    return _log_joint(z, _problem(tau, observations, bias))


def gradient(
    z: Float[Array, "p free"],
    tau: Float[Array, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, "p free"]:
    """∂ log_joint / ∂z = τFᵀ w(Y − P) B − z."""
    return _gradient(z, _problem(tau, observations, bias))


def precision(
    z: Float[Array, "p free"],
    tau: Float[Array, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, "d d"]:
    """−∂² log_joint / ∂z², rows in the order of `z.ravel()`."""
    return _precision(z, _problem(tau, observations, bias))


def mean(
    mode: Mode,
    tau: Float[Array | np.ndarray, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, "p free"]:
    """The posterior mean of z given τ, to the order that skewness moves it from the mode.

    E z ≈ ẑ − A⁻¹g, with A the precision and g the gradient of log|A|/2 at the mode (the first-order
    term of Tierney and Kadane 1986, "Accurate approximations for posterior moments").
    """
    return mode.z - _variance_and_swell(mode, _problem(tau, observations, bias))[1]


def evidence_slope(
    mode: Mode,
    tau: Float[Array | np.ndarray, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> tuple[Float[Array, " modality"], Float[Array, " modality"]]:
    """|z_i|² and γ_i, whose difference is ∂ log_evidence / ∂ log τ_i.

    γ_i = Σ (1 − variance of z) + 2 ẑ_i·A⁻¹g, with A and g as for `mean`: the number of weights of
    modality i that the data determine (MacKay 1992, "Bayesian interpolation"), and what the move of
    the mode does to the curvature, which he left out.
    """
    variance, swell = _variance_and_swell(mode, _problem(tau, observations, bias))
    known = 1 - variance + 2 * mode.z * swell
    ends = np.cumsum(sizes(observations))[:-1]
    squares = [jnp.sum(part) for part in jnp.split(mode.z**2, ends)]
    return jnp.stack(squares), jnp.stack([jnp.sum(part) for part in jnp.split(known, ends)])


def _variance_and_swell(mode, problem):
    """diag(A⁻¹) and A⁻¹ ∂(log|A|/2)/∂z, both in the shape of z."""
    inverse = cho_solve((mode.cholesky, True), jnp.eye(mode.z.size))
    slope = _half_log_det_slope(mode.z, inverse, problem).ravel()
    swell = cho_solve((mode.cholesky, True), slope)
    return jnp.diagonal(inverse).reshape(mode.z.shape), swell.reshape(mode.z.shape)


def _half_log_det_slope(z, inverse, problem):
    """∂/∂z of log|A|/2, by way of the variance of every row's energies."""
    free = z.shape[1]
    blocks = inverse.reshape(*z.shape, *z.shape).transpose(1, 3, 0, 2).reshape(-1, len(z), len(z))
    pairs = lax.map(lambda b: jnp.sum((problem.design @ b) * problem.design, axis=1), blocks)
    variance = problem.basis @ pairs.T.reshape(-1, free, free) @ problem.basis.T

    def half_trace(z):
        prob = jax.nn.softmax(_energy(z, problem), axis=1)
        own = jnp.einsum("nk,nkk->n", prob, variance)
        return problem.weight @ (own - jnp.einsum("nk,nkl,nl->n", prob, variance, prob)) / 2

    return jax.grad(half_trace)(z)


def _problem(tau, observations, bias) -> _Problem:
    design = jnp.concatenate(observations.features, axis=1)
    scaled = design * columns(tau, observations.features)[None, :]
    basis = jnp.asarray(zero_sum_basis(bias.shape[0]), design.dtype)
    return _Problem(scaled, observations.onehot, observations.weight, bias, basis)


def _energy(z, problem):
    return problem.bias[None, :] + problem.design @ (z @ problem.basis.T)


def _log_joint(z, problem):
    log_prob = jax.nn.log_softmax(_energy(z, problem), axis=1)
    return jnp.sum(problem.weight[:, None] * problem.onehot * log_prob) - jnp.sum(z**2) / 2


def _gradient(z, problem):
    residual = problem.onehot - jax.nn.softmax(_energy(z, problem), axis=1)
    return problem.design.T @ (problem.weight[:, None] * residual @ problem.basis) - z


def _precision(z, problem):
    prob = jax.nn.softmax(_energy(z, problem), axis=1)
    free = problem.basis.shape[1]
    first, second = np.triu_indices(free)

    def block(pair):
        a, b = problem.basis[:, pair[0]], problem.basis[:, pair[1]]
        spread = prob @ (a * b) - (prob @ a) * (prob @ b)
        return (problem.design * (problem.weight * spread)[:, None]).T @ problem.design

    blocks = lax.map(block, jnp.stack([first, second], axis=1))
    place = np.zeros((free, free), int)
    place[first, second] = place[second, first] = np.arange(len(first))
    size = z.size
    return blocks[place].transpose(2, 0, 3, 1).reshape(size, size) + jnp.eye(size)


@jax.jit
def _solve(tau, observations, bias, start, tolerance) -> _State:
    problem = _problem(tau, observations, bias)

    def unfinished(state):
        return (state.decrement > tolerance) & (state.steps < MOST_STEPS)

    def step(state):
        z = state.z + _length(state, problem) * state.direction
        return _evaluate(z, state.steps + 1, problem)

    return lax.while_loop(unfinished, step, _evaluate(start, jnp.asarray(1), problem))


def _evaluate(z, steps, problem) -> _State:
    slope = _gradient(z, problem)
    cholesky = jnp.linalg.cholesky(_precision(z, problem))
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(cholesky)))
    direction = cho_solve((cholesky, True), slope.ravel()).reshape(z.shape)
    decrement = jnp.sum(slope * direction)
    return _State(z, _log_joint(z, problem), cholesky, log_det, direction, decrement, steps)


def _length(state, problem):
    """The first of 1, 1/2, 1/4, … at which the objective rises enough (Armijo)."""

    def too_long(length):
        value = _log_joint(state.z + length * state.direction, problem)
        enough = state.value + 1e-4 * length * state.decrement
        return (length > 1e-9) & ~(value >= enough)

    return lax.while_loop(too_long, lambda length: length / 2, jnp.ones_like(state.value))
