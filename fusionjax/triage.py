"""What to do next with a patient: accept the diagnosis, look again, acquire a modality, or refer.

Pure functions of probabilities and uncertainties, and of costs and limits that the user states.
They decide nothing about treatment: they say which predictions deserve a second look.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

ACTIONS = ("accept", "look again", "acquire", "refer")
ACCEPT, LOOK_AGAIN, ACQUIRE, REFER = range(4)
FEWEST, QUANTILES = 10, 1001


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
    """How far from training features: their mean, whitening, and quantiles of training distances.

    Each half of the records is measured by the other half's mean and whitening, as a new one is.
    """

    mean: Float[np.ndarray, " p"]
    whiten: Float[np.ndarray, "p p"]
    distances: Float[np.ndarray, " quantile"]


def fit_distance(features: Float[np.ndarray, "train p"]) -> Distance:
    """Mahalanobis distance with a covariance shrunk as Ledoit and Wolf (2004) do, by scikit-learn.

    Fit it on records that trained nothing, else all others seem far. Fewer than ten tell nothing:
    no quantiles are kept, and the farness of any record is NaN.
    """
    if len(features) < FEWEST:
        return unfamiliar(features.shape[1])
    halves = features[::2], features[1::2]
    crossed = [_norm(_moments(a), b) for a, b in (halves, halves[::-1])]
    ends = np.linspace(0, 1, min(len(features), QUANTILES))
    return Distance(*_moments(features), np.quantile(np.concatenate(crossed), ends))


def unfamiliar(width: int) -> Distance:
    """The distance of who has seen no features: NaN for any record."""
    return Distance(np.zeros(width), np.zeros((width, width)), np.zeros(0))


def farness(distance: Distance, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
    """The share of training records that lie nearer to their mean than each record does.

    The record itself is counted too, so that the share of n stays at n/(n + 1): fewer than a
    hundred cannot say that a record is farther than 99 % of them.
    """
    if not len(distance.distances):
        return np.full(len(features), np.nan)
    own = _norm((distance.mean, distance.whiten), features)
    return np.searchsorted(distance.distances, own) / (len(distance.distances) + 1)


def each_farness(
    distances: tuple[Distance, ...],
    features: tuple[Float[np.ndarray, "n _"], ...],
    presence: Bool[np.ndarray, "n modality"],
) -> Float[np.ndarray, "n modality"]:
    """Farness of each modality, NaN where it is missing, whatever stands there."""
    each = [
        farness(distance, np.where(presence[:, i : i + 1], f, 0.0))
        for i, (distance, f) in enumerate(zip(distances, features, strict=True))
    ]
    return np.where(presence, np.stack(each, axis=1), np.nan)


def farthest(far: Float[np.ndarray, "n modality"]) -> Float[np.ndarray, " n"]:
    """One share for all modalities that were measured (not NaN): max^m (Šidák 1967).

    Uniform where the m modalities' shares are and do not depend on one another; where they move
    together it is too small, which raises fewer doubts. NaN where nothing was measured.
    """
    measured = np.isfinite(far)
    highest = np.where(measured, far, 0.0).max(axis=1, initial=0.0)
    many = measured.sum(axis=1)
    return np.where(many > 0, highest**many, np.nan)


class Cases(NamedTuple):
    """Training records to be reminded of: ids, presence, and each modality's evidence in nats."""

    id: tuple[str, ...]
    presence: Bool[np.ndarray, "case modality"]
    evidence: Float[np.ndarray, "case modality class"]


def nearest(
    cases: Cases | None,
    presence: Bool[np.ndarray, "n modality"],
    evidence: Float[np.ndarray, "n modality class"],
    count: int = 5,
) -> Int[np.ndarray, "n count"]:
    """The cases whose modalities say most nearly the same; −1 where there is none to compare with.

    Distance is between vectors of evidence, over the modalities that both have: what the diagnosis
    is made of, so features that say nothing of it do not count. Cases that share more of the
    record's modalities come first. Without cases there is none.
    """
    if cases is None:
        return np.full((len(presence), count), -1)
    n, total = len(presence), len(cases.presence)
    own = np.where(presence[:, :, None], evidence, 0).astype(np.float64)
    have = presence.astype(np.float64), cases.presence.astype(np.float64)
    theirs = np.where(cases.presence[:, :, None], cases.evidence, 0).astype(np.float64)
    lengths = have[0] @ (theirs**2).sum(axis=2).T
    both = (own**2).sum(axis=2) @ have[1].T
    inner = own.reshape(n, -1) @ theirs.reshape(total, -1).T
    apart = np.maximum(lengths + both - 2 * inner, 0)
    shared = have[0] @ have[1].T
    # apart/(1 + apart) < 1 keeps the order, and never outweighs a modality more in common.
    key = np.where(shared > 0, apart / (1 + apart) - shared, np.inf)
    found = np.full((n, count), -1)
    order = np.argsort(key, axis=1, kind="stable")[:, :count]
    usable = np.isfinite(np.take_along_axis(key, order, axis=1))
    found[:, : order.shape[1]] = np.where(usable, order, -1)
    return found


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.covariance import LedoitWolf

    found = LedoitWolf().fit(features)
    return np.asarray(found.location_), np.linalg.cholesky(np.asarray(found.precision_))


def _norm(moments: tuple[np.ndarray, np.ndarray], features: np.ndarray) -> np.ndarray:
    mean, whiten = moments
    return np.linalg.norm((features - mean[None, :]) @ whiten, axis=1)


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
