"""The published conflict protocol, and whether the mixture sees through it.

Xu et al. (2024), "Reliable Conflictive Multi-View Learning": four fifths of the records train. Of
the test records, 10 % get Gaussian noise of deviation .5 (columns scaled to [0, 1]) in a random
number of views, from none to all but one, and 40 % get one view of a record of another class. There
the donor is the first record of the next class, which may be a training record; here it is any
test record of another class.

Experts and the joint model ("concat") are fitted once, on clean training records. Held-out folds of
these choose the kernel and the penalty of each view; put through the protocol themselves, they
choose every method's temperature, π, and whether the joint model takes part.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.gaps import experts as psi
from experiments.cards.multiview import Views
from fusionjax.mixture.singly import Seen

NOISY, SIGMA, CONFLICT = 0.1, 0.5, 0.4
PENALTIES = (1e-5, 1e-4)
PRACTICE = 2


class Shown(NamedTuple):
    """Test views as they are shown, and which (row, view) pairs are another record's, or noisy."""

    views: tuple[Float[np.ndarray, "row _"], ...]
    swapped: Bool[np.ndarray, "row view"]
    noisy: Bool[np.ndarray, "row view"]


class Fitted(NamedTuple):
    """Predictions of one split, by models that did not fit the records in question.

    `plain` and `practice` are held-out folds of the training records, as they are and under the
    protocol; `clean` and `shown` are the test records, likewise.
    """

    plain: Seen
    practice: Seen
    clean: Seen
    shown: Seen
    bias: Float[np.ndarray, " class"]
    spoilt: Shown
    test: Int[np.ndarray, " row"]


def spoil(rng: np.random.Generator, views: tuple[np.ndarray, ...], label: np.ndarray) -> Shown:
    """The protocol on test records, columns scaled to [0, 1]."""
    rows, count = len(label), len(views)
    shown = [view.copy() for view in views]
    noisy, swapped = np.zeros((rows, count), bool), np.zeros((rows, count), bool)
    for i in rng.choice(rows, int(NOISY * rows), replace=False):
        for v in rng.choice(count, rng.integers(count), replace=False):
            shown[v][i] += SIGMA * rng.normal(size=shown[v].shape[1])
            noisy[i, v] = True
    for i in rng.choice(rows, int(CONFLICT * rows), replace=False):
        v = rng.integers(count)
        donor = rng.choice(np.flatnonzero(label != label[i]))
        shown[v][i] = views[v][donor]
        swapped[i, v], noisy[i, v] = True, False
    return Shown(tuple(shown), swapped, noisy)


def fitted(data: Views, seed: int, landmarks: int, folds: int, steps: int) -> Fitted:
    """Experts and joint model of the split of this seed."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.label))
    train, test = np.split(order, [int(0.8 * len(order))])
    label, classes = data.label[train], int(data.label.max()) + 1
    bias = np.log(np.bincount(label, minlength=classes) / len(label)).astype(np.float32)
    pairs = [psi.scaled(view[train], view[test]) for view in data.views]
    spoilt = spoil(rng, tuple(clean for _, clean in pairs), data.label[test])
    fold = rng.integers(folds, size=len(train))
    task = _Task(label, bias, fold, landmarks, seed, steps)
    row, practice = _practice(rng, tuple(own for own, _ in pairs), task)
    sets, penalties = [], []
    for v, (own, clean) in enumerate(pairs):
        shape, penalty = _choose(own, task)
        ψ = psi.kernel(own, shape, landmarks, seed)
        sets.append(tuple(map(ψ, (own, practice[v], clean, spoilt.views[v]))))
        penalties.append(penalty)
    each = [_predict(parts, row, task, p) for parts, p in zip(sets, penalties, strict=True)]
    experts = [np.stack(parts, axis=1) for parts in zip(*each, strict=True)]
    joint = _predict(tuple(map(_side_by_side, zip(*sets, strict=True))), row, task, max(penalties))
    labels = (label, label[row], data.label[test], data.label[test])
    plain, practised, held, shown = (
        _seen(*one, classes) for one in zip(experts, joint, labels, strict=True)
    )
    return Fitted(plain, practised, held, shown, bias, spoilt, test)


class _Task(NamedTuple):
    label: Int[np.ndarray, " row"]
    bias: Float[np.ndarray, " class"]
    fold: Int[np.ndarray, " row"]
    landmarks: int
    seed: int
    steps: int


def _practice(
    rng: np.random.Generator, views: tuple[np.ndarray, ...], task: _Task
) -> tuple[Int[np.ndarray, " practice"], tuple[Float[np.ndarray, "practice _"], ...]]:
    """The protocol on each held-out fold by itself, so that no donor fitted the fold's experts.

    Returns the training record behind each row, and what its views show.
    """
    rows, shown = [], []
    for k in range(int(task.fold.max()) + 1):
        out = np.flatnonzero(task.fold == k)
        for _ in range(PRACTICE):
            rows.append(out)
            shown.append(spoil(rng, tuple(v[out] for v in views), task.label[out]).views)
    return np.concatenate(rows), tuple(map(np.concatenate, zip(*shown, strict=True)))


def _choose(view: np.ndarray, task: _Task) -> tuple[str, float]:
    """The shape of the kernel, then the penalty, by the NLL of the first fold."""
    out = task.fold == 0

    def loss(shape: str, penalty: float) -> float:
        features = psi.kernel(view[~out], shape, task.landmarks, task.seed)(view)
        weight = psi.weights(features, task.label, task.bias, penalty, ~out, None, task.steps)
        prob = psi.log_prob(features[out], weight, task.bias)
        return -float(prob[np.arange(out.sum()), task.label[out]].mean())

    first = {(shape, PENALTIES[0]): loss(shape, PENALTIES[0]) for shape in psi.SHAPES}
    shape = min(first, key=first.__getitem__)[0]
    second = {(shape, penalty): loss(shape, penalty) for penalty in PENALTIES[1:]}
    losses = first | second
    return min(losses, key=losses.__getitem__)


def _predict(
    parts: tuple[np.ndarray, ...], row: Int[np.ndarray, " practice"], task: _Task, penalty: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """log P(y | X) of a model of these features, for the four sets of records (see `Fitted`)."""
    own, practice, clean, shown = parts
    plain, spoilt = (np.zeros((len(rows), len(task.bias))) for rows in (own, practice))
    weight = None
    for k in range(int(task.fold.max()) + 1):
        out = task.fold == k
        weight = psi.weights(own, task.label, task.bias, penalty, ~out, weight, task.steps)
        plain[out] = psi.log_prob(own[out], weight, task.bias)
        mine = out[row]
        spoilt[mine] = psi.log_prob(practice[mine], weight, task.bias)
    everyone = np.ones(len(own), bool)
    weight = psi.weights(own, task.label, task.bias, penalty, everyone, weight, task.steps)
    test = [psi.log_prob(features, weight, task.bias) for features in (clean, shown)]
    return plain, spoilt, test[0], test[1]


def _side_by_side(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """The features of all views, the constant once."""
    return np.concatenate([part[:, int(v > 0) :] for v, part in enumerate(parts)], axis=1)


def _seen(experts: np.ndarray, joint: np.ndarray, label: np.ndarray, classes: int) -> Seen:
    single, together = jnp.asarray(experts, jnp.float32), jnp.asarray(joint, jnp.float32)
    presence = jnp.ones(experts.shape[:2], bool)
    return Seen(single, presence, jax.nn.one_hot(label, classes), together)
