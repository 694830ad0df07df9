"""Is the promise kept? Canaries of which a coin chose half, and who can be told from one release.

Each canary has a feature that nobody else has, as a rare word in a note would be, of the largest
norm that is let in, and the last class: the worst record for its own privacy. From how many of the
guesses "this one was in" are right follows a lower bound on ε (Steinke, Nasr and Jagielski 2023,
"Privacy auditing with one (1) training run"). An honest mechanism stays below its ε but with
probability 1 − confidence; one that leaves noise out, or counts a patient as a record, does not.
"""

from random import Random
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fusionjax.posterior import observe
from fusionjax.posterior.newton import zero_sum_basis
from fusionjax.privacy import attack, release
from fusionjax.privacy.guarantee import Promise, units


class Audit(NamedTuple):
    """`correct` of `guesses` about `canaries` were right: ε is at least `epsilon`."""

    epsilon: float
    confidence: float
    canaries: int
    guesses: int
    correct: int


def audit(
    promise: Promise,
    multiplier: float,
    source: Random,
    *,
    canaries: int = 100,
    records: int = 1,
    limit: float = 3.0,
    sure: float = 0.95,
    seed: int = 0,
) -> Audit:
    """Fit θ once to canary patients of `records` records each, and guess who was in.

    `multiplier` is the noise multiplier of the whole fit, which `promise` would have as
    `guarantee.multiplier` says: give another to see that it is found out.
    """
    rng = np.random.default_rng(seed)
    member = rng.random(canaries) < 0.5
    patient = np.repeat(np.arange(canaries), records)
    features = np.concatenate([np.ones((canaries, 1)), limit * np.eye(canaries)], axis=1)[patient]
    presence = jnp.ones((len(patient), 1), bool)
    label = jnp.ones(len(patient), jnp.int32)
    rows = observe((jnp.asarray(features, jnp.float32),), presence, label, 2)
    # Who is out is blanked: weighs nothing.
    rows = rows._replace(weight=jnp.asarray(member[patient], jnp.float32))
    counted, bias = units(promise, patient), np.zeros(2)
    bounded = release.bound(rows, np.arange(len(patient)), counted, (limit,), promise.most or 1)
    at = release.rounds(bounded, bias, multiplier, source, shares=(1.0,))
    # Of one round, at u = 0: there a canary that is in adds records × limit/√2 to its own entry of
    # the slope, and one that is out nothing. More rounds share the same noise out to more guesses.
    score = at.slope[1:, 0] * np.sign(zero_sum_basis(2)[1, 0])
    threshold = records * limit / np.sqrt(2) / 2
    guessed = score >= threshold
    return Audit(
        attack.bound(score, member, promise.delta, sure, threshold),
        sure,
        canaries,
        int(guessed.sum()),
        int((guessed & member).sum()),
    )
