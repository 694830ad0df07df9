"""One temperature on the evidence: log p ∝ log prior + scale · (log p − log prior), scale = 1/T.

The prior is left alone, so that a patient of whom nothing is known still gets the class
frequencies. The scale is fitted on validation records and lies in [.05, 20]: perfect separation
ends at the bound, or where float64 sees no more to gain, and does not diverge.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from fusionjax.calibrate.types import Calibrator, Parameters, check_labels, evidence, posterior

LOWEST, HIGHEST = 0.05, 20.0


def temperature(
    log_prob: Float[np.ndarray, "n class"],
    label: Int[np.ndarray, " n"],
    prior: Float[np.ndarray, " class"],
) -> float:
    """The scale of least negative log-likelihood on these records.

    `prior` holds class probabilities. The likelihood is concave in the scale (Guo et al. 2017 fit
    T = 1/scale, where it is not), so its slope is bisected. The scale is 1 where the records cannot
    tell: none, one class only, or no evidence in any of them. Raises ValueError for a label that is
    no class, a prior that is not positive, and NaN.
    """
    found = evidence(log_prob, prior)
    check_labels(label, len(prior))
    if len(np.unique(label)) < 2 or np.ptp(found, axis=1).max() < 1e-6:
        return 1.0
    against_label = found - np.take_along_axis(found, label[:, None], axis=1)

    def slope(scale: float) -> float:
        return float(np.sum(np.exp(posterior(found, prior, scale)) * against_label))

    low, high = LOWEST, HIGHEST
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def apply(
    log_prob: Float[np.ndarray, "n class"], prior: Float[np.ndarray, " class"], scale: float
) -> Float[np.ndarray, "n class"]:
    """Log-probabilities with their evidence scaled; `scale` 1 changes nothing."""
    return posterior(evidence(log_prob, prior), prior, scale)


def predictive_scale(nll: Callable[[float], float]) -> float:
    """The scale in [.05, 20] at which a predictive's `nll(scale)` is least.

    A posterior predictive is a mixture, so its likelihood need not be concave in the scale: seven
    scales an equal ratio apart bracket the best one, then its neighbourhood is searched on log
    scale, some 20 calls in all. 1 unless another is better; NaN and infinity are the worst.
    """
    from scipy.optimize import fminbound

    def loss(log_scale: float) -> float:
        value = float(nll(float(np.exp(log_scale))))
        return min(value, 1e12) if value == value else 1e12

    grid = np.linspace(np.log(LOWEST), np.log(HIGHEST), 7)
    coarse = [loss(point) for point in grid]
    best = int(np.argmin(coarse))
    bracket = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    fine = np.asarray(fminbound(loss, *bracket, xtol=1e-3)).item()
    return float(np.exp(min((0.0, grid[best], fine), key=loss)))


def reluctance(scale: float, records: int) -> float:
    """What a scale must gain in mean NLL over `records`: the log prior log scale ~ N(0, 1/4).

    A few dozen validation records that happen to be separable would otherwise ask for any scale.
    """
    return 2 * float(np.log(scale)) ** 2 / max(records, 1)


def _fit(log_prob: np.ndarray, label: np.ndarray, prior: np.ndarray) -> Parameters:
    return {"scale": temperature(log_prob, label, prior)}


def _apply(parameters: Parameters, log_prob: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return apply(log_prob, prior, parameters["scale"])


TEMPERATURE = Calibrator(_fit, _apply)
