"""What a decision is worth: net benefit at the threshold at which a clinician would treat."""

import numpy as np
from jaxtyping import Bool, Float

from fusionjax.metrics.arrays import Value, Weight, ratio, weights


def net_benefit(
    prob: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    threshold: float,
    weight: Weight | None = None,
) -> Value:
    """True positives less false ones at their odds, per patient (Vickers and Elkin 2006).

    Patients with `prob` ≥ `threshold` are treated; threshold/(1 − threshold) is how many needless
    treatments one missed disease is worth. Treating nobody is worth 0.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    weight = weights(weight, len(prob))
    treated = np.asarray(prob) >= threshold
    true, false = weight @ (treated & positive), weight @ (treated & ~positive)
    return ratio(true - false * threshold / (1 - threshold), weight.sum(axis=-1))


def treat_all(
    positive: Bool[np.ndarray, " n"], threshold: float, weight: Weight | None = None
) -> Value:
    """The net benefit of treating everyone, which a model has to beat."""
    return net_benefit(np.ones(len(positive)), positive, threshold, weight)
