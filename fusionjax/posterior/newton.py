"""The mode of θ given the scales, its curvature, and the Laplace evidence, by passes over the rows.

Works in the program's own non-centred coordinates: z [p, class-1], columns of all modalities one
after another, with weights u = τz, θᵀ = u Bᵀ for an orthonormal basis B of the zero-sum space, and
τ the prior deviation of each column. There the prior is N(0, I), so the precision

    I + τ (Σ_n w_n F_n F_nᵀ ⊗ Bᵀ(diag(p_n) − p_n p_nᵀ)B) τ

is never below the identity: separable classes, duplicated columns and fewer records than weights
need no special care. Sums over rows run block by block, so that beyond the features themselves
memory does not grow with the rows. Everything is in float64 but the products of features, which are
in the features' own type and summed over blocks in float64: call under `jax.enable_x64(True)`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import cho_solve
from jaxtyping import Float

from fusionjax.posterior.types import Observations, relative

MOST_STEPS = 100
BLOCK = 2048
CHUNK = 64
LEAF = 128
SMALL = 1e8


class Expansion(NamedTuple):
    """The log-likelihood at some weights u, in nats, its gradient and minus its Hessian there.

    Rows and columns of `curvature` are in the order of `u.ravel()`.
    """

    value: Float[Array, ""]
    slope: Float[Array, "p free"]
    curvature: Float[Array, "d d"]


class Mode(NamedTuple):
    """The maximum over z; its arrays are in float64, so use them under `jax.enable_x64(True)`.

    `likelihood` is expanded there; `cholesky` is the lower factor of the precision of z, rows in
    the order of `z.ravel()`; `log_evidence` the Laplace approximation of log P(y | τ), `log_joint`
    its value at `z`, both in nats; `steps` counts the passes over the rows.
    """

    z: Float[Array, "p free"]
    likelihood: Expansion
    cholesky: Float[Array, "d d"]
    log_evidence: float
    log_joint: float
    steps: int


class _State(NamedTuple):
    z: Float[Array, "p free"]
    likelihood: Expansion
    cholesky: Float[Array, "d d"]
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

    Raises FloatingPointError if the mode is not reached, in float64 throughout if need be.
    """
    with jax.enable_x64(True):
        start = jnp.zeros((sum(sizes(observations)), bias.shape[0] - 1)) if start is None else start
        bias, tau, start = double((bias, tau, start))
        end = _solve(tau, observations, bias, start, tolerance)
        if not _reached(end) and observations.features[0].dtype != jnp.float64:
            end = _solve(tau, double(observations), bias, start, tolerance)
        if not _reached(end):
            raise FloatingPointError(f"no mode of θ after {end.steps} Newton steps at τ = {tau}")
        value = float(end.likelihood.value - jnp.sum(end.z**2) / 2)
        half_log_det = float(jnp.sum(jnp.log(jnp.diagonal(end.cholesky))))
    return Mode(end.z, end.likelihood, end.cholesky, value - half_log_det, value, int(end.steps))


def double(tree):
    """Every floating array of `tree` in float64; call it under `jax.enable_x64(True)`."""

    def one(x):
        x = jnp.asarray(x)
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, tree)


def prepare(
    observations: Observations, bias: Float[Array, " class"]
) -> tuple[Observations, Float[Array, " class"]]:
    """In float64; features too, unless there are so many that they are better left as they are."""
    products = len(observations.weight) * sum(sizes(observations)) ** 2 * len(bias) ** 2
    features = observations.features
    observations, bias = double((observations._replace(features=()), bias))
    features = double(features) if products < SMALL else features
    return observations._replace(features=features), bias


def zero_sum_basis(classes: int) -> Float[np.ndarray, "class free"]:
    """Orthonormal columns that sum to zero: the coordinates of NumPyro's ZeroSumNormal.

    They are the unit vectors but the last, turned by the rotation that takes the last to 1/√K.
    """
    upper = np.eye(classes - 1) - 1.0 / (np.sqrt(classes) + classes)
    return np.concatenate([upper, np.full((1, classes - 1), -1.0 / np.sqrt(classes))])


def sizes(observations: Observations) -> tuple[int, ...]:
    """The number p_i of features of each modality."""
    return tuple(feature.shape[1] for feature in observations.features)


def columns(tau: Float[Array, " modality"], sizes: tuple[int, ...]) -> Float[Array, " total"]:
    """The prior deviation of the weights on every column of the concatenated features."""
    return jnp.concatenate([tau[i] * jnp.asarray(relative(p)) for i, p in enumerate(sizes)])


def over_rows(term: Callable[[Observations], Any], observations: Observations) -> Any:
    """Σ term(rows) over blocks of `BLOCK` rows; `term` must weigh every row by its weight.

    The last block reaches back for its full length, and weighs by 0 what was counted before.
    """
    rows = len(observations.weight)
    if rows <= BLOCK:
        return term(observations)

    def add(total, start):
        first = jnp.minimum(start, rows - BLOCK)
        block = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, BLOCK), observations)
        fresh = first + jnp.arange(BLOCK) >= start
        block = block._replace(weight=jnp.where(fresh, block.weight, 0))
        return jax.tree.map(jnp.add, total, term(block)), None

    shapes = jax.eval_shape(term, jax.tree.map(lambda x: x[:BLOCK], observations))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return lax.scan(add, zero, jnp.arange(0, rows, BLOCK))[0]


def log_likelihood(
    u: Float[Array, "p free"], observations: Observations, bias: Float[Array, " class"]
) -> Float[Array, ""]:
    """The program's weighted sum of log P(y | F, θ), in nats."""

    def term(block):
        log_prob = jax.nn.log_softmax(_energy(u, block, bias), axis=1)
        return jnp.sum(_double(block.weight)[:, None] * block.onehot * log_prob)

    return over_rows(term, observations)


def expand(
    u: Float[Array, "p free"], observations: Observations, bias: Float[Array, " class"]
) -> Expansion:
    """The log-likelihood around u, in one pass over the rows and in closed form."""
    value, slope, blocks = over_rows(lambda block: _expand(u, block, bias), observations)
    free = u.shape[1]
    place = np.zeros((free, free), int)
    first, second = np.triu_indices(free)
    place[first, second] = place[second, first] = np.arange(len(first))
    curvature = blocks[place].transpose(2, 0, 3, 1).reshape(u.size, u.size)
    return Expansion(value, slope, curvature)


def log_joint(
    z: Float[Array, "p free"],
    tau: Float[Array, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, ""]:
    """log P(y | z, τ) − |z|²/2, in nats: the program's log density given τ, less its constants."""
    u = columns(tau, sizes(observations))[:, None] * z
    return log_likelihood(u, observations, bias) - jnp.sum(z**2) / 2


def gains(
    u: Float[Array, "draw p free"],
    centre: Float[Array, "p free"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, " draw"]:
    """log P(y | u) − log P(y | centre) of every draw, in nats.

    Differences are taken row by row and then summed, so that a sum over many rows keeps its digits.
    """
    basis = zero_sum_basis(len(bias))

    def some(u):
        change = (u - centre[None]) @ basis.T

        def term(block):
            design, at = _design(block), jax.nn.log_softmax(_energy(centre, block, bias), axis=1)
            turned = change.transpose(1, 0, 2).reshape(design.shape[1], -1).astype(design.dtype)
            shift = jnp.matmul(design, turned, precision="highest")
            shift = shift.reshape(len(design), *change.shape[::2])
            log_z = jax.nn.logsumexp(at.astype(shift.dtype)[:, None, :] + shift, axis=2)
            own = jnp.sum(block.onehot.astype(shift.dtype)[:, None, :] * shift, axis=2)
            return _double(block.weight) @ _double(own - log_z)

        return over_rows(term, observations)

    chunks = jnp.pad(u, ((0, -len(u) % CHUNK), (0, 0), (0, 0))).reshape(-1, CHUNK, *u.shape[1:])
    return lax.map(some, chunks).ravel()[: len(u)]


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
    scale = columns(jnp.asarray(tau), sizes(observations))[:, None]
    slope = half_log_det_slope(scale * mode.z, covariance(mode, scale), observations, bias)
    return moved(mode, scale, slope)


def covariance(mode: Mode, scale: Float[Array, "p 1"]) -> Float[Array, "free free p p"]:
    """Of u = scale z under the Gaussian at the mode, in blocks for pairs of basis vectors."""
    inverse = cho_solve((mode.cholesky, True), jnp.eye(mode.z.size))
    blocks = inverse.reshape(*mode.z.shape, *mode.z.shape).transpose(1, 3, 0, 2)
    return blocks * (scale @ scale.T)[None, None]


def half_log_det_slope(
    u: Float[Array, "p free"],
    covariance: Float[Array, "free free p p"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, "p free"]:
    """∂/∂u of log|A|/2, a sum over rows."""
    return over_rows(lambda block: _half_log_det_slope(u, covariance, block, bias), observations)


def moved(
    mode: Mode, scale: Float[Array, "p 1"], slope: Float[Array, "p free"]
) -> Float[Array, "p free"]:
    """`mean`, from the slope of log|A|/2 by u."""
    step = cho_solve((mode.cholesky, True), (scale * slope).ravel())
    return mode.z - step.reshape(mode.z.shape)


def _double(x):
    return x.astype(jnp.float64)


def _design(block):
    return jnp.concatenate(block.features, axis=1)


def _energy(u, block, bias):
    return bias[None, :] + _double(_design(block)) @ (u @ zero_sum_basis(len(bias)).T)


def _expand(u, block, bias):
    """Value, slope, and the curvature's blocks for pairs of basis vectors, upper triangle."""
    design, weight, basis = _design(block), _double(block.weight), zero_sum_basis(len(bias))
    log_prob = jax.nn.log_softmax(_energy(u, block, bias), axis=1)
    prob = jnp.exp(log_prob)
    value = jnp.sum(weight[:, None] * block.onehot * log_prob)
    slope = _double(design).T @ (weight[:, None] * (block.onehot - prob) @ basis)

    def pair(a, b):
        spread = prob @ (a * b) - (prob @ a) * (prob @ b)
        scaled = (weight * spread).astype(design.dtype)[:, None] * design
        return _double(_symmetric(design, scaled))

    first, second = np.triu_indices(basis.shape[1])
    vectors = jnp.asarray(basis.T)
    return value, slope, lax.map(lambda ab: pair(*ab), (vectors[first], vectors[second]))


def _symmetric(design, scaled):
    """designᵀ scaled where that is symmetric: of a large one, half of what is off the diagonal."""
    p = design.shape[1]
    if p <= LEAF:
        return jnp.matmul(design.T, scaled, precision="highest")
    half = p // 2
    top = jnp.matmul(design[:, :half].T, scaled, precision="highest")
    corner = _symmetric(design[:, half:], scaled[:, half:])
    bottom = jnp.concatenate([top[:, half:].T, corner], axis=1)
    return jnp.concatenate([top, bottom])


def _half_log_det_slope(u, covariance, block, bias):
    """∂/∂u of log|A|/2, by way of the variance of every row's energies.

    log|A| changes by tr(A⁻¹ ∂A), which for a row with energies' covariance V is the change of
    Σ_k p_k V_kk − pᵀVp; its derivative by the energies is in closed form.
    """
    design, basis = _design(block), jnp.asarray(zero_sum_basis(len(bias)))
    free = basis.shape[1]
    first, second = np.triu_indices(free)

    def pair(ab):
        product = jnp.matmul(design, covariance[ab].astype(design.dtype), precision="highest")
        return _double(jnp.sum(product * design, axis=1))

    place = np.zeros((free, free), int)
    place[first, second] = place[second, first] = np.arange(len(first))
    pairs = lax.map(pair, (jnp.asarray(first), jnp.asarray(second)))
    variance = basis @ pairs[place].transpose(2, 0, 1) @ basis.T
    prob = jax.nn.softmax(_energy(u, block, bias), axis=1)
    own = jnp.diagonal(variance, axis1=1, axis2=2) - 2 * jnp.einsum("nkl,nl->nk", variance, prob)
    slope = prob * (own - jnp.sum(prob * own, axis=1, keepdims=True)) / 2
    return _double(design).T @ (_double(block.weight)[:, None] * slope @ basis)


def direction(
    z: Float[Array, "p free"], scale: Float[Array, "p 1"], likelihood: Expansion
) -> tuple[Float[Array, "d d"], Float[Array, "p free"], Float[Array, ""]]:
    """The precision's Cholesky factor, Newton's step, and twice the rise that it promises."""
    slope = scale * likelihood.slope - z
    each = jnp.repeat(scale, z.shape[1])
    precision = jnp.eye(z.size) + each[:, None] * likelihood.curvature * each[None, :]
    cholesky = jnp.linalg.cholesky(precision)
    step = cho_solve((cholesky, True), slope.ravel()).reshape(z.shape)
    return cholesky, step, jnp.sum(slope * step)


def long_enough(length, ahead, value, decrement):
    """Whether a step of this `length` is taken: it rises enough (Armijo), or nothing is left.

    Not by the difference of the two values: near the mode what is asked for is less than their
    rounding, and a step that leaves the value as it is must do.
    """
    return (length <= 1e-9) | (ahead >= value + 1e-4 * length * decrement)


@jax.jit
def _solve(tau, observations, bias, start, tolerance) -> _State:
    scale = columns(tau, sizes(observations))[:, None]

    def unfinished(state):
        return (state.decrement > tolerance) & (state.steps < MOST_STEPS)

    def step(state):
        value = state.likelihood.value - jnp.sum(state.z**2) / 2

        def too_long(length):
            """Until the objective rises enough (Armijo), of 1, 1/2, 1/4, …"""
            ahead = log_joint(state.z + length * state.direction, tau, observations, bias)
            return ~long_enough(length, ahead, value, state.decrement)

        length = lax.while_loop(too_long, lambda length: length / 2, jnp.ones_like(value))
        tried = 1 - jnp.round(jnp.log2(length)).astype(int)
        return evaluate(state.z + length * state.direction, state.steps + tried + 1)

    def evaluate(z, steps):
        likelihood = expand(scale * z, observations, bias)
        return _State(z, likelihood, *direction(z, scale, likelihood), steps)

    return lax.while_loop(unfinished, step, evaluate(start, jnp.asarray(1)))


def _reached(end: _State) -> bool:
    finite = np.isfinite(end.decrement) & np.all(np.isfinite(end.cholesky))
    return bool(finite & (end.steps < MOST_STEPS))
