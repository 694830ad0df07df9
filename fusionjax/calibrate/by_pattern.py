"""Calibration of a fusion's evidence by presence pattern, in the one form that keeps its ledger.

    log P(y | X_S) = b_y + s_S Σ_{i∈S} e_{i,y} + Σ_{i∈S} c_{i,y} − log Z, averaged over draws of θ

    log s_S = μ + δ_S,  μ ~ N(0, 0.5²),  δ_S ~ N(0, 0.1²),  c_i ~ N(0, 0.3²) zero-sum over classes

The evidence of modality i becomes s_S e_i + c_i, so it still adds up, the prior is left alone and a
patient of whom nothing is known still gets it. The calibrators with more freedom (Dirichlet,
isotonic and others) break that sum; they are for probabilities whose evidence is not known.

Every record stands in a row for each pattern S that it can show, its own at half weight and those
made by hiding the rest at the other half (`presence.every` says why), so that each pattern has
records. Whom a hospital sends to a test tells of the diagnosis too, and would be taken for what
the test says. Where the next hospital sends others, every record has γ_0 + Σ γ_i more in its score
while all this is fitted, summed over the modalities that were taken of it, γ ~ N(0, 1) zero-sum,
which is then left out. Five candidates leave some of μ, δ, c at 0, "none" all; the least
cross-validated NLL chooses, each left-out fold by one Newton step from the optimum of all.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import csr_array

from fusionjax.calibrate.shown import Patterns, Shown, index
from fusionjax.calibrate.stratified import folds
from fusionjax.posterior.newton import zero_sum_basis

PRIOR_SD = {"mu": 0.5, "delta": 0.1, "shift": 0.3, "sent": 1.0}
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
    each pattern's mean −log P(label | X_S) on left-out records, NaN where there is none; `records`
    counts them, `natural` those that came with exactly that pattern.
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
    came: Bool[np.ndarray, "record modality"],
    label: Int[np.ndarray, " record"],
    group: Shaped[np.ndarray, " record"],
    bias: Float[np.ndarray, " class"],
    draws: int,
    seed: int,
) -> tuple[ByPattern, Float[np.ndarray, "row class"]]:
    """The calibration, and P(y | X_S) of each row by the calibration of the other patients.

    `came` is what was taken of each record, or the same for all where that is not to be left out.
    Below ten patients nothing can be chosen, and "none" is.
    """
    row_label, fold = label[shown.record], folds(group, FOLDS, seed)[shown.record]
    cells = _cells(shown, patterns, came, row_label, fold, bias)
    fits = {name: _fit(cells, CANDIDATES[name]) for name in _candidates(patterns, group)}
    held = {name: _left_out(cells, fit) for name, fit in fits.items()}
    patient = np.unique(group, return_inverse=True)[1][shown.record]
    loss = {
        name: np.bincount(patient, _own(_log_prob_of(cells, one), row_label) * shown.weight)
        for name, one in held.items()
    }
    best = min(loss, key=lambda name: loss[name].sum())
    log_prob = _log_prob_of(cells, np.where(cells.kind == "sent", 0, held[best]))
    scale, shift = _drawn(fits[best], cells, patterns, draws, seed)
    count = np.bincount(shown.pattern, minlength=len(patterns))
    with np.errstate(invalid="ignore"):
        total = np.bincount(shown.pattern, _own(log_prob, row_label), minlength=len(patterns))
        nll = total / count
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
    return calibration, np.exp(log_prob)


def _own(log_prob: Float[np.ndarray, "row class"], label: np.ndarray) -> np.ndarray:
    return -np.take_along_axis(log_prob, label[:, None], 1)[:, 0]


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


class _Cells(NamedTuple):
    """The rows, and how the parameters (μ, δ, C, Γ) move each cell's (log s, c_1 … c_K).

    A cell is a pattern shown by records that came with one and the same. `share` has a row for each
    fold and cell, with the weights of its rows. Beyond the first `rows` stand rows without weight,
    so that few shapes are ever compiled.
    """

    evidence: Float[Array, "row draw class"]
    onehot: Float[Array, "row class"]
    bias: Float[Array, " class"]
    jacobian: Float[np.ndarray, "cell move parameter"]
    kind: Shaped[np.ndarray, " parameter"]
    cell: Int[np.ndarray, " row"]
    fold: Int[np.ndarray, " row"]
    share: csr_array
    rows: int


class _Fit(NamedTuple):
    """The mode of the parameters, a root of its covariance, and which of them are free."""

    mean: np.ndarray
    root: np.ndarray
    free: np.ndarray
    precision: np.ndarray


def _cells(shown: Shown, patterns: Patterns, came, label, fold, bias) -> _Cells:
    kinds, which = np.unique(came, axis=0, return_inverse=True)
    pair = shown.pattern * len(kinds) + which.ravel()[shown.record]
    pairs, cell = np.unique(pair, return_inverse=True)
    kind, jacobian = _jacobian(
        np.eye(len(patterns))[pairs // len(kinds)],
        patterns[pairs // len(kinds)],
        kinds[pairs % len(kinds)] - came.mean(axis=0) if len(kinds) > 1 else None,
        zero_sum_basis(len(bias)),
    )
    rows, cell = len(label), cell.ravel()
    place = fold * len(pairs) + cell, np.arange(rows)
    share = csr_array((shown.weight, place), shape=(FOLDS * len(pairs), rows))
    evidence, label, fold, cell = (
        _padded(each, rows) for each in (shown.evidence, label, fold, cell)
    )
    return _Cells(
        jnp.asarray(evidence),
        jax.nn.one_hot(label, len(bias)),
        jnp.asarray(bias, jnp.float32),
        jacobian,
        kind,
        cell,
        fold,
        share,
        rows,
    )


def _jacobian(
    pattern: Float[np.ndarray, "cell pattern"],
    shows: Bool[np.ndarray, "cell modality"],
    sent: Float[np.ndarray, "cell modality"] | None,
    basis: Float[np.ndarray, "class free"],
) -> tuple[Shaped[np.ndarray, " parameter"], Float[np.ndarray, "cell move parameter"]]:
    """Each parameter's kind, and what it does in each cell. Where all came alike there is no Γ."""
    scale = np.concatenate([np.ones((len(shows), 1)), pattern], axis=1)
    nuisance = np.zeros((len(shows), 0)) if sent is None else np.c_[np.ones(len(shows)), sent]
    shift = np.kron(np.c_[shows, nuisance][:, None, :], basis[None])
    found = np.zeros((len(shows), 1 + len(basis), scale.shape[1] + shift.shape[2]))
    found[:, 0, : scale.shape[1]] = scale
    found[:, 1:, scale.shape[1] :] = shift
    sizes = 1, pattern.shape[1], *(each.shape[1] * basis.shape[1] for each in (shows, nuisance))
    counts = dict(zip(PRIOR_SD, sizes, strict=True))
    return np.repeat(list(counts), list(counts.values())), found


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    """Zeros at the end, up to a power of two of rows, beyond 4096 up to a multiple of that."""
    more = -rows % min(1 << (max(rows, 1) - 1).bit_length(), 4096)
    return np.pad(values, [(0, more), *[(0, 0)] * (values.ndim - 1)])


def _moves(cells: _Cells, parameters: np.ndarray) -> Float[Array, "row move"]:
    """(log s, c) of each row, for one set of parameters or one for each fold."""
    each = np.broadcast_to(parameters, (FOLDS, cells.jacobian.shape[2]))
    moved = np.einsum("ckp,fp->fck", cells.jacobian, each)
    return jnp.asarray(moved[cells.fold, cells.cell], jnp.float32)


def _pull(cells: _Cells, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Σ weight · log P(label), its slope [fold, parameter] and minus its curvature there."""
    parts = _terms(cells.evidence, cells.onehot, _moves(cells, x), cells.bias)
    flat = [np.asarray(part, float)[: cells.rows].reshape(cells.rows, -1) for part in parts]
    value, slope, curvature = (
        (cells.share @ each).reshape(FOLDS, -1, *part.shape[1:])
        for each, part in zip(flat, parts, strict=True)
    )
    move = cells.jacobian
    bent = np.einsum("ckp,fckl->fcpl", move, curvature, optimize=True)
    return (
        float(value.sum()),
        np.einsum("fck,ckp->fp", slope, move, optimize=True),
        np.einsum("fcpl,clq->fpq", bent, move, optimize=True),
    )


def _fit(cells: _Cells, names: tuple[str, ...]) -> _Fit:
    """The most probable parameters by Newton's method, halving a step that does not help."""
    free = np.isin(cells.kind, (*names, "sent"))
    precision = np.array([PRIOR_SD[name] ** -2 for name in cells.kind])
    at, x = np.ix_(free, free), np.zeros(len(free))
    value, slope, curvature = _objective(cells, x, precision)
    for _ in range(STEPS if free.any() else 0):
        step = np.zeros(len(free))
        step[free] = np.linalg.solve(curvature[at], slope[free])
        if slope @ step < SETTLED:
            break
        for _ in range(8):
            found = _objective(cells, x + step, precision)
            if found[0] >= value - 1e-6 * abs(value):
                break
            step = step / 2
        x, (value, slope, curvature) = x + step, found
    root = np.zeros((len(free), len(free)))
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


def _left_out(cells: _Cells, fit: _Fit) -> Float[np.ndarray, "fold parameter"]:
    """Parameters without each fold: one Newton step from those of all."""
    found, at = np.tile(fit.mean, (FOLDS, 1)), np.ix_(fit.free, fit.free)
    if not fit.free.any():
        return found
    _, slope, curvature = _pull(cells, fit.mean)
    whole = curvature.sum(axis=0) + np.diag(fit.precision)
    for k in range(FOLDS):
        rest = (whole - curvature[k])[at]
        found[k, fit.free] -= np.linalg.solve(rest, slope[k, fit.free])
    return found


def _drawn(
    fit: _Fit, cells: _Cells, patterns: Patterns, draws: int, seed: int
) -> tuple[Float[np.ndarray, "draw column"], Float[np.ndarray, "draw modality class"]]:
    """Draws of every s_S, a pattern never seen last, and of c, about their own mean exactly."""
    classes, rng = len(cells.bias), np.random.default_rng(seed)
    noise, other = rng.normal(size=(draws, len(fit.mean))), rng.normal(size=draws)
    drawn = fit.mean[None, :] + (noise - noise.mean(axis=0)) @ fit.root.T
    mu, delta, shift = (drawn[:, cells.kind == kind] for kind in ("mu", "delta", "shift"))
    unseen = PRIOR_SD["delta"] * other * fit.free[cells.kind == "delta"].any()
    shift = shift.reshape(draws, patterns.shape[1], classes - 1) @ zero_sum_basis(classes).T
    scale = np.exp(mu + np.c_[delta, unseen])
    return scale.astype(np.float32), shift.astype(np.float32)


def _log_prob_of(cells: _Cells, parameters: np.ndarray) -> Float[np.ndarray, "row class"]:
    """log P(y | X_S) of each row, for one set of parameters or one for each fold."""
    found = _log_prob(cells.evidence, _moves(cells, parameters), cells.bias)
    return np.asarray(found, float)[: cells.rows]


@jax.jit
def _terms(
    evidence: Float[Array, "row draw class"],
    onehot: Float[Array, "row class"],
    at: Float[Array, "row move"],
    bias: Float[Array, " class"],
) -> tuple[Float[Array, " row"], Float[Array, "row move"], Float[Array, "row move move"]]:
    """log P(label) of each row, its slope, and minus its curvature."""
    scaled = jnp.exp(at[:, :1, None]) * evidence
    drawn = jax.nn.log_softmax(bias[None, None, :] + scaled + at[:, None, 1:], axis=2)
    own = jnp.sum(drawn * onehot[:, None, :], axis=2)
    value = jax.nn.logsumexp(own, axis=1) - jnp.log(own.shape[1])
    # Each draw's share in what the label is given: the gradient of a mixture.
    share = jax.nn.softmax(own, axis=1)[:, :, None]
    prob = jnp.exp(drawn)
    error = share * (onehot[:, None, :] - prob)
    along_scale = jnp.sum(error * scaled, axis=(1, 2))
    slope = jnp.concatenate([along_scale[:, None], jnp.sum(error, axis=1)], axis=1)
    # Minus the curvature is what the mean prediction makes it: never negative, near the mode right.
    mean, centre = jnp.mean(prob, axis=1), jnp.mean(scaled, axis=1)
    spread = jnp.eye(onehot.shape[1])[None] * mean[:, :, None] - mean[:, :, None] * mean[:, None, :]
    along = jnp.einsum("nkl,nl->nk", spread, centre)
    corner = jnp.sum(along * centre, axis=1)
    top = jnp.concatenate([corner[:, None, None], along[:, None, :]], axis=2)
    bottom = jnp.concatenate([along[:, :, None], spread], axis=2)
    return value, slope, jnp.concatenate([top, bottom], axis=1)


@jax.jit
def _log_prob(
    evidence: Float[Array, "row draw class"],
    at: Float[Array, "row move"],
    bias: Float[Array, " class"],
) -> Float[Array, "row class"]:
    score = bias[None, None, :] + jnp.exp(at[:, :1, None]) * evidence + at[:, None, 1:]
    drawn = jax.nn.log_softmax(score, axis=2)
    return jax.nn.logsumexp(drawn, axis=1) - jnp.log(drawn.shape[1])
