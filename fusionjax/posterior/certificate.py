"""What a posterior must show before it is believed, and its export to ArviZ."""

import math
import warnings
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from fusionjax.posterior.types import Posterior

if TYPE_CHECKING:
    from arviz import InferenceData

MOST_R_HAT = 1.01
LEAST_ESS = 400.0


def mixing(chains: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """Worst r_hat, bulk and tail effective sample size over draws [chain, draw, ...] by name.

    r_hat is rank-normalised and split, after Vehtari et al. (2021), "Rank-normalization, folding,
    and localization". A parameter that never moves has r_hat = inf and an effective size of 0.
    """
    arviz = _arviz()
    data = arviz.convert_to_dataset(chains)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = _flat(arviz.rhat(data))
        bulk = _flat(arviz.ess(data, method="bulk"))
        tail = _flat(arviz.ess(data, method="tail"))
    still = np.concatenate([np.ptp(x, axis=(0, 1)).ravel() == 0.0 for x in chains.values()])
    return (
        float(np.max(np.where(still | np.isnan(r_hat), np.inf, r_hat))),
        float(np.min(np.where(still | np.isnan(bulk), 0.0, bulk))),
        float(np.min(np.where(still | np.isnan(tail), 0.0, tail))),
    )


def k_hat(log_weights: Float[np.ndarray, " draw"]) -> float:
    """Pareto shape of the largest importance weights, by the rule of Vehtari et al. (2024).

    "Pareto smoothed importance sampling": the tail of min(n/5, 3√n) weights, the estimator of
    Zhang and Stephens (2009) and a weak prior towards 1/2. Weights that are all alike give 0,
    weights that are not finite give inf.
    """
    if not np.all(np.isfinite(log_weights)):
        return math.inf
    size = math.ceil(min(len(log_weights) / 5, 3 * math.sqrt(len(log_weights))))
    ordered = np.sort(np.exp(log_weights - np.max(log_weights)))
    excess = ordered[-size:] - ordered[-size - 1]
    if excess[-1] < 1e-9:
        return 0.0
    return (size * _pareto_shape(np.maximum(excess, 1e-300)) + 5.0) / (size + 10.0)


def most_k_hat(draws: int) -> float:
    """The Pareto shape up to which this many weighted draws can be relied on, at most 0.7."""
    return min(1.0 - 1.0 / math.log10(draws), 0.7)


def effective(log_weights: Float[np.ndarray, " draw"]) -> float:
    """Kish's effective number of weighted draws, (Σw)²/Σw²."""
    weights = np.exp(log_weights - np.max(log_weights))
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def to_arviz(posterior: Posterior) -> "InferenceData":
    """The draws as ArviZ's InferenceData: `tau` and one `theta_i` a modality, chain by chain."""
    arviz = _arviz()
    named = {"tau": posterior.tau} | {f"theta_{i}": x for i, x in enumerate(posterior.theta)}
    chains = {
        name: np.asarray(x).reshape(posterior.chains, -1, *x.shape[1:]) for name, x in named.items()
    }
    dims = {f"theta_{i}": ["class", f"feature_{i}"] for i in range(len(posterior.theta))}
    return arviz.from_dict(posterior=chains, dims=dims | {"tau": ["modality"]})


def _pareto_shape(excess: Float[np.ndarray, " tail"]) -> float:
    size = len(excess)
    grid = np.arange(1, 31 + math.isqrt(size)) - 0.5
    quartile = excess[int(size / 4 + 0.5) - 1]
    rate = 1 / excess[-1] + (1 - np.sqrt((len(grid) + 0.0) / grid)) / (3 * quartile)
    shape = np.mean(np.log1p(-rate[:, None] * excess[None, :]), axis=1)
    profile = size * (np.log(-rate / shape) - shape - 1)
    weight = np.exp(profile - np.max(profile))
    best = np.sum(rate * weight) / np.sum(weight)
    return float(np.mean(np.log1p(-best * excess)))


def _flat(data):
    return np.concatenate([np.ravel(data[name].values) for name in data.data_vars])


def _arviz() -> ModuleType:
    # The import announces ArviZ's next major version by a warning that no user of ours can heed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    return arviz
