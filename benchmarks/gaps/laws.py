"""The laws of incomplete records, reported where the truth is not known (tested on the clinic)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.gaps import cohort as cohorts
from benchmarks.gaps.cohort import Part
from fusionjax import metrics
from fusionjax.corrupt.swap import donors, exchanged

Prob = Callable[[Part], Float[np.ndarray, "row class"]]


def reported(prob: Prob, part: Part, names: list[str], prior: np.ndarray) -> dict[str, Any]:
    """Mean changes of entropy in nats over the patients concerned, and what nothing present gives.

    `taken_away` and `contradicted`: a modality that is hidden, or of a patient of another class; of
    patients who have it and another one. Laws say that neither is negative on average.
    """
    here, modalities = np.asarray(part.presence), len(names)
    before = metrics.entropy(prob(part))
    taken, contradicted = {}, {}
    for i, name in enumerate(names):
        able = here[:, i] & (here.sum(axis=1) > 1)
        if not able.any():
            continue
        without = cohorts.showing(part, jnp.asarray(np.arange(modalities) != i)[None, :])
        rates = jnp.zeros(modalities).at[i].set(1.0)
        donor = donors(jax.random.key(i), part.presence, rates, jnp.asarray(part.label))
        other = part._replace(features=exchanged(part.features, donor))
        for found, shown in ((taken, without), (contradicted, other)):
            found[name] = round(float((metrics.entropy(prob(shown)) - before)[able].mean()), 4)
    nothing = prob(cohorts.showing(part, jnp.zeros((1, modalities), bool)))
    gap = float(np.abs(nothing - prior[None, :]).max())
    return {"taken_away": taken, "contradicted": contradicted, "nothing_present_less_prior": gap}
