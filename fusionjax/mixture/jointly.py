"""Experts fitted together with what they are believed: one NumPyro program, drawn from by NUTS.

θ and τ have the prior of `posterior/program.py`; the likelihood is the mixture's:

π_i ~ Beta(1 + believed, 1 + doubted)
P(y | F) ∝ P(y) Π_i (1 − π_i + π_i P_i(y | F_i)/P(y)),   P_i ∝ exp(b_y + θ_{i,y}·F_i)

It is not log-concave in θ unless π = 1, so no Gaussian approximation is offered. A temperature for
each modality is the length of its θ_i. Show it the records with the swaps that are expected
(`corrupt.swap`): on clean records the posterior of π is that of a world where nothing goes wrong.
"""

import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from jaxtyping import Float
from numpyro import distributions as dist
from numpyro.infer import MCMC, NUTS

from fusionjax.fusion import reliability
from fusionjax.fusion.reliability import Prior
from fusionjax.log_linear import negative_log_likelihood
from fusionjax.posterior.certificate import LEAST_ESS, MOST_R_HAT, mixing
from fusionjax.posterior.types import Certificate, Observations, check, relative
from fusionjax.types import Key


class Believed(NamedTuple):
    """Equally weighted draws of θ, τ and π, chain after chain, and their certificate."""

    theta: tuple[Float[Array, "draw class _"], ...]
    tau: Float[Array, "draw modality"]
    pi: Float[Array, "draw modality"]
    certificate: Certificate


def model(observations: Observations, bias: Float[Array, " class"], prior: Prior) -> None:
    """The program: sites `tau`, `pi` [modality] and `z_i` [p_i, class], deterministic `theta_i`."""
    modalities, classes = len(observations.features), bias.shape[0]
    tau = jnp.asarray(numpyro.sample("tau", dist.HalfNormal(1.0).expand([modalities]).to_event(1)))
    each = (jnp.full(modalities, 1.0 + prior.believed), jnp.full(modalities, 1.0 + prior.doubted))
    pi = jnp.asarray(numpyro.sample("pi", dist.Beta(*each).to_event(1)))
    theta = []
    for i, feature in enumerate(observations.features):
        weights = dist.ZeroSumNormal(1.0, (classes,)).expand([feature.shape[1]]).to_event(1)
        z = jnp.asarray(numpyro.sample(f"z_{i}", weights))
        deviation = tau[i] * relative(feature.shape[1])
        theta.append(numpyro.deterministic(f"theta_{i}", deviation[None, :] * z.T))
    numpyro.factor("log_likelihood", log_likelihood(tuple(theta), pi, observations, bias))


def log_likelihood(
    theta: tuple[Float[Array, "class _"], ...],
    pi: Float[Array, " modality"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> Float[Array, ""]:
    """Weighted sum over rows of log P(y | F, θ, π), in nats."""
    experts = reliability.expert_log_probs(theta, bias, observations.features)
    log_prob = reliability.log_prob(experts, bias, observations.presence, pi)
    loss = negative_log_likelihood(log_prob, observations.onehot)
    return -jnp.sum(observations.weight * loss)


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    prior: Prior,
    *,
    draws: int = 500,
    warmup: int = 500,
    chains: int = 4,
) -> Believed:
    """`draws` of each of `chains` chains, run side by side, after `warmup` steps each.

    Raises ValueError where `observations` cannot be followed (see `posterior.check`).
    """
    started = time.perf_counter()
    check(observations)
    sampler = MCMC(
        NUTS(model, target_accept_prob=0.9),
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(key, observations, bias, prior, extra_fields=("diverging", "accept_prob"))
    samples = sampler.get_samples(group_by_chain=True)
    names = [f"theta_{i}" for i in range(len(observations.features))]
    kept = {name: np.asarray(samples[name]) for name in ("tau", "pi", *names)}
    flat = {name: jnp.asarray(x.reshape(-1, *x.shape[2:])) for name, x in kept.items()}
    extra = sampler.get_extra_fields()
    certificate = _certify(kept, extra, time.perf_counter() - started)
    return Believed(tuple(flat[n] for n in names), flat["tau"], flat["pi"], certificate)


def _certify(kept: dict[str, np.ndarray], extra: dict, seconds: float) -> Certificate:
    r_hat, bulk, tail = mixing(kept)
    divergences = int(np.sum(extra["diverging"]))
    checks = [
        (not r_hat <= MOST_R_HAT, f"r_hat {r_hat:.3f} is above {MOST_R_HAT}: chains disagree"),
        (not bulk >= LEAST_ESS, f"bulk ESS {bulk:.0f} is below {LEAST_ESS:.0f}: draw more"),
        (not tail >= LEAST_ESS, f"tail ESS {tail:.0f} is below {LEAST_ESS:.0f}: draw more"),
        (divergences > 0, f"{divergences} divergent transitions: the draws may miss a region"),
    ]
    failed = tuple(note for wrong, note in checks if wrong)
    return Certificate(
        engine="nuts",
        ok=not failed,
        r_hat=r_hat,
        ess_bulk=bulk,
        ess_tail=tail,
        divergences=divergences,
        accept=float(np.mean(extra["accept_prob"])),
        k_hat=None,
        likelihood_evaluations=None,
        seconds=seconds,
        notes=failed,
    )
