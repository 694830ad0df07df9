"""What to do next with a patient: accept the diagnosis, look again, acquire a modality, or refer.

Pure functions of probabilities and uncertainties, and of costs and limits that the user states.
They decide nothing about treatment: they say which predictions deserve a second look.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

ACTIONS = ("accept", "look again", "acquire", "refer")
ACCEPT, LOOK_AGAIN, ACQUIRE, REFER = range(4)


class Limits(NamedTuple):
    """Where each doubt begins. Nats for `total`, `epistemic` and `gain`; shares for the rest."""

    total: float = 0.5
    epistemic: float = 0.1
    reliable: float = 0.5
    far: float = 0.99
    gain: float = 0.1


class Triage(NamedTuple):
    """`action` is an index into ACTIONS; `modality` the one to acquire, −1 where none is."""

    action: Int[np.ndarray, " n"]
    modality: Int[np.ndarray, " n"]


def triage(
    total: Float[np.ndarray, " n"],
    epistemic: Float[np.ndarray, " n"],
    reliable: Float[np.ndarray, "n modality"],
    presence: Bool[np.ndarray, "n modality"],
    gain: Float[np.ndarray, "n modality"],
    far: Float[np.ndarray, " n"],
    limits: Limits = Limits(),  # noqa: B008 a constant tuple
) -> Triage:
    """One action a patient, the first that applies:

    1. refer: unlike the training patients (`far`, the share of them that lie nearer their own kind,
       beyond its limit), or in doubt for want of training records (`epistemic`);
    2. look again: a modality that is there contradicts the rest (`reliable`, P(r_i = 1 | X), low);
    3. acquire: in doubt (`total`), and a missing modality is expected to remove `gain` nats of it;
    4. refer: in doubt, and nothing more to acquire;
    5. accept.

    NaN in `far` or `reliable` raises no doubt: it was not measured.
    """
    missing = np.where(presence, -np.inf, np.nan_to_num(gain, nan=-np.inf))
    best = missing.argmax(axis=1)
    worth = np.take_along_axis(missing, best[:, None], axis=1)[:, 0] >= limits.gain
    contradicted = (presence & (reliable < limits.reliable)).any(axis=1)
    unsure = ~(total <= limits.total)
    strange = (far > limits.far) | ~(epistemic <= limits.epistemic)
    action = np.select(
        [strange, contradicted, unsure & worth, unsure],
        [REFER, LOOK_AGAIN, ACQUIRE, REFER],
        ACCEPT,
    )
    return Triage(action, np.where(action == ACQUIRE, best, -1))


def acquisition_gain(
    presence: Bool[np.ndarray, "n modality"],
    patterns: Bool[np.ndarray, "pattern modality"],
    nll: Float[np.ndarray, " pattern"],
) -> Float[np.ndarray, "n modality"]:
    """Nats that modality m is expected to save a patient of this pattern: NLL(S) − NLL(S ∪ {m}).

    `nll` is each pattern's mean on validation records. That is an average over patients, not what
    this one's findings suggest. NaN where m is there, or where one of the two is not in `patterns`.
    """
    known = {tuple(row): float(value) for row, value in zip(patterns.tolist(), nll, strict=True)}
    rows, index = np.unique(presence, axis=0, return_inverse=True)
    gain = np.full(rows.shape, np.nan)
    for i, row in enumerate(rows.tolist()):
        for m in np.flatnonzero(~rows[i]):
            more = tuple(here or k == m for k, here in enumerate(row))
            gain[i, m] = known.get(tuple(row), np.nan) - known.get(more, np.nan)
    return gain[index.ravel()]


def shares(
    evidence: Float[np.ndarray, "n modality"],
) -> Float[np.ndarray, "n modality"]:
    """Each modality's share of all the evidence, for or against: |nats| over their sum, or 0."""
    size = np.abs(np.nan_to_num(evidence))
    total = size.sum(axis=1, keepdims=True)
    return np.divide(size, total, out=np.zeros_like(size), where=total > 0)


def conflict(evidence: Float[np.ndarray, "n modality"]) -> Float[np.ndarray, " n"]:
    """Nats that cancel: the lesser of the evidence for and the evidence against the diagnosis."""
    nats = np.nan_to_num(evidence)
    return np.minimum(nats.clip(min=0).sum(axis=1), (-nats).clip(min=0).sum(axis=1))


class Distance(NamedTuple):
    """How far from training features: their mean, whitening, and their own distances, sorted."""

    mean: Float[np.ndarray, " p"]
    whiten: Float[np.ndarray, "p p"]
    distances: Float[np.ndarray, " train"]


def fit_distance(features: Float[np.ndarray, "train p"]) -> Distance:
    """Mahalanobis distance with a covariance shrunk as Ledoit and Wolf (2004) do, by scikit-learn.

    Fit it on records that trained nothing, else all others seem far.
    """
    from sklearn.covariance import LedoitWolf

    found = LedoitWolf().fit(features)
    whiten = np.linalg.cholesky(np.asarray(found.precision_))
    own = np.linalg.norm((features - found.location_) @ whiten, axis=1)
    return Distance(np.asarray(found.location_), whiten, np.sort(own))


def farness(distance: Distance, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
    """The share of training records that lie nearer to their mean than each record does."""
    own = np.linalg.norm((features - distance.mean[None, :]) @ distance.whiten, axis=1)
    return np.searchsorted(distance.distances, own) / len(distance.distances)


def expected_cost(
    prob: Float[np.ndarray, "n class"], cost: Float[np.ndarray, "class action"]
) -> Float[np.ndarray, "n action"]:
    """Σ_y P(y | X) cost[y, action], in the user's unit."""
    return prob @ cost


def cheapest(
    prob: Float[np.ndarray, "n class"],
    cost: Float[np.ndarray, "class action"],
    refer: float,
) -> Int[np.ndarray, " n"]:
    """The action of least expected cost, or −1: refer, where even that costs more than `refer`.

    With cost 1 for each wrong diagnosis this is Chow's rule (1970): refer where 1 − max p > refer.
    """
    expected = expected_cost(prob, cost)
    return np.where(expected.min(axis=1) > refer, -1, expected.argmin(axis=1))


def mean_cost(
    decided: Int[np.ndarray, " n"],
    label: Int[np.ndarray, " n"],
    cost: Float[np.ndarray, "class action"],
    refer: float,
) -> float:
    """What the decisions cost per patient, referrals at `refer`; NaN for no patients."""
    if not len(label):
        return float("nan")
    paid = cost[label, np.maximum(decided, 0)]
    return float(np.where(decided < 0, refer, paid).mean())
