"""The reference posterior: NumPyro's No-U-Turn sampler on the program, over θ and τ together.

Exact as the draws grow, whatever the records; the price is tens of thousands of evaluations of the
likelihood.
"""

import time
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from numpyro.infer import MCMC, NUTS

from fusionjax.posterior import program
from fusionjax.posterior.certificate import LEAST_ESS, MOST_R_HAT, mixing
from fusionjax.posterior.types import Certificate, Observations, Posterior, check
from fusionjax.types import Key

MOST_DENSE = 200


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    *,
    draws: int = 500,
    warmup: int = 500,
    chains: int = 4,
    progress: bool = False,
) -> Posterior:
    """`draws` of each of `chains` chains, run side by side in float32, after `warmup` steps each.

    Raises ValueError where `observations` cannot be followed (see `check`).
    """
    started = time.perf_counter()
    check(observations)
    weights = sum(feature.shape[1] for feature in observations.features) * (bias.shape[0] - 1)
    # z and τ are correlated where the data determine θ: a diagonal metric then halves the ESS.
    metric_is_dense = weights <= MOST_DENSE
    sampler = MCMC(
        NUTS(program.model, target_accept_prob=0.9, dense_mass=metric_is_dense),
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=progress,
    )
    sampler.run(key, observations, bias, extra_fields=("diverging", "accept_prob", "num_steps"))
    samples = sampler.get_samples(group_by_chain=True)
    names = [f"theta_{i}" for i in range(len(observations.features))]
    kept = {name: np.asarray(samples[name]) for name in ("tau", *names)}
    certificate = _certify(kept, sampler.get_extra_fields(), time.perf_counter() - started)
    flat = {name: jnp.asarray(x.reshape(-1, *x.shape[2:])) for name, x in kept.items()}
    return Posterior(tuple(flat[name] for name in names), flat["tau"], certificate, chains)


def _certify(kept: dict[str, np.ndarray], extra: dict[str, Any], seconds: float) -> Certificate:
    r_hat, bulk, tail = mixing(kept)
    divergences = int(np.sum(extra["diverging"]))
    notes = [
        (not r_hat <= MOST_R_HAT, f"r_hat {r_hat:.3f} is above {MOST_R_HAT}: run longer chains"),
        (not bulk >= LEAST_ESS, f"bulk ESS {bulk:.0f} is below {LEAST_ESS:.0f}: draw more"),
        (not tail >= LEAST_ESS, f"tail ESS {tail:.0f} is below {LEAST_ESS:.0f}: draw more"),
        (divergences > 0, f"{divergences} divergent transitions: the draws may miss a region"),
    ]
    failed = tuple(note for wrong, note in notes if wrong)
    return Certificate(
        engine="nuts",
        ok=not failed,
        r_hat=r_hat,
        ess_bulk=bulk,
        ess_tail=tail,
        divergences=divergences,
        accept=float(np.mean(extra["accept_prob"])),
        k_hat=None,
        likelihood_evaluations=int(np.sum(extra["num_steps"])),
        seconds=seconds,
        notes=failed,
    )
