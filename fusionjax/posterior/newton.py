"""The mode of θ given the scales, its curvature, and the Laplace evidence, by passes over the rows.

Works in the program's own non-centred coordinates: z [p, class-1], columns of all modalities one
after another, with weights u = τz, θᵀ = u Bᵀ for an orthonormal basis B of the zero-sum space, and
τ the prior deviation of each column. There the prior is N(0, I), so the precision

    I + τ (Σ_n w_n F_n F_nᵀ ⊗ Bᵀ(diag(p_n) − p_n p_nᵀ)B) τ

is never below the identity: separable classes, duplicated columns and fewer records than weights
need no special care. Sums over rows are compiled and run block by block, so that beyond the
features themselves memory does not grow with the rows; what has the size of θ is left to NumPy,
which compiles nothing. Everything is in float64 but the products of features, which are in the
features' own type and summed over blocks in float64: call the sums under `jax.enable_x64(True)`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float
from scipy.linalg import LinAlgError, block_diag, cho_solve, cholesky

from fusionjax.posterior.types import Observations, relative

MOST_STEPS = 100
BLOCK = 2048
ROOM = 256
"""Fewer rows than a block are padded to a multiple, so that what was compiled serves again."""
CHUNK = 128
LEAF = 128
SMALL = 1e8


class Expansion(NamedTuple):
    """The log-likelihood at some weights u, in nats, its gradient and minus its Hessian there.

    Rows and columns of `curvature` are in the order of `u.ravel()`. JAX's arrays from `expand`.
    """

    value: Float[np.ndarray, ""]
    slope: Float[np.ndarray, "p free"]
    curvature: Float[np.ndarray, "d d"]


class Mode(NamedTuple):
    """The maximum over z, in float64.

    `likelihood` is expanded there; `cholesky` is the lower factor of the precision of z, rows in
    the order of `z.ravel()`; `log_evidence` the Laplace approximation of log P(y | τ), `log_joint`
    its value at `z`, both in nats; `steps` counts the passes over the rows.
    """

    z: Float[np.ndarray, "p free"]
    likelihood: Expansion
    cholesky: Float[np.ndarray, "d d"]
    log_evidence: float
    log_joint: float
    steps: int


def solve(
    tau: Float[Array | np.ndarray, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
    start: Float[np.ndarray, "p free"] | None = None,
    tolerance: float = 1e-8,
) -> Mode:
    """`ascend` from `start` (else 0) by passes over the rows, in float64 throughout if need be."""
    found = sizes(observations)
    start = np.zeros((sum(found), len(bias) - 1)) if start is None else start

    def among(rows: Observations) -> Mode:
        return ascend(lambda u: expansion(u, rows, bias), tau, found, start, tolerance)

    with jax.enable_x64(True):
        try:
            return among(observations)
        except FloatingPointError:
            if observations.features[0].dtype == jnp.float64:
                raise
            return among(double(observations))


def ascend(
    expand: Callable[[Float[np.ndarray, "p free"]], Expansion],
    tau: Float[Array | np.ndarray, " modality"],
    sizes: tuple[int, ...],
    start: Float[np.ndarray, "p free"],
    tolerance: float,
) -> Mode:
    """Newton's method with backtracking, from `start`, until twice the gap is `tolerance`.

    `expand` gives the log-likelihood's expansion at u. Each trial asks for all of it: the first is
    nearly always the last. Raises FloatingPointError if the mode is not reached.
    """
    scale = columns(np.asarray(tau, float), sizes)[:, None]
    z, at, steps = np.asarray(start, float), expand(scale * start), 1
    factor, step, decrement = _direction(z, scale, at)
    while decrement > tolerance and steps < MOST_STEPS:
        value, length, there = at.value - np.sum(z**2) / 2, 2.0, -np.inf
        while not _long_enough(length, there, value, decrement):
            length /= 2
            ahead = z + length * step
            at, steps = expand(scale * ahead), steps + 1
            there = at.value - np.sum(ahead**2) / 2
        z = ahead
        factor, step, decrement = _direction(z, scale, at)
    if not decrement <= tolerance:
        raise FloatingPointError(f"no mode of θ after {steps} Newton steps at τ = {tau}")
    joint = float(at.value - np.sum(z**2) / 2)
    half_log_det = float(np.sum(np.log(np.diagonal(factor))))
    return Mode(z, at, factor, joint - half_log_det, joint, steps)


def double(tree):
    """Every floating array of `tree` in float64; call it under `jax.enable_x64(True)`."""

    def one(x):
        x = np.asarray(x)
        return x.astype(float) if np.issubdtype(x.dtype, np.floating) else x

    # `jnp.asarray` would compile a program for each shape.
    return jax.device_put(jax.tree.map(one, tree))


def prepare(
    observations: Observations, bias: Float[Array, " class"]
) -> tuple[Observations, Float[Array, " class"]]:
    """In float64; features too, unless there are so many that they are better left as they are.

    Fewer rows than a block get others beside them that have no features and weigh nothing.
    """
    rows = len(observations.weight)
    if rows < BLOCK:
        more = -rows % ROOM
        observations = jax.tree.map(
            lambda x: np.pad(np.asarray(x), ((0, more),) + ((0, 0),) * (x.ndim - 1)), observations
        )
    products = rows * sum(sizes(observations)) ** 2 * len(bias) ** 2
    features = observations.features
    observations, bias = double((observations._replace(features=()), bias))
    features = (double if products < SMALL else jax.device_put)(features)
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


def columns(tau: Float[Array | np.ndarray, " modality"], sizes: tuple[int, ...]) -> Any:
    """The prior deviation [total] of the weights on every column of the concatenated features."""
    return (tau[:, None] * _deviations(sizes)).sum(axis=0)


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


def expand(
    u: Float[Array | np.ndarray, "p free"], observations: Observations, bias: Float[Array, " class"]
) -> Expansion:
    """The log-likelihood around u, in one pass over the rows and in closed form."""
    return _whole(_sums(u, observations, bias))


def expansion(
    u: Float[np.ndarray, "p free"], observations: Observations, bias: Float[Array, " class"]
) -> Expansion:
    """`expand` in NumPy's arrays, compiled once for rows of one shape."""
    return _whole(jax.device_get(_compiled(u, observations, bias)))


def gains(
    u: Float[Array | np.ndarray, "draw p free"],
    centre: Float[Array | np.ndarray, "p free"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[np.ndarray, " draw"]:
    """log P(y | u) − log P(y | centre) of every draw, in nats.

    Differences are taken row by row and then summed, so that a sum over many rows keeps its digits.
    """
    change = np.asarray(u) - np.asarray(centre)
    change = np.pad(change, ((0, -len(change) % CHUNK), (0, 0), (0, 0)))
    chunks = np.split(change, len(change) // CHUNK)
    found = [_gains(chunk, centre, observations, bias) for chunk in chunks]
    return np.concatenate(jax.device_get(found))[: len(u)]


def mean(
    mode: Mode,
    tau: Float[Array | np.ndarray, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[np.ndarray, "p free"]:
    """The posterior mean of z given τ, to the order that skewness moves it from the mode.

    E z ≈ ẑ − A⁻¹g, with A the precision and g the gradient of log|A|/2 at the mode (the first-order
    term of Tierney and Kadane 1986, "Accurate approximations for posterior moments").
    """
    scale = columns(np.asarray(tau, float), sizes(observations))[:, None]
    slope = _half_slope(scale * mode.z, covariance(mode, scale), observations, bias)
    return moved(mode, scale, np.asarray(slope))


def covariance(mode: Mode, scale: Float[np.ndarray, "p 1"]) -> Float[np.ndarray, "free free p p"]:
    """Of u = scale z under the Gaussian at the mode, in blocks for pairs of basis vectors."""
    inverse = cho_solve((mode.cholesky, True), np.eye(mode.z.size))
    blocks = inverse.reshape(*mode.z.shape, *mode.z.shape).transpose(1, 3, 0, 2)
    return blocks * (scale @ scale.T)


def half_log_det_slope(
    u: Float[Array, "p free"],
    covariance: Float[Array, "free free p p"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, "p free"]:
    """∂/∂u of log|A|/2, a sum over rows."""
    return over_rows(lambda block: _half_log_det_slope(u, covariance, block, bias), observations)


def moved(
    mode: Mode, scale: Float[np.ndarray, "p 1"], slope: Float[np.ndarray, "p free"]
) -> Float[np.ndarray, "p free"]:
    """`mean`, from the slope of log|A|/2 by u."""
    step = cho_solve((mode.cholesky, True), (scale * slope).ravel())
    return mode.z - step.reshape(mode.z.shape)


def _direction(z, scale, likelihood: Expansion):
    """The precision's Cholesky factor, Newton's step, and twice the rise that it promises."""
    slope = scale * likelihood.slope - z
    each = np.repeat(scale, z.shape[1])
    precision = np.eye(z.size) + each[:, None] * likelihood.curvature * each[None, :]
    try:
        factor = cholesky(precision, lower=True, check_finite=False)
    except LinAlgError:
        return precision, z, np.nan
    step = cho_solve((factor, True), slope.ravel(), check_finite=False).reshape(z.shape)
    return factor, step, np.sum(slope * step)


def _long_enough(length, there, value, decrement) -> bool:
    """Whether a step of this `length` is taken: it rises enough (Armijo), or nothing is left.

    Not by the difference of the two values: near the mode what is asked for is less than their
    rounding, and a step that leaves the value as it is must do.
    """
    return bool(length <= 1e-9 or there >= value + 1e-4 * length * decrement)


@cache
def _deviations(sizes: tuple[int, ...]) -> Float[np.ndarray, "modality total"]:
    return np.asarray(block_diag(*(relative(p) for p in sizes)))


def _double(x):
    return x.astype(jnp.float64)


def _design(block):
    return jnp.concatenate(block.features, axis=1)


def _energy(u, block, bias):
    return bias[None, :] + _double(_design(block)) @ (u @ zero_sum_basis(len(bias)).T)


def _sums(u, observations, bias):
    return over_rows(lambda block: _expand(u, block, bias), observations)


def _whole(sums) -> Expansion:
    """The expansion, from its curvature's blocks for pairs of basis vectors."""
    value, slope, blocks = sums
    whole = blocks[_places(slope.shape[1])].transpose(2, 0, 3, 1)
    return Expansion(value, slope, whole.reshape(slope.size, slope.size))


def _places(free: int) -> np.ndarray:
    """Where each pair of basis vectors stands in the upper triangle."""
    place = np.zeros((free, free), int)
    first, second = np.triu_indices(free)
    place[first, second] = place[second, first] = np.arange(len(first))
    return place


_compiled = jax.jit(_sums)


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

    pairs = lax.map(pair, (jnp.asarray(first), jnp.asarray(second)))
    variance = basis @ pairs[_places(free)].transpose(2, 0, 1) @ basis.T
    prob = jax.nn.softmax(_energy(u, block, bias), axis=1)
    own = jnp.diagonal(variance, axis1=1, axis2=2) - 2 * jnp.einsum("nkl,nl->nk", variance, prob)
    slope = prob * (own - jnp.sum(prob * own, axis=1, keepdims=True)) / 2
    return _double(design).T @ (_double(block.weight)[:, None] * slope @ basis)


_half_slope = jax.jit(half_log_det_slope)


@jax.jit
def _gains(change, centre, observations, bias):
    energy = change @ zero_sum_basis(len(bias)).T
    # Only differences between classes count: the last class's product is spared.
    turned = (energy[..., :-1] - energy[..., -1:]).transpose(1, 2, 0)

    def term(block):
        design, at = _design(block), jax.nn.log_softmax(_energy(centre, block, bias), axis=1)
        flat = turned.reshape(design.shape[1], -1).astype(design.dtype)
        shift = jnp.matmul(design, flat, precision="highest")
        shift = shift.reshape(len(design), *turned.shape[1:])
        shift = jnp.pad(shift, ((0, 0), (0, 1), (0, 0)))
        log_z = jax.nn.logsumexp(at.astype(shift.dtype)[:, :, None] + shift, axis=1)
        own = jnp.sum(block.onehot.astype(shift.dtype)[:, :, None] * shift, axis=1)
        return _double(block.weight) @ _double(own - log_z)

    return over_rows(term, observations)
