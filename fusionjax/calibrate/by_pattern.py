"""Calibration of a fusion's evidence by presence pattern, in the one form that keeps its ledger.

    log P(y | X_S) = b_y + s_S Σ_{i∈S} e_{i,y} + Σ_{i∈S} c_{i,y} − log Z, averaged over draws of θ

    log s_S = μ + δ_S,  μ ~ N(0, 0.5²),  δ_S ~ N(0, 0.1²),  c_i ~ N(0, 0.3²) zero-sum over classes

The evidence of modality i becomes s_S e_i + c_i, so it still adds up, the prior is left alone and a
patient of whom nothing is known still gets it. The calibrators with more freedom (Dirichlet,
isotonic and others) break that sum; they are for probabilities whose evidence is not known.

Every validation record stands in a row for each pattern S that it can show, its own at half weight
and those made by hiding the rest at the other half (`presence.augment` says why), so that each
pattern has records. Five candidates leave some of μ, δ, c at 0, "none" all; the least
cross-validated NLL chooses, each left-out fold by one Newton step from the optimum of all.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Shaped

from fusionjax.calibrate.shown import Patterns, Shown, index
from fusionjax.calibrate.stratified import folds
from fusionjax.posterior.newton import zero_sum_basis

PRIOR_SD = {"mu": 0.5, "delta": 0.1, "shift": 0.3}
CANDIDATES = {
    "none": (),
    "temperature": ("mu",),
    "temperature by pattern": ("mu", "delta"),
    "temperature and intercepts": ("mu", "shift"),
    "temperature by pattern and intercepts": ("mu", "delta", "shift"),
}
FOLDS = 5
STEPS, SETTLED = 20, 1e-3


class Trial(NamedTuple):
    """A candidate: its cross-validated NLL, that less the best one's, and the standard error of the
    difference, over patients."""

    name: str
    nll: float
    behind: float
    error: float


class ByPattern(NamedTuple):
    """What is done to evidence, as draws that go with those of θ.

    `scale` has a column for each pattern and a last one for every other; `shift` is c_i. `nll` is
    each pattern's mean −log P(label | X_S) on left-out validation records, NaN where there is none;
    `records` counts them, `natural` those that came with exactly that pattern.
    """

    name: str
    patterns: Patterns
    scale: Float[np.ndarray, "draw column"]
    shift: Float[np.ndarray, "draw modality class"]
    nll: Float[np.ndarray, " pattern"]
    records: Int[np.ndarray, " pattern"]
    natural: Int[np.ndarray, " pattern"]
    trials: tuple[Trial, ...]


def unchanged(modalities: int, classes: int, draws: int) -> ByPattern:
    """No calibration, and no pattern known."""
    none = np.zeros(0, int)
    return ByPattern(
        "none",
        np.zeros((0, modalities), bool),
        np.ones((draws, 1), np.float32),
        np.zeros((draws, modalities, classes), np.float32),
        np.zeros(0),
        none,
        none,
        (),
    )


def scale_of(
    calibration: ByPattern, presence: Bool[np.ndarray, "batch modality"]
) -> Float[np.ndarray, "draw batch"]:
    """Each record's scale under each draw."""
    return calibration.scale[:, index(calibration.patterns, presence)]


def choose(
    shown: Shown,
    patterns: Patterns,
    label: Int[np.ndarray, " record"],
    group: Shaped[np.ndarray, " record"],
    bias: Float[np.ndarray, " class"],
    draws: int,
    seed: int,
) -> tuple[ByPattern, Float[np.ndarray, "row class"]]:
    """The calibration, and P(y | X_S) of each row by the calibration of the other patients.

    Below ten patients nothing can be chosen, and "none" is.
    """
    row_label, fold = label[shown.record], folds(group, FOLDS, seed)[shown.record]
    cells = _cells(shown, patterns, row_label, fold, bias)
    fits = {name: _fit(cells, CANDIDATES[name]) for name in _candidates(patterns, group)}
    held = {name: _log_prob_of(cells, _left_out(cells, fit)) for name, fit in fits.items()}
    own = {
        name: -np.take_along_axis(one, row_label[:, None], 1)[:, 0] for name, one in held.items()
    }
    patient = np.unique(group, return_inverse=True)[1][shown.record]
    loss = {name: np.bincount(patient, one * shown.weight) for name, one in own.items()}
    best = min(loss, key=lambda name: loss[name].sum())
    scale, shift = _drawn(fits[best], CANDIDATES[best], patterns, len(bias), draws, seed)
    count = np.bincount(shown.pattern, minlength=len(patterns))
    with np.errstate(invalid="ignore"):
        nll = np.bincount(shown.pattern, own[best], minlength=len(patterns)) / count
    calibration = ByPattern(
        best,
        patterns,
        scale,
        shift,
        nll,
        count,
        np.bincount(shown.pattern[shown.natural], minlength=len(patterns)),
        _trials(loss, best, len(np.unique(shown.record))),
    )
    return calibration, np.exp(held[best])


def _candidates(patterns: Patterns, group: np.ndarray) -> tuple[str, ...]:
    """Of one pattern none is by pattern; of fewer than two patients a fold nothing is tried."""
    if len(np.unique(group)) < 2 * FOLDS:
        return ("none",)
    return tuple(n for n, free in CANDIDATES.items() if len(patterns) > 1 or "delta" not in free)


def _trials(loss: dict[str, np.ndarray], best: str, records: int) -> tuple[Trial, ...]:
    gap = {name: one - loss[best] for name, one in loss.items()}
    return tuple(
        Trial(
            name,
            float(one.sum() / max(records, 1)),
            float(gap[name].sum() / max(records, 1)),
            float(gap[name].std() * len(one) ** 0.5 / max(records, 1)),
        )
        for name, one in loss.items()
    )


def _drawn(
    fit: "_Fit", free: tuple[str, ...], patterns: Patterns, classes: int, draws: int, seed: int
) -> tuple[Float[np.ndarray, "draw column"], Float[np.ndarray, "draw modality class"]]:
    """Draws of every s_S, a pattern never seen last, and of c, about their own mean exactly."""
    rng = np.random.default_rng(seed)
    noise, other = rng.normal(size=(draws, len(fit.mean))), rng.normal(size=draws)
    drawn = fit.mean[None, :] + (noise - noise.mean(axis=0)) @ fit.root.T
    unseen = drawn[:, 0] + PRIOR_SD["delta"] * other * ("delta" in free)
    log_scale = drawn[:, :1] + drawn[:, 1 : 1 + len(patterns)]
    shift = drawn[:, 1 + len(patterns) :].reshape(draws, patterns.shape[1], classes - 1)
    shift = shift @ zero_sum_basis(classes).T
    return np.exp(np.c_[log_scale, unseen]).astype(np.float32), shift.astype(np.float32)


class _Cells(NamedTuple):
    """The rows, and how the parameters (μ, δ, C) move each pattern's (log s, c_1 … c_K).

    Beyond the first `rows` stand rows without weight, so that few shapes are ever compiled.
    """

    evidence: Float[Array, "row draw class"]
    onehot: Float[Array, "row class"]
    share: Float[Array, "row cell"]
    bias: Float[Array, " class"]
    jacobian: Float[np.ndarray, "pattern move parameter"]
    fold: Int[np.ndarray, " row"]
    pattern: Int[np.ndarray, " row"]
    rows: int


class _Fit(NamedTuple):
    """The mode of (μ, δ, C), a root of its covariance, and which of them are free."""

    mean: np.ndarray
    root: np.ndarray
    free: np.ndarray
    precision: np.ndarray


def _cells(shown: Shown, patterns: Patterns, label, fold, bias) -> _Cells:
    basis = zero_sum_basis(len(bias))
    moves = []
    for j, one in enumerate(patterns):
        scale = np.zeros((1, 1 + len(patterns)))
        scale[0, [0, 1 + j]] = 1
        shift = np.kron(one[None, :], basis)
        moves.append(
            np.block(
                [
                    [scale, np.zeros((1, shift.shape[1]))],
                    [np.zeros((len(bias), scale.shape[1])), shift],
                ]
            )
        )
    rows = len(label)
    evidence, label, fold, pattern, weight = (
        _padded(each, rows) for each in (shown.evidence, label, fold, shown.pattern, shown.weight)
    )
    cell = jax.nn.one_hot(fold * len(patterns) + pattern, FOLDS * len(patterns))
    return _Cells(
        jnp.asarray(evidence),
        jax.nn.one_hot(label, len(bias)),
        jnp.asarray(weight)[:, None] * cell,
        jnp.asarray(bias, jnp.float32),
        np.array(moves),
        fold,
        pattern,
        rows,
    )


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    """Zeros at the end, up to a power of two of rows, beyond 4096 up to a multiple of that."""
    more = -rows % min(1 << (max(rows, 1) - 1).bit_length(), 4096)
    return np.pad(values, [(0, more), *[(0, 0)] * (values.ndim - 1)])


def _moves(cells: _Cells, parameters: np.ndarray) -> Float[Array, "row move"]:
    """(log s, c_1 … c_K) of each row, for one set of parameters or one for each fold."""
    each = np.broadcast_to(parameters, (FOLDS, cells.jacobian.shape[2]))
    moved = np.einsum("skp,fp->fsk", cells.jacobian, each)
    return jnp.asarray(moved[cells.fold, cells.pattern], jnp.float32)


def _pull(cells: _Cells, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Σ weight · log P(label), its slope [fold, parameter] and minus its curvature there."""
    parts = _sums(cells.evidence, cells.onehot, cells.share, _moves(cells, x), cells.bias)
    value, slope, curvature = (np.asarray(part, float) for part in parts)
    shape, move = (FOLDS, len(cells.jacobian)), cells.jacobian
    slope = slope.reshape(*shape, *slope.shape[1:])
    curvature = curvature.reshape(*shape, *curvature.shape[1:])
    bent = np.einsum("skp,fskl->fspl", move, curvature)
    return (
        float(value.sum()),
        np.einsum("fsk,skp->fp", slope, move),
        np.einsum("fspl,slq->fpq", bent, move),
    )


def _fit(cells: _Cells, names: tuple[str, ...]) -> _Fit:
    """The most probable parameters by Newton's method, halving a step that does not help."""
    patterns, size = len(cells.jacobian), cells.jacobian.shape[2]
    kind = np.repeat(["mu", "delta", "shift"], [1, patterns, size - 1 - patterns])
    free, precision = np.isin(kind, names), np.array([PRIOR_SD[name] ** -2 for name in kind])
    at, x = np.ix_(free, free), np.zeros(size)
    value, slope, curvature = _objective(cells, x, precision)
    for _ in range(STEPS if free.any() else 0):
        step = np.zeros(size)
        step[free] = np.linalg.solve(curvature[at], slope[free])
        if slope @ step < SETTLED:
            break
        for _ in range(8):
            found = _objective(cells, x + step, precision)
            if found[0] >= value - 1e-6 * abs(value):
                break
            step = step / 2
        x, (value, slope, curvature) = x + step, found
    root = np.zeros((size, size))
    root[at] = np.linalg.cholesky(np.linalg.inv(curvature[at])) if free.any() else 0.0
    return _Fit(x, root, free, precision)


def _objective(
    cells: _Cells, x: np.ndarray, precision: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The log-posterior, its slope, and minus its curvature."""
    value, slope, curvature = _pull(cells, x)
    return (
        value - float(precision @ x**2) / 2,
        slope.sum(axis=0) - precision * x,
        curvature.sum(axis=0) + np.diag(precision),
    )


def _left_out(cells: _Cells, fit: _Fit) -> np.ndarray:
    """Parameters without each fold [fold, parameter]: one Newton step from those of all."""
    found, at = np.tile(fit.mean, (FOLDS, 1)), np.ix_(fit.free, fit.free)
    if not fit.free.any():
        return found
    _, slope, curvature = _pull(cells, fit.mean)
    whole = curvature.sum(axis=0) + np.diag(fit.precision)
    for k in range(FOLDS):
        rest = (whole - curvature[k])[at]
        found[k, fit.free] -= np.linalg.solve(rest, slope[k, fit.free])
    return found


def _log_prob_of(cells: _Cells, parameters: np.ndarray) -> Float[np.ndarray, "row class"]:
    """log P(y | X_S) of each row, for one set of parameters or one for each fold."""
    found = _log_prob(cells.evidence, _moves(cells, parameters), cells.bias)
    return np.asarray(found, float)[: cells.rows]


@jax.jit
def _sums(
    evidence: Float[Array, "row draw class"],
    onehot: Float[Array, "row class"],
    segment: Float[Array, "row cell"],
    at: Float[Array, "row move"],
    bias: Float[Array, " class"],
) -> tuple[Array, Array, Array]:
    scaled = jnp.exp(at[:, :1, None]) * evidence
    drawn = jax.nn.log_softmax(bias[None, None, :] + scaled + at[:, None, 1:], axis=2)
    own = jnp.sum(drawn * onehot[:, None, :], axis=2)
    value = jax.nn.logsumexp(own, axis=1) - jnp.log(own.shape[1])
    # Each draw's share in what the label is given: the gradient of a mixture.
    share = jax.nn.softmax(own, axis=1)[:, :, None]
    prob = jnp.exp(drawn)
    error = onehot[:, None, :] - prob
    slope_shift = jnp.sum(share * error, axis=1)
    slope_scale = jnp.sum(share * error * scaled, axis=(1, 2))
    slope = jnp.concatenate([slope_scale[:, None], slope_shift], axis=1)
    # Minus the curvature is what the mean prediction makes it: never negative, near the mode right.
    mean, centre = jnp.mean(prob, axis=1), jnp.mean(scaled, axis=1)
    spread = jnp.eye(onehot.shape[1])[None] * mean[:, :, None] - mean[:, :, None] * mean[:, None, :]
    along = jnp.einsum("nkl,nl->nk", spread, centre)
    corner = jnp.sum(along * centre, axis=1)
    top = jnp.concatenate([corner[:, None, None], along[:, None, :]], axis=2)
    bottom = jnp.concatenate([along[:, :, None], spread], axis=2)
    curvature = jnp.concatenate([top, bottom], axis=1)
    add = partial(jnp.einsum, precision="highest")
    return (
        add("nc,n->c", segment, value),
        add("nc,nk->ck", segment, slope),
        add("nc,nkl->ckl", segment, curvature),
    )


@jax.jit
def _log_prob(
    evidence: Float[Array, "row draw class"],
    at: Float[Array, "row move"],
    bias: Float[Array, " class"],
) -> Float[Array, "row class"]:
    score = bias[None, None, :] + jnp.exp(at[:, :1, None]) * evidence + at[:, None, 1:]
    drawn = jax.nn.log_softmax(score, axis=2)
    return jax.nn.logsumexp(drawn, axis=1) - jnp.log(drawn.shape[1])
