"""θ's posterior given what was released, noise and all, so that its intervals still cover.

Around the public point û the released slope and curvature are a Gaussian observation of θ = û + v:

    slope ~ N(ρ curvature·v, κ curvature + σ²I + Cov(E ρv))

ρ is how much less the curvature is between the two, and κ at θ (`release.lessened`).
The first term of the covariance is the score's own (what a posterior without privacy has), σ²I the
noise added to it, and E the noise on the curvature: an error in variables, which grows with v. As
in Bernstein and Sheldon (2018, 2019), what is conditioned on is the noisy statistic and not a clean
one; leave the two last terms out and the intervals are too narrow. The prior is `program`'s, the
draws NUTS's in its non-centred coordinates. Nothing here reads a record.
"""

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from fusionjax.posterior import newton, proposals
from fusionjax.posterior.certificate import LEAST_ESS, MOST_R_HAT, mixing
from fusionjax.posterior.types import Certificate, Posterior
from fusionjax.privacy.release import Expansion, lessened
from fusionjax.types import Key


class Aim(NamedTuple):
    """An expansion as the sampler reads it, in float32 and in units of the slope's noise."""

    at: Float[Array, "p free"]
    slope: Float[Array, " d"]
    curvature: Float[Array, "d d"]
    noise: Float[Array, ""]
    variance: Float[Array, "d d"]
    design: Float[Array, "point p"]
    bias: Float[Array, " class"]


def fit(
    key: Key,
    released: Expansion,
    bias: Float[Array, " class"],
    sizes: tuple[int, ...],
    *,
    draws: int = 400,
    warmup: int = 400,
    chains: int = 4,
    notes: tuple[str, ...] = (),
) -> Posterior:
    """`draws` of each of `chains` chains after `warmup` steps; `notes` go to the certificate."""
    started = time.perf_counter()
    keys = jax.random.split(key, chains)
    log_tau, u, diverging = sample(keys, aim(released, bias), sizes, warmup, draws)
    theta = proposals.theta(u.reshape(-1, *u.shape[2:]), sizes)
    tau = jnp.exp(log_tau)
    parts = {"tau": np.asarray(tau), "u": np.asarray(u)}
    r_hat, bulk, tail = mixing(parts)
    lost = int(np.sum(diverging))
    failed = (r_hat > MOST_R_HAT or min(bulk, tail) < LEAST_ESS or lost > 0) * (
        f"r_hat {r_hat:.3f}, ESS {min(bulk, tail):.0f}, {lost} divergent: draw longer",
    )
    certificate = Certificate(
        engine="noisy sums, nuts",
        ok=not failed,
        r_hat=r_hat,
        ess_bulk=bulk,
        ess_tail=tail,
        divergences=lost,
        seconds=time.perf_counter() - started,
        notes=(*notes, *failed),
    )
    return Posterior(theta, tau.reshape(chains * draws, -1), certificate, chains)


def aim(released: Expansion, bias: Float[Array | np.ndarray, " class"]) -> Aim:
    """What `sample` reads of an expansion."""
    unit = released.slope_deviation if released.slope_deviation > 0 else 1.0
    return Aim(
        jnp.asarray(released.at, jnp.float32),
        jnp.asarray(released.slope.ravel() / unit, jnp.float32),
        jnp.asarray(released.curvature / unit, jnp.float32),
        jnp.asarray(unit, jnp.float32),
        jnp.asarray(released.variance / unit**2, jnp.float32),
        jnp.asarray(released.design, jnp.float32),
        jnp.asarray(bias, jnp.float32),
    )


@partial(jax.jit, static_argnames=("sizes", "warmup", "draws"))
def sample(
    keys: Key, aim: Aim, sizes: tuple[int, ...], warmup: int, draws: int
) -> tuple[Float[Array, "chain draw modality"], Float[Array, "chain draw p free"], Array]:
    """Draws of log τ and u, and which of them diverged; a chain for each of the keys."""
    from numpyro.infer import NUTS

    kernel = NUTS(potential_fn=lambda x: -log_density(x, aim, sizes), target_accept_prob=0.8)

    def chain(key):
        start, run = jax.random.split(key)
        shape = aim.at.shape
        x = (jnp.full(len(sizes), -0.3), 0.3 * jax.random.normal(start, shape))
        state = kernel.init(run, warmup, x, (), {})
        state = lax.fori_loop(0, warmup, lambda _, s: kernel.sample(s, (), {}), state)

        def step(state, _):
            state = kernel.sample(state, (), {})
            return state, (state.z, state.diverging)

        return lax.scan(step, state, length=draws)[1]

    (log_tau, z), diverging = jax.vmap(chain)(keys)
    scale = jax.vmap(jax.vmap(lambda t: newton.columns(jnp.exp(t), sizes)))(log_tau)
    return log_tau, scale[..., None] * z, diverging


def log_density(
    x: tuple[Float[Array, " modality"], Float[Array, "p free"]], aim: Aim, sizes: tuple[int, ...]
) -> Float[Array, ""]:
    """Of (log τ, z), in nats, less a constant: prior, and the Gaussian of what was released."""
    log_tau, z = x
    tau = jnp.exp(log_tau)
    u = newton.columns(tau, sizes)[:, None] * z
    apart = (u - aim.at).ravel()
    less, weight = lessened(u, aim.at, aim.design, aim.bias)
    apart = less * apart
    noise = aim.variance * jnp.outer(apart, apart)
    noise = jnp.fill_diagonal(noise, aim.variance @ apart**2, inplace=False)
    spread = weight * aim.curvature / aim.noise + noise + jnp.eye(len(apart))
    cholesky = jnp.linalg.cholesky(spread)
    left = solve_triangular(cholesky, aim.slope - aim.curvature @ apart, lower=True)
    prior = jnp.sum(log_tau - tau**2 / 2) - jnp.sum(z**2) / 2
    return prior - jnp.sum(jnp.log(jnp.diagonal(cholesky))) - jnp.sum(left**2) / 2
