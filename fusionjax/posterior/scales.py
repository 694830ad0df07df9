"""The modalities' scales τ, integrated numerically with θ integrated by Laplace.

P(τ | y) ∝ P(y | τ) HalfNormal(τ), with P(y | τ) the Laplace evidence. Joint maximisation over
(θ, τ) is unbounded, and the maximum of the evidence alone is another posterior, so neither is used:
τ is drawn by importance sampling. A half-normal is a normal folded at 0, so the proposal is a
Student t folded at 0: it fits a scale that the data determine and one that they leave near 0.
"""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from scipy import stats
from scipy.special import logsumexp

from fusionjax.posterior import newton
from fusionjax.posterior.certificate import effective
from fusionjax.posterior.types import Observations
from fusionjax.types import Key

ROUNDS = 3
DEGREES = 5.0
LEAST_TAU = 1e-6


class Scales(NamedTuple):
    """Points of τ with their log importance weights and, at each, the mode u = τz of θ."""

    tau: Float[np.ndarray, "point modality"]
    log_weight: Float[np.ndarray, " point"]
    u: list[Float[np.ndarray, "p free"]]
    evaluations: int


class _Proposal(NamedTuple):
    """A folded Student t over τ: centre and root of its spread; and u at a mode near the centre."""

    centre: Float[np.ndarray, " modality"]
    root: Float[np.ndarray, "modality modality"]
    u: Float[np.ndarray, "p free"]
    evaluations: int


class _Slope(NamedTuple):
    """∂ log P(log τ | y)/∂ log τ, where it would vanish next, the mode, and what that cost."""

    value: Float[np.ndarray, " modality"]
    target: Float[np.ndarray, " modality"]
    u: Float[np.ndarray, "p free"]
    evaluations: int


def integrate(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Scales:
    """Weighted points of τ. Where few of them carry the weight, the proposal is fitted to them.

    Takes float64 arrays, under `jax.enable_x64(True)`.
    """
    proposal = _locate(observations, bias)
    evaluations = proposal.evaluations
    for round_key in jax.random.split(key, ROUNDS):
        scales = _weigh(round_key, proposal, observations, bias)
        evaluations += scales.evaluations
        if effective(scales.log_weight) > len(scales.tau) / 3:
            break
        proposal = _refit(scales, proposal)
    return scales._replace(evaluations=evaluations)


def resample(key: Key, scales: Scales, draws: int) -> Int[np.ndarray, " point"]:
    """How many of `draws` equally weighted draws stand on each point (systematic resampling)."""
    ticks = (float(jax.random.uniform(key)) + np.arange(draws)) / draws
    ends = np.cumsum(_normalised(scales.log_weight))
    chosen = np.minimum(np.searchsorted(ends, ticks), len(ends) - 1)
    return np.bincount(chosen, minlength=len(ends))


def mode(
    tau: Float[np.ndarray, " modality"],
    u: Float[np.ndarray, "p free"],
    observations: Observations,
    bias: Float[Array, " class"],
    tolerance: float = 1e-6,
) -> newton.Mode:
    """The mode of z given τ, sought from the weights u."""
    return newton.solve(tau, observations, bias, u / _columns(tau, observations), tolerance)


def _locate(observations, bias) -> _Proposal:
    """The mode of P(log τ | y) by a fixed point, and the curvature there by differences."""
    sizes = newton.sizes(observations)
    s = -np.log(sizes) / 2
    slopes = [_slope(s, np.zeros((sum(sizes), len(bias) - 1)), observations, bias)]
    while np.max(np.abs(slopes[-1].target - s)) > 0.1 and len(slopes) < 10:
        s = slopes[-1].target
        slopes.append(_slope(s, slopes[-1].u, observations, bias))
    here, step = slopes[-1], 0.1
    ahead = [_slope(s + row, here.u, observations, bias) for row in step * np.eye(len(s))]
    root = _root(np.array([(here.value - other.value) / step for other in ahead]))
    tau = np.exp(s + np.clip(root @ root.T @ here.value, -1.0, 1.0))
    evaluations = sum(slope.evaluations for slope in slopes + ahead)
    return _Proposal(tau, tau[:, None] * root, here.u, evaluations)


def _slope(s, u, observations, bias) -> _Slope:
    """At s = log τ: |z_i|² − γ_i of the evidence, and 1 − τ_i² of log τ's half-normal prior.

    With τ_i z_i and γ_i held it is a quadratic in τ_i², whose root is the next s (MacKay's update).
    """
    tau = np.exp(s)
    at = mode(tau, u, observations, bias, tolerance=1e-4)
    squares, known = map(np.asarray, _evidence_slope(at, jnp.asarray(tau), observations, bias))
    root = (1 - known + np.sqrt((1 - known) ** 2 + 4 * tau**2 * squares)) / 2
    target = np.log(np.maximum(root, LEAST_TAU**2)) / 2
    return _Slope(squares - known + 1 - tau**2, target, _weights(at, tau, observations), at.steps)


_evidence_slope = jax.jit(newton.evidence_slope)


def _root(curvature: Float[np.ndarray, "modality modality"]) -> np.ndarray:
    """A root of the inverse of the symmetric part, in no direction wider than 1."""
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return vectors / np.sqrt(np.maximum(values, 1.0))[None, :]


def _weigh(key, proposal: _Proposal, observations, bias) -> Scales:
    points = 64 if proposal.u.size <= 500 else 32  # each costs a few Cholesky factors
    standard = stats.t.ppf(_lattice(key, points, len(proposal.centre)), DEGREES)
    tau = np.maximum(np.abs(proposal.centre + standard @ proposal.root.T), LEAST_TAU)
    modes = [mode(point, proposal.u, observations, bias) for point in tau]
    log_evidence = np.array([at.log_evidence for at in modes])
    log_weight = log_evidence - np.sum(tau**2, axis=1) / 2 - _log_density(tau, proposal)
    u = [_weights(at, point, observations) for at, point in zip(modes, tau, strict=True)]
    return Scales(tau, log_weight, u, sum(at.steps for at in modes))


def _lattice(key: Key, points: int, dimensions: int) -> Float[np.ndarray, "point dimension"]:
    """Points that fill the unit cube evenly: irrational steps from a random start.

    The steps are powers of 1/φ with φ^(dimensions + 1) = φ + 1: the golden ratio's for 1 dimension.
    """
    phi = 2.0
    for _ in range(40):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    start = np.asarray(jax.random.uniform(key, (dimensions,)))
    lattice = start + np.arange(points)[:, None] * phi ** -np.arange(1.0, dimensions + 1)
    return np.clip(lattice % 1.0, 1e-6, 1 - 1e-6)


def _log_density(tau, proposal: _Proposal) -> Float[np.ndarray, " point"]:
    """Of the proposal, less a constant: what is folded onto τ is the sum over all its signs."""
    signs = np.array(list(product((1.0, -1.0), repeat=tau.shape[1])))
    apart = signs[:, None, :] * tau[None, :, :] - proposal.centre
    standard = apart @ np.linalg.inv(proposal.root).T
    return np.asarray(logsumexp(np.sum(stats.t.logpdf(standard, DEGREES), axis=2), axis=0))


def _refit(scales: Scales, proposal: _Proposal) -> _Proposal:
    weight = _normalised(scales.log_weight)
    centre = weight @ scales.tau
    apart = scales.tau - centre
    spread = apart.T @ (weight[:, None] * apart) + 0.1 * proposal.root @ proposal.root.T
    return _Proposal(centre, np.linalg.cholesky(spread), scales.u[int(np.argmax(weight))], 0)


def _normalised(log_weight: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    weight = np.exp(log_weight - np.max(log_weight))
    return weight / np.sum(weight)


def _weights(at: newton.Mode, tau, observations) -> Float[np.ndarray, "p free"]:
    return np.asarray(at.z) * _columns(tau, observations)


def _columns(tau, observations) -> Float[np.ndarray, "p 1"]:
    return np.asarray(newton.columns(jnp.asarray(tau), observations.features))[:, None]
