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
from fusionjax.posterior import program
from fusionjax.posterior.certificate import mixing, verdict
from fusionjax.posterior.types import Certificate, Observations, check
from fusionjax.types import Key


class Believed(NamedTuple):
    """Equally weighted draws of θ, τ and π, chain after chain, and their certificate."""

    theta: tuple[Float[Array, "draw class _"], ...]
    tau: Float[Array, "draw modality"]
    pi: Float[Array, "draw modality"]
    certificate: Certificate


def model(observations: Observations, bias: Float[Array, " class"], prior: Prior) -> None:
    """The program: the sites of `program.weights`, `pi` [modality], and the likelihood."""
    theta = program.weights(observations, bias.shape[0])
    each = jnp.full(len(theta), 1.0 + prior.believed), jnp.full(len(theta), 1.0 + prior.doubted)
    pi = jnp.asarray(numpyro.sample("pi", dist.Beta(*each).to_event(1)))
    numpyro.factor("log_likelihood", log_likelihood(theta, pi, observations, bias))


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
    r_hat, bulk, tail = mixing(kept)
    certificate = verdict(
        "nuts",
        observations,
        started,
        r_hat=r_hat,
        ess_bulk=bulk,
        ess_tail=tail,
        divergences=int(np.sum(extra["diverging"])),
        accept=float(np.mean(extra["accept_prob"])),
    )
    return Believed(tuple(flat[n] for n in names), flat["tau"], flat["pi"], certificate)
