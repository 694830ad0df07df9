"""Who was in the training records? Membership inference, and the ε that it proves at least.

Membership is drawn by a coin for every record, so that a record's score can be held against what it
is when the record is out. `loss_score` asks how well the model does on a record; `likelihood_ratio`
how much better than models that had it, or had it not, would (Carlini et al. 2022, "Membership
inference attacks from first principles"). A fit is `fit(member) -> log P(y | X)` [record, class].
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fusionjax.metrics.ranking import binary_auroc
from fusionjax.privacy.guarantee import PrivacyError

Fit = Callable[[Bool[np.ndarray, " record"]], Float[np.ndarray, "record class"]]
LEAST_SPREAD = 1e-3


class Shadows(NamedTuple):
    """Models fitted on random halves: who was in each, and each one's confidence in the truth."""

    member: Bool[np.ndarray, "shadow record"]
    confidence: Float[np.ndarray, "shadow record"]


class Leak(NamedTuple):
    """What an attack finds: AUC, the rate of members named at 1 % false alarms, and a bound on ε.

    With probability `confidence` no (ε, δ)-private fit has an ε below `epsilon`: from the guesses
    of one run (Steinke, Nasr and Jagielski 2023), the best of `targets` runs, corrected for it.
    """

    attack: str
    auc: float
    auc_error: float
    tpr: float
    epsilon: float
    confidence: float
    targets: int


def confidence(
    log_prob: Float[np.ndarray, "record class"], label: Int[np.ndarray, " record"]
) -> Float[np.ndarray, " record"]:
    """log P(label)/(1 − P(label)), which over models is nearer to Gaussian than P itself."""
    own = log_prob[np.arange(len(label)), label]
    others = np.where(np.arange(log_prob.shape[1])[None, :] == label[:, None], -np.inf, log_prob)
    return own - np.logaddexp.reduce(others, axis=1)


def shadows(fit: Fit, label: Int[np.ndarray, " record"], count: int, seed: int) -> Shadows:
    """`count` models, each fitted on the records that a fair coin chose."""
    member = np.random.default_rng(seed).random((count, len(label))) < 0.5
    return Shadows(member, np.stack([confidence(fit(one), label) for one in member]))


def loss_score(found: Shadows, target: int) -> Float[np.ndarray, " record"]:
    """The target's own confidence: high for members, if it has learnt them by heart."""
    return found.confidence[target]


def likelihood_ratio(found: Shadows, target: int) -> Float[np.ndarray, " record"]:
    """log P(confidence | in) − log P(confidence | out), Gaussians of all models but the target."""
    rest = np.arange(len(found.member)) != target
    inside, value = found.member[rest], found.confidence[rest]
    parts = [_moments(value, mask) for mask in (inside, ~inside)]
    at = found.confidence[target]
    (mean_in, sd_in), (mean_out, sd_out) = parts
    return (
        ((at - mean_out) / sd_out) ** 2 / 2
        - ((at - mean_in) / sd_in) ** 2 / 2
        + np.log(sd_out / sd_in)
    )


ATTACKS = {"loss": loss_score, "likelihood ratio": likelihood_ratio}


def leaks(found: Shadows, delta: float, targets: int = 8, sure: float = 0.95) -> list[Leak]:
    """Each attack on the first `targets` models in turn, the others being its shadows."""
    rows = []
    for name, score in ATTACKS.items():
        auc, tpr, epsilon = [], [], []
        for target in range(targets):
            scores, member = score(found, target), found.member[target]
            # Of the scores as they are: the convex hull of their curve is above 1/2 by chance.
            auc.append(float(binary_auroc(scores, member)))
            tpr.append(float(np.mean(scores[member] > np.quantile(scores[~member], 0.99))))
            epsilon.append(bound(scores, member, delta, 1 - (1 - sure) / targets))
        error = float(np.std(auc, ddof=1) / np.sqrt(targets)) if targets > 1 else float("nan")
        means = float(np.mean(auc)), error, float(np.mean(tpr))
        rows.append(Leak(name, *means, max(epsilon), sure, targets))
    return rows


def bound(
    score: Float[np.ndarray, " record"],
    member: Bool[np.ndarray, " record"],
    delta: float,
    sure: float,
    threshold: float | None = None,
) -> float:
    """ε at least, at confidence `sure`, from one run in which a coin chose the members.

    Scores above `threshold` are guessed to be members; without one, the half of the records with
    even numbers chooses it for the other half, and so costs no confidence.
    """
    auditing = _auditing()
    if threshold is None:
        first = np.arange(len(score)) % 2 == 0
        threshold = _best(score[first], member[first])
        score, member = score[~first], member[~first]
    if member.all() or not member.any():
        return 0.0
    auditor = auditing.CanaryScoreAuditor(score[member], score[~member])
    strategy = auditing.Explicit(threshold)
    return float(auditor.epsilon_one_run(1 - sure, delta, threshold_strategy=strategy))


def _best(score: np.ndarray, member: np.ndarray) -> float:
    """The threshold whose guesses are the least like those of a coin, by their standard score."""
    order = np.argsort(-score)
    right, guesses = np.cumsum(member[order]), np.arange(1, len(order) + 1)
    surprise = (right - guesses / 2) / np.sqrt(guesses / 4)
    return float(score[order][np.argmax(np.where(guesses >= 5, surprise, -np.inf))])


def _moments(value: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each record over the models of `mask`; deviations shrunk to their mean over records."""
    count = np.maximum(mask.sum(0), 1)
    mean = np.where(mask, value, 0).sum(0) / count
    variance = np.where(mask, (value - mean) ** 2, 0).sum(0) / count
    shared = np.sum(variance * count) / np.sum(count)
    pooled = (count * variance + 10 * shared) / (count + 10)
    return mean, np.sqrt(np.maximum(pooled, LEAST_SPREAD**2))


def _auditing() -> ModuleType:
    try:
        from jax_privacy import auditing
    except ImportError as error:
        raise PrivacyError(
            "jax-privacy", "is not installed", "pip install 'fusionjax[privacy]'."
        ) from error
    return auditing
