"""The modalities' scales τ, integrated numerically with θ integrated in closed form.

P(τ | y) ∝ P(y | τ) HalfNormal(τ), with P(y | τ) the evidence under the surrogate likelihood. Joint
maximisation over (θ, τ) is unbounded, and the maximum of the evidence alone is another posterior,
so neither is used: τ is drawn by importance resampling. A half-normal is a normal folded at 0, so
the proposal is a Student t folded at 0: it fits a scale that the data determine and one that they
leave near 0.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float
from scipy import stats
from scipy.linalg import solve_triangular

from fusionjax.keys import generator, split
from fusionjax.posterior import newton, psis
from fusionjax.posterior import surrogate as gaussian
from fusionjax.posterior.surrogate import Surrogate
from fusionjax.posterior.types import Observations
from fusionjax.types import Key

ANCHORS = 6
MOST_CLIMBS = 100
ROUNDS = 4
LEAST_POINTS, MOST_POINTS = 256, 4096
OPERATIONS = 4e9
DEGREES = 5.0
LEAST_TAU = 1e-6
MOST_TURNED = 10
"""Scales that are proposed together; more are apart, since all their signs are summed over."""
TOLERANCE = 1e-6
"""Of the modes of θ on the way to the anchor; see `newton.solve`."""

Anchor = tuple[Float[np.ndarray, " modality"], Surrogate, int]
Expand = Callable[[np.ndarray, np.ndarray | None], tuple[Surrogate, int]]


class Scales(NamedTuple):
    """Points of τ with their log importance weights, and what they came from.

    P(log τ | y) is highest at `mode`, and `root` is an inverse root of its curvature there;
    `evaluations` counts passes over the rows.
    """

    tau: Float[np.ndarray, "point modality"]
    log_weight: Float[np.ndarray, " point"]
    mode: Float[np.ndarray, " modality"]
    root: Float[np.ndarray, "modality modality"]
    surrogate: Surrogate
    evaluations: int


def carried(scales: Scales) -> float:
    """How many of the points carry the weight."""
    return psis.effective(scales.log_weight)


def describe(scales: Scales) -> str:
    """For a certificate's notes."""
    return f"τ integrated over {len(scales.tau)} points, {carried(scales):.0f} effective"


class _Proposal(NamedTuple):
    """A folded Student t over τ: its centre, and a root of its spread; diagonal for many scales."""

    centre: Float[np.ndarray, " modality"]
    root: Float[np.ndarray, "modality modality"]


def integrate(key: Key, observations: Observations, bias: Float[Array, " class"]) -> Scales:
    """Weighted points of τ. Where few of them carry the weight, the proposal is fitted to them.

    Takes arrays from `newton.prepare`, under `jax.enable_x64(True)`.
    """
    return integrate_around(key, anchor(observations, bias), newton.sizes(observations))


def integrate_around(key: Key, anchored: Anchor, sizes: tuple[int, ...]) -> Scales:
    """`integrate` from the anchor on, which needs the records no more."""
    tau, surrogate, evaluations = anchored
    root = _spread(tau, surrogate, sizes)
    proposal = _proposal(tau, tau[:, None] * root)
    for round_key in split(key, ROUNDS):
        points, log_weight = _weigh(round_key, proposal, surrogate, sizes)
        if psis.effective(log_weight) > len(points) / 2:
            break
        proposal = _refit(points, log_weight, proposal)
    return Scales(points, log_weight, tau, root, surrogate, evaluations)


def anchor(observations: Observations, bias: Float[Array, " class"]) -> Anchor:
    """The mode of P(log τ | y) and the surrogate around θ's mode there, each found by the other.

    Takes arrays from `newton.prepare`, under `jax.enable_x64(True)`; the last is how often the rows
    were passed over.
    """

    def expand(tau: np.ndarray, start: np.ndarray | None) -> tuple[Surrogate, int]:
        mode = newton.solve(tau, observations, bias, start, tolerance=TOLERANCE)
        return gaussian.around(mode, tau, observations, bias), mode.steps + 1

    return anchor_by(expand, newton.sizes(observations))


def anchor_by(expand: Expand, sizes: tuple[int, ...]) -> Anchor:
    """`anchor`, with the surrogate given τ, and the passes that it took, from `expand`.

    `expand` is told where to start from: None, or the mean of z under the last surrogate.
    """
    tau, start, evaluations = 1 / np.sqrt(np.array(sizes, float)), None, 0
    for _ in range(ANCHORS):
        surrogate, passes = expand(tau, start)
        evaluations += passes
        target, start = _climb(tau, surrogate, sizes)
        if np.max(np.abs(np.log(target / tau))) < 0.1:
            break
        tau = target
    return tau, surrogate, evaluations


def _climb(tau, surrogate, sizes):
    """The mode of P(log τ | y) under the surrogate from `tau` on, and the mean of z there."""
    for _ in range(MOST_CLIMBS):
        before, (_, tau) = tau, _slope(tau, surrogate, sizes)
        if np.max(np.abs(np.log(tau / before))) <= 0.01:
            break
    return tau, gaussian.given(tau, surrogate, sizes).mean


def _slope(tau, surrogate, sizes):
    """∂ log P(log τ | y)/∂ log τ_i = E|z_i|² − d_i + 1 − τ_i², and the τ where it vanishes next.

    With E u and the number of weights that the data determine, Σ(1 − variance of z), held, it is a
    quadratic in τ_i², whose root that is (MacKay 1992, "Bayesian interpolation").
    """
    at = gaussian.given(tau, surrogate, sizes)
    root = solve_triangular(at.cholesky, np.eye(at.mean.size), lower=True, check_finite=False)
    starts = np.cumsum((0, *sizes[:-1]))

    def by_modality(x):
        return np.add.reduceat(np.sum(x, axis=1), starts)

    known = by_modality(1 - np.sum(root**2, axis=0).reshape(at.mean.shape))
    squares = by_modality(at.mean**2)
    target = (1 - known + np.sqrt((1 - known) ** 2 + 4 * tau**2 * squares)) / 2
    return squares - known + 1 - tau**2, np.sqrt(np.maximum(target, LEAST_TAU**2))


def _spread(tau, surrogate, sizes) -> Float[np.ndarray, "modality modality"]:
    """A root of log τ's covariance by the curvature at its mode, in no direction wider than 1."""
    step = 0.1
    ahead = np.exp(step * np.concatenate([np.eye(len(tau)), -np.eye(len(tau))])) * tau
    slopes = np.array([_slope(one, surrogate, sizes)[0] for one in ahead])
    curvature = (slopes[len(tau) :] - slopes[: len(tau)]) / (2 * step)
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return vectors / np.sqrt(np.maximum(values, 1.0))[None, :]


def _weigh(key, proposal: _Proposal, surrogate, sizes) -> tuple[np.ndarray, np.ndarray]:
    # As many as there is time for: each costs a Cholesky factor.
    count = int(np.clip(OPERATIONS / surrogate.centre.size**3, LEAST_POINTS, MOST_POINTS))
    standard = stats.t.ppf(_lattice(key, count, len(proposal.centre)), DEGREES)
    tau = np.maximum(np.abs(proposal.centre + standard @ proposal.root.T), LEAST_TAU)
    log_evidence = gaussian.log_evidence(tau, surrogate, sizes)
    prior = np.sum(stats.halfnorm.logpdf(tau), axis=1)
    return tau, log_evidence + prior - _log_density(tau, proposal)


def _lattice(key: Key, points: int, dimensions: int) -> Float[np.ndarray, "point dimension"]:
    """Points that fill the unit cube evenly: irrational steps from a random start.

    The steps are powers of 1/φ with φ^(dimensions + 1) = φ + 1: the golden ratio's for 1 dimension.
    """
    phi = 2.0
    for _ in range(40):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    start = generator(key).random(dimensions)
    lattice = start + np.arange(points)[:, None] * phi ** -np.arange(1.0, dimensions + 1)
    return np.clip(lattice % 1.0, 1e-6, 1 - 1e-6)


def _proposal(centre, root) -> _Proposal:
    many = len(centre) > MOST_TURNED
    return _Proposal(centre, np.diag(np.linalg.norm(root, axis=1)) if many else root)


def _log_density(tau, proposal: _Proposal) -> Float[np.ndarray, " point"]:
    """Of the proposal: what is folded onto τ is the sum over all its signs, one at a time.

    Scales that are proposed apart are folded apart.
    """
    unfold, density = np.linalg.inv(proposal.root).T, np.full(len(tau), -np.inf)
    if len(proposal.centre) > MOST_TURNED:
        ahead, back = (
            stats.t.logpdf((sign * tau - proposal.centre) @ unfold, DEGREES) for sign in (1, -1)
        )
        density = np.sum(np.logaddexp(ahead, back), axis=1)
    else:
        for sign in product((1.0, -1.0), repeat=tau.shape[1]):
            standard = (np.array(sign) * tau - proposal.centre) @ unfold
            density = np.logaddexp(density, np.sum(stats.t.logpdf(standard, DEGREES), axis=1))
    return density - np.linalg.slogdet(proposal.root)[1]


def _refit(tau, log_weight, proposal: _Proposal) -> _Proposal:
    weight = psis.normalised(log_weight)
    centre = weight @ tau
    apart = tau - centre
    spread = apart.T @ (weight[:, None] * apart) + 0.1 * proposal.root @ proposal.root.T
    return _proposal(centre, np.linalg.cholesky(spread))
