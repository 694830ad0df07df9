"""What a posterior must show before it is believed, and its export to ArviZ."""

import time
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from fusionjax.posterior import psis
from fusionjax.posterior.types import Certificate, Observations, Posterior

if TYPE_CHECKING:
    from arviz import InferenceData

MOST_R_HAT = 1.01
LEAST_ESS = 400.0
LEAST_CARRIED = 50.0
LEAST_EXCESS = 0.01
"""Part of the weight that the tail may exceed the rest by, whatever its shape."""


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


def verdict(
    engine: str,
    observations: Observations,
    started: float,
    *,
    r_hat: float | None = None,
    ess_bulk: float | None = None,
    ess_tail: float | None = None,
    divergences: int | None = None,
    accept: float | None = None,
    log_ratio: Float[np.ndarray, " draw"] | None = None,
    least_share: float = 0.0,
    carried: float | None = None,
    likelihood_evaluations: int | None = None,
    notes: tuple[str, ...] = (),
) -> Certificate:
    """The certificate of these figures: each that is given must pass, and what fails says so.

    `log_ratio` are the log importance weights of independent draws, from which come k̂, and their
    effective number, which must be `least_share` of them; `carried` is how many of the points that
    τ was integrated over carry the weight. `started` is what `time.perf_counter()` was when the
    engine began.
    """
    weights = _weights(log_ratio)
    failed = (
        *_of_chains(r_hat, ess_bulk, ess_tail, divergences),
        *_of_weights(weights, least_share, carried),
    )
    theta = sum(f.shape[1] for f in observations.features) * (observations.onehot.shape[1] - 1)
    return Certificate(
        engine=engine,
        ok=not failed,
        r_hat=r_hat,
        ess_bulk=ess_bulk,
        ess_tail=ess_tail,
        divergences=divergences,
        accept=accept,
        k_hat=weights.k_hat,
        likelihood_evaluations=likelihood_evaluations,
        seconds=time.perf_counter() - started,
        notes=(*notes, *failed),
        d2_over_n=theta**2 / max(float(np.sum(np.asarray(observations.weight))), 1.0),
    )


class _Weights(NamedTuple):
    """Of importance weights: k̂ and its limit, their effective share, and the tail's excess."""

    k_hat: float | None = None
    limit: float = 0.7
    share: float | None = None
    excess: float = 0.0


def _weights(log_ratio: Float[np.ndarray, " draw"] | None) -> _Weights:
    if log_ratio is None:
        return _Weights()
    k_hat, limit = psis.k_hat(log_ratio), psis.most_k_hat(len(log_ratio))
    if not k_hat < np.inf:
        return _Weights(k_hat, limit, 0.0, 1.0)
    share = psis.effective(log_ratio) / len(log_ratio)
    return _Weights(k_hat, limit, share, psis.tail_excess(log_ratio))


def _of_chains(
    r_hat: float | None, bulk: float | None, tail: float | None, divergences: int | None
) -> Iterator[str]:
    """What chains fail; a figure that is no number fails."""
    if r_hat is not None and not r_hat <= MOST_R_HAT:
        yield f"r_hat {r_hat:.3f} is above {MOST_R_HAT}: draw longer"
    for name, ess in (("bulk", bulk), ("tail", tail)):
        if ess is not None and not ess >= LEAST_ESS:
            yield f"{name} ESS {ess:.0f} is below {LEAST_ESS:.0f}: draw more"
    if divergences:
        yield f"{divergences} divergent transitions: the draws may miss a region"


def _of_weights(weights: _Weights, least_share: float, carried: float | None) -> Iterator[str]:
    """What weighted draws, and the points that τ was integrated over, fail."""
    k_hat, limit, share, excess = weights
    if k_hat is not None and not (k_hat < limit or excess < LEAST_EXCESS):
        yield (
            f"k_hat {k_hat:.2f} is not below {limit:.2f}: θ is not near enough to Gaussian for "
            "these draws to show how near; compare with nuts"
        )
    if share is not None and not share >= least_share:
        yield (
            f"the true density makes of these draws only {share:.0%}: θ is not near enough to "
            "Gaussian; compare with nuts"
        )
    if carried is not None and not carried >= LEAST_CARRIED:
        yield (
            f"τ hangs on {carried:.0f} points, fewer than {LEAST_CARRIED:.0f}: compare with nuts"
        )


def to_arviz(posterior: Posterior) -> "InferenceData":
    """The draws as ArviZ's InferenceData: `tau` and one `theta_i` a modality, chain by chain."""
    arviz = _arviz()
    named = {"tau": posterior.tau} | {f"theta_{i}": x for i, x in enumerate(posterior.theta)}
    chains = {
        name: np.asarray(x).reshape(posterior.chains, -1, *x.shape[1:]) for name, x in named.items()
    }
    dims = {f"theta_{i}": ["class", f"feature_{i}"] for i in range(len(posterior.theta))}
    return arviz.from_dict(posterior=chains, dims=dims | {"tau": ["modality"]})


def _flat(data):
    return np.concatenate([np.ravel(data[name].values) for name in data.data_vars])


def _arviz() -> ModuleType:
    # The import announces ArviZ's next major version by a warning that no user of ours can heed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    return arviz
