"""The reference posterior: NumPyro's No-U-Turn sampler, over θ and τ together.

Exact as the draws grow, whatever the records. `fit` runs it in the coordinates of `whitening`, in
which a few steps cross the posterior; with `plain=True` on the program as it stands, which depends
on nothing of ours and takes tens of thousands of evaluations of the likelihood.
"""

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int
from numpyro.infer import MCMC, NUTS

from fusionjax.keys import split
from fusionjax.posterior import newton, program, proposals
from fusionjax.posterior.certificate import mixing, verdict
from fusionjax.posterior.proposals import Groundwork
from fusionjax.posterior.types import Observations, Posterior, check
from fusionjax.posterior.whitening import Target, log_density, place, target
from fusionjax.types import Key

MOST_DENSE = 200
UNBOUNDED = 2**31 - 1


class Cost(NamedTuple):
    """How the chains fared at each draw; `steps` are gradients of the likelihood."""

    diverging: Bool[Array, "..."]
    accept_prob: Float[Array, "..."]
    steps: Int[Array, "..."]
    warmup_steps: Int[Array, "..."]


class Trace(NamedTuple):
    """What the chains left: draws of log τ and of the weights u, and what they cost.

    Draws that are not `done` repeat the last one: the budget was spent before them.
    """

    log_tau: Float[Array, "chain draw modality"]
    u: Float[Array, "chain draw p free"]
    cost: Cost
    done: Bool[Array, " draw"]


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    *,
    draws: int = 500,
    warmup: int = 300,
    chains: int = 4,
    accept: float = 0.8,
    plain: bool = False,
) -> Posterior:
    """`draws` of each of `chains` chains, run side by side in float32, after `warmup` steps each.

    `accept` is the acceptance that the step size aims at. Raises ValueError where `observations`
    cannot be followed (see `check`).
    """
    if plain:
        return _plain(key, observations, bias, draws, warmup, chains, accept)
    scale_key, run_key = split(key, 2)
    ground = proposals.groundwork(scale_key, observations, bias)
    return sample(run_key, ground, draws=draws, warmup=warmup, chains=chains, accept=accept)


def sample(
    key: Key,
    ground: Groundwork,
    *,
    draws: int,
    warmup: int,
    chains: int,
    accept: float,
    budget: int = UNBOUNDED,
) -> Posterior:
    """`fit` from its groundwork on; ends where `budget` gradients, of all chains, are spent.

    Half of it at most goes to the warm-up. Then there are fewer draws, and the notes say so.
    """
    sizes = newton.sizes(ground.observations)
    aim, passes = target(ground, sizes)
    trace = run(jax.random.split(key, chains), aim, sizes, warmup, draws, accept, budget)
    done = max(int(np.sum(trace.done)), 1)
    u, log_tau = trace.u[:, :done], trace.log_tau[:, :done]
    theta = proposals.theta(u.reshape(-1, *u.shape[2:]), sizes)
    after = (ground.observations, ground.started)
    tau = jnp.exp(log_tau).reshape(chains * done, -1)
    spent = f"budget of {budget} gradients spent after {done} of {draws} draws a chain"
    notes = (spent,) if done < draws else ()
    passes += ground.scales.evaluations
    cost = trace.cost._replace(accept_prob=trace.cost.accept_prob[:done])
    return _posterior(theta, tau, chains, cost, passes, *after, notes=notes)


@partial(jax.jit, static_argnames=("sizes", "warmup", "draws", "accept"))
def run(
    keys: Key,
    aim: Target,
    sizes: tuple[int, ...],
    warmup: int,
    draws: int,
    accept: float,
    budget: int | Int[Array, ""] = UNBOUNDED,
) -> Trace:
    """A chain for each of the keys, started from draws under the surrogate likelihood."""
    shapes = (aim.whitening.mode.shape, aim.whitening.value.shape)
    starts = jax.vmap(lambda key: _normal(key, shapes))(keys)
    kernel = NUTS(potential_fn=lambda x: -log_density(x, aim, sizes), target_accept_prob=accept)

    def stepper(limit):
        def step(carry, _):
            state, spent = carry
            on = spent < limit
            state = lax.cond(on, lambda s: kernel.sample(s, (), {}), lambda s: s, state)
            steps = jnp.where(on, state.num_steps, 0)
            # Chains move side by side, so that all wait for the one with the most steps.
            spent = spent + len(keys) * jnp.max(steps)
            fared = state.diverging & on, state.accept_prob, steps
            return (state, spent), (state.z, fared, on)

        return step

    start = kernel.init(keys, warmup, starts, (), {}), jnp.asarray(0)
    (state, used), (_, (_, _, spent), _) = lax.scan(stepper(budget // 2), start, length=warmup)
    # Where that was cut short, the kernel must not go on adapting.
    carry = state._replace(i=jnp.full_like(state.i, warmup)), used
    x, (diverging, accepted, steps), done = lax.scan(stepper(budget), carry, length=draws)[1]
    placed = lax.map(jax.vmap(lambda x: place(x, aim.whitening, sizes)), x)
    log_tau, u = (jnp.swapaxes(part, 0, 1) for part in placed[:2])
    return Trace(log_tau, u, Cost(diverging, accepted, steps, spent), done)


def _normal(key, shapes):
    keys = jax.random.split(key, len(shapes))
    return tuple(jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True))


def _plain(key, observations, bias, draws, warmup, chains, accept) -> Posterior:
    started = time.perf_counter()
    check(observations)
    weights = sum(newton.sizes(observations)) * (bias.shape[0] - 1)
    # z and τ are correlated where the data determine θ: a diagonal metric then halves the ESS.
    kernel = NUTS(program.model, target_accept_prob=accept, dense_mass=weights <= MOST_DENSE)
    sampler = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("diverging", "accept_prob", "num_steps")
    sampler.warmup(key, observations, bias, extra_fields=fields, collect_warmup=True)
    spent = sampler.get_extra_fields()["num_steps"]
    state = sampler.post_warmup_state
    sampler.run(state.rng_key if state else key, observations, bias, extra_fields=fields)
    samples, extra = sampler.get_samples(), sampler.get_extra_fields()
    theta = tuple(samples[f"theta_{i}"] for i in range(len(observations.features)))
    cost = Cost(extra["diverging"], extra["accept_prob"], extra["num_steps"], spent)
    return _posterior(theta, samples["tau"], chains, cost, 0, observations, started)


def _posterior(theta, tau, chains, cost, evaluations, observations, started, notes=()) -> Posterior:
    parts = {"tau": tau} | {f"theta_{i}": t for i, t in enumerate(theta)}
    r_hat, bulk, tail = mixing(
        {name: np.asarray(x).reshape(chains, -1, *x.shape[1:]) for name, x in parts.items()}
    )
    certificate = verdict(
        "nuts",
        observations,
        started,
        r_hat=r_hat,
        ess_bulk=bulk,
        ess_tail=tail,
        divergences=int(np.sum(cost.diverging)),
        accept=float(np.mean(cost.accept_prob)),
        likelihood_evaluations=evaluations + int(np.sum(cost.steps) + np.sum(cost.warmup_steps)),
        notes=notes,
    )
    return Posterior(theta, tau, certificate, chains)
