"""θ's likelihood by noisy sums: gradient and curvature at public points, each nearer to the mode.

Each round releases, at the point u that the rounds before led to,

    slope      Σ F_n ⊗ Bᵀ(y_n − p_n)                       no unit adds more than √2 R
    curvature  Σ F_n F_nᵀ ⊗ Bᵀ(diag(p_n) − p_n p_nᵀ)B      …            than R²/2, off-diagonals √2
    weight     Σ (1 − |p_n|²)/(K − 1)                      …            than 1/K

where B is the zero-sum basis and R the largest norm of a record's features, known because they are
clipped: |F ⊗ r| = |F||r|, |y − p| ≤ √2, and |diag(p) − ppᵀ| ≤ 1/2. No gradient is clipped, so that
the likelihood of the clipped features is the one whose gradient this is. The sums are one vector
with one noise; what follows from it costs nothing more.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fusionjax.posterior.newton import zero_sum_basis
from fusionjax.posterior.types import Observations, check, relative
from fusionjax.privacy import noise
from fusionjax.privacy.guarantee import PrivacyError, Units

PARTS = (0.55, 0.35, 0.10)
"""What of a round's budget slope, curvature and weight get."""
ROUNDS = (0.10, 0.15, 0.25, 0.50)
"""What of the budget each round gets: the last is the one whose noise the posterior bears."""
POINTS = 64
CORRECTIONS = 16
LOOSE = 0.5
"""How far a priori the curvature is from that of the design, as part of its diagonal."""


class Bounded(NamedTuple):
    """Observations with clipped features; `record` is the record of each row, `units` of records.

    `radius` is R, the largest norm of the features of a record that has every modality.
    """

    observations: Observations
    record: Int[np.ndarray, " row"]
    units: Units
    most: int
    radius: float


class Expansion(NamedTuple):
    """The log-likelihood around u = `at` with what is known of its noise.

    The noise on `slope` has deviation `slope_deviation`, entries of `curvature` have the posterior
    variance `variance`. `design` are invented features with the second moments that the first
    round released.
    """

    at: Float[np.ndarray, "p free"]
    slope: Float[np.ndarray, "p free"]
    curvature: Float[np.ndarray, "d d"]
    slope_deviation: float
    variance: Float[np.ndarray, "d d"]
    design: Float[np.ndarray, "point p"]


def clip(
    features: tuple[Float[Array | np.ndarray, "row _"], ...], limits: tuple[float, ...]
) -> tuple[Float[np.ndarray, "row _"], ...]:
    """Features with all of a modality but its constant shortened to norm `limits[i]` at most."""
    found = []
    for feature, limit in zip(features, limits, strict=True):
        f = np.asarray(feature, np.float64)
        norm = np.linalg.norm(f[:, 1:], axis=1, keepdims=True)
        found.append(
            np.concatenate([f[:, :1], f[:, 1:] * np.minimum(1, limit / np.maximum(norm, 1e-12))], 1)
        )
    return tuple(found)


def bound(
    observations: Observations,
    record: Int[np.ndarray, " row"],
    units: Units,
    limits: tuple[float, ...],
    most: int = 1,
) -> Bounded:
    """Clip features and check what the sensitivities rest on.

    Raises ValueError for features that are not finite, and PrivacyError where a record's rows weigh
    more than 1 together or the constant is not 1.
    """
    check(observations)
    weight = np.bincount(record, np.asarray(observations.weight, np.float64))
    if np.max(weight, initial=0) > 1 + 1e-6:
        raise PrivacyError("weight", "sums to more than 1 for a record", "Let a record count once.")
    for i, feature in enumerate(observations.features):
        if np.any(np.asarray(feature)[:, 0] != np.asarray(observations.presence)[:, i]):
            raise PrivacyError(f"features of modality {i}", "do not begin with 1", "Put it first.")
    clipped = observations._replace(features=clip(observations.features, limits))
    radius = float(np.sqrt(sum(1 + limit**2 for limit in limits)))
    return Bounded(clipped, record, units, most, radius)


def contributions(
    u: Float[np.ndarray, "p free"], bounded: Bounded, bias: Float[Array | np.ndarray, " class"]
) -> Float[np.ndarray, "unit m"]:
    """Every unit's part of slope, curvature and weight, scaled to a norm of 1 at most."""
    observations, basis = bounded.observations, zero_sum_basis(len(bias))
    design = np.concatenate([np.asarray(f) for f in observations.features], axis=1)
    energy = np.asarray(bias, np.float64) + design @ u @ basis.T
    prob = np.exp(energy - np.max(energy, axis=1, keepdims=True))
    prob /= prob.sum(axis=1, keepdims=True)
    residual = (np.asarray(observations.onehot) - prob) @ basis
    spread = np.einsum("kf,nk,kg->nfg", basis, prob, basis, optimize=True)
    centre = prob @ basis
    spread -= centre[:, :, None] * centre[:, None, :]
    slope = np.einsum("np,nf->npf", design, residual).reshape(len(design), -1)
    whole = np.einsum("np,nq,nfg->npfqg", design, design, spread, optimize=True)
    first, second = np.triu_indices(u.size)
    curvature = whole.reshape(len(design), u.size, u.size)[:, first, second]
    weight = (1 - (prob**2).sum(axis=1, keepdims=True)) / basis.shape[1]
    limits = _limits(bounded.radius, len(bias))
    twice = np.where(first == second, 1, np.sqrt(2))
    parts = [slope / limits[0], curvature * twice[None, :] / limits[1], weight / limits[2]]
    rows = np.concatenate([np.sqrt(a) * x for a, x in zip(PARTS, parts, strict=True)], axis=1)
    rows *= np.asarray(observations.weight, np.float64)[:, None]
    unit = bounded.units.of[bounded.record]
    total = np.zeros((bounded.units.count, rows.shape[1]))
    np.add.at(total, unit[unit >= 0], rows[unit >= 0])
    return total / bounded.most


def expand(
    u: Float[np.ndarray, "p free"],
    bounded: Bounded,
    bias: Float[Array | np.ndarray, " class"],
    multiplier: float,
    source: Random,
    design: Float[np.ndarray, "point p"] | None = None,
) -> Expansion:
    """One round: release the sums at u, and put the curvature together with what is known of it.

    An entry's prior is Gaussian: around weight × identity in the first round, as features of a
    variance about 1 would give, and then around weight × what `design` would give at u.
    """
    released = noise.noisy_sum(contributions(u, bounded, bias), 1.0, multiplier, source)
    limits = _limits(bounded.radius, len(bias))
    scale = [limit * bounded.most / np.sqrt(a) for limit, a in zip(limits, PARTS, strict=True)]
    slope, upper, weight = np.split(released.value, [u.size, len(released.value) - 1])
    first, second = np.triu_indices(u.size)
    noisy = np.zeros((u.size, u.size))
    noisy[first, second] = upper * scale[1] / np.where(first == second, 1, np.sqrt(2))
    noisy = noisy + np.triu(noisy, 1).T
    # Never 0: two deviations of the noise, and what a forecast with p(1 − p) = 0.01 would leave.
    least = max(2 * released.deviation * scale[2], 0.01 * bounded.units.count)
    prior = max(float(weight[0]) * scale[2], least) * _shape(u, design, bias)
    loose = LOOSE**2 * np.outer(np.diag(prior), np.diag(prior))
    off = (released.deviation * scale[1]) ** 2 * np.where(np.eye(u.size, dtype=bool), 1, 0.5)
    trust = loose / (loose + off)
    curvature = _positive(trust * noisy + (1 - trust) * prior)
    own = _design(curvature / max(float(weight[0]) * scale[2], least), u.shape)
    return Expansion(
        u,
        slope.reshape(u.shape) * scale[0],
        curvature,
        released.deviation * scale[0],
        trust * off,
        own if design is None else design,
    )


def covariance(apart: Float[np.ndarray, " d"], at: Expansion) -> Float[np.ndarray, "d d"]:
    """Of slope − curvature·apart where θ is `apart` from u: of the score, and of both noises.

    The noise E of the curvature adds Cov(E apart): a symmetric matrix of independent entries.
    """
    spread = at.variance * np.outer(apart, apart)
    np.fill_diagonal(spread, at.variance @ apart**2)
    return at.curvature + spread + at.slope_deviation**2 * np.eye(len(apart))


def centre(
    seen: Sequence[Expansion], bias: Float[Array | np.ndarray, " class"], sizes: tuple[int, ...]
) -> Float[np.ndarray, "p free"]:
    """Where all rounds so far put θ, with every τ at 1: where the next round looks.

    Each round's step is Newton's, made as much longer as the curvature falls on the way. A
    direction of which one round knows nothing is held by those before it. This only steers; that
    rounds share their records matters to `posterior` alone.
    """
    shape, prior = seen[0].at.shape, np.concatenate([1 / relative(p) ** 2 for p in sizes])
    u, less = np.zeros(seen[0].at.size), np.ones(len(seen))
    for _ in range(CORRECTIONS):
        precision, linear = np.diag(np.repeat(prior, shape[1])), np.zeros(len(u))
        for i, at in enumerate(seen):
            curvature, where = less[i] * at.curvature, at.at.ravel()
            gain = np.linalg.solve(covariance(less[i] * (u - where), at), curvature).T
            precision += gain @ curvature
            linear += gain @ (at.slope.ravel() + curvature @ where)
        u = np.linalg.solve(precision, linear)
        now = [
            float(lessened(u.reshape(shape), at.at, at.design, np.asarray(bias))[0]) for at in seen
        ]
        # The geometric mean: a longer step lessens the curvature, which would lengthen the step.
        less = np.sqrt(less * np.maximum(now, 1e-3))
    return u.reshape(shape)


@jax.jit
def lessened(
    u: Float[Array | np.ndarray, "p free"],
    at: Float[Array | np.ndarray, "p free"],
    design: Float[Array | np.ndarray, "point p"],
    bias: Float[Array | np.ndarray, " class"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The curvature on the way from `at` to u, and its weight at u, over those at `at`.

    With δ the change of the energies it is Σ δ·(p(u) − p(at)) / Σ δᵀ(diag(p) − ppᵀ)δ, since the
    curvature is the derivative of p: what Newton's step leaves out. It is that of `design`, and so
    costs no look at the records.
    """
    basis = jnp.asarray(zero_sum_basis(bias.shape[0]), jnp.float32)
    energy = bias[None, :] + design @ at @ basis.T
    change = design @ (u - at) @ basis.T
    # A change of 0 has no direction: the ratio is then 1.
    change = change + 1e-4 * basis[:, 0][None, :]
    before, after = jax.nn.softmax(energy, axis=1), jax.nn.softmax(energy + change, axis=1)
    spread = jnp.sum(before * change**2, axis=1) - jnp.sum(before * change, axis=1) ** 2
    weight = jnp.sum(1 - jnp.sum(after**2, axis=1)) / jnp.sum(1 - jnp.sum(before**2, axis=1))
    return jnp.sum(change * (after - before)) / jnp.sum(spread), weight


def rounds(
    bounded: Bounded,
    bias: Float[Array | np.ndarray, " class"],
    multiplier: float,
    source: Random,
    shares: tuple[float, ...] = ROUNDS,
) -> Expansion:
    """Expansions from u = 0 on, each where the one before led; the last.

    `multiplier` is what one release of the whole budget would have; `shares` sum to 1.
    """
    sizes = tuple(f.shape[1] for f in bounded.observations.features)
    u, seen = np.zeros((sum(sizes), len(bias) - 1)), []
    for share in shares:
        design = seen[0].design if seen else None
        seen.append(expand(u, bounded, bias, multiplier / np.sqrt(share), source, design))
        u = centre(seen, bias, sizes)
    return seen[-1]


def _limits(radius: float, classes: int) -> tuple[float, float, float]:
    """The most that a record adds to slope, curvature and weight, in norm."""
    return np.sqrt(2) * radius, radius**2 / 2, 1 / classes


def _shape(
    u: Float[np.ndarray, "p free"],
    design: Float[np.ndarray, "point p"] | None,
    bias: Float[Array | np.ndarray, " class"],
) -> Float[np.ndarray, "d d"]:
    """The curvature at u over its weight that invented features have; without any, the identity."""
    if design is None:
        return np.eye(u.size)
    basis = zero_sum_basis(len(bias))
    prob = np.array(jax.nn.softmax(np.asarray(bias)[None, :] + design @ u @ basis.T, axis=1))
    centre = prob @ basis
    spread = np.einsum("kf,nk,kg->nfg", basis, prob, basis) - centre[:, :, None] * centre[:, None]
    whole = np.einsum("np,nq,nfg->pfqg", design, design, spread, optimize=True)
    return whole.reshape(u.size, u.size) / np.einsum("nff->", spread) * basis.shape[1]


def _design(
    moment: Float[np.ndarray, "d d"], shape: tuple[int, int]
) -> Float[np.ndarray, "point p"]:
    """Gaussian features with these second moments, the mean over the class directions' blocks."""
    blocks = np.einsum("pfqf->pq", moment.reshape(*shape, *shape)) / shape[1]
    values, vectors = np.linalg.eigh(blocks)
    points = np.random.default_rng(0).normal(size=(POINTS, shape[0]))
    return points @ (vectors * np.sqrt(np.maximum(values, 1e-3))).T


def _positive(curvature: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The nearest matrix that is not negative definite in any direction."""
    values, vectors = np.linalg.eigh(curvature)
    return (vectors * np.maximum(values, 0)) @ vectors.T
