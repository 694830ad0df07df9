"""A variational posterior: NumPyro's multivariate normal guide, in the coordinates of `whitening`.

There the posterior is near to a standard normal, so the guide starts at one and learns what the
whitening left over, τ included. It is approximate: the certificate weighs its draws by the true
density, and fails where the loss had not settled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from jaxtyping import Float
from numpyro import distributions as dist
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal
from numpyro.infer.initialization import init_to_median
from numpyro.optim import Adam

from fusionjax.keys import split
from fusionjax.posterior import newton, proposals
from fusionjax.posterior.certificate import verdict
from fusionjax.posterior.proposals import Groundwork
from fusionjax.posterior.types import Certificate, Observations, Posterior
from fusionjax.posterior.whitening import Target, log_density, place, target
from fusionjax.types import Key

PARTICLES = 8
LEAST_FALL = 0.1


class Learnt(NamedTuple):
    """Draws of x under the guide, the log of its density there, and the loss of every step."""

    x: Float[Array, "draw d"]
    log_density: Float[Array, " draw"]
    losses: Float[np.ndarray, " step"]


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    *,
    draws: int = 400,
    steps: int = 2000,
) -> Posterior:
    """`draws` independent draws in float32 from the guide, after `steps` of Adam.

    Raises ValueError where `observations` cannot be followed (see `check`).
    """
    scale_key, run_key = split(key, 2)
    ground = proposals.groundwork(scale_key, observations, bias)
    return sample(run_key, ground, draws=draws, steps=steps)


def sample(key: Key, ground: Groundwork, *, draws: int, steps: int) -> Posterior:
    """`fit` from its groundwork on."""
    sizes = newton.sizes(ground.observations)
    aim, passes = target(ground, sizes)
    learnt = learn(key, aim, sizes, draws, steps)
    scales = len(aim.whitening.mode)
    x = learnt.x[:, :scales], learnt.x[:, scales:]
    log_joint = jax.jit(jax.vmap(lambda *x: log_density(x, aim, sizes)))(*x)
    at = jax.jit(jax.vmap(lambda *x: place(x, aim.whitening, sizes)))(*x)
    certificate = verdict(
        "svi",
        ground.observations,
        ground.started,
        log_ratio=np.asarray(log_joint - learnt.log_density, float),
        least_share=0.5,
        likelihood_evaluations=ground.scales.evaluations + passes + PARTICLES * steps + draws,
        notes=(f"loss {np.mean(learnt.losses[-100:]):.2f} nats after {steps} steps",),
    )
    theta, tau = proposals.theta(at.u, sizes), jnp.exp(at.log_tau)
    return Posterior(theta, tau, settled(certificate, learnt.losses))


def learn(key: Key, aim: Target, sizes: tuple[int, ...], draws: int, steps: int) -> Learnt:
    """Fits the guide to the target and draws from it."""
    size = len(aim.whitening.mode) + len(aim.whitening.value)
    base = dist.Normal().expand([size]).to_event(1)

    def model():
        x = jnp.asarray(numpyro.sample("x", base))
        scales = len(aim.whitening.mode)
        density = log_density((x[:scales], x[scales:]), aim, sizes)
        numpyro.factor("posterior", density - jnp.asarray(base.log_prob(x)))

    guide = AutoMultivariateNormal(model, init_loc_fn=init_to_median, init_scale=1.0)
    fit_key, draw_key = jax.random.split(key)
    # A step that shrinks to a thousandth: a fixed one leaves its own noise in the guide.
    adam = Adam(lambda step: 0.03 * 0.001 ** (step / steps))
    svi = SVI(model, guide, adam, Trace_ELBO(num_particles=PARTICLES))
    found = svi.run(fit_key, steps, progress_bar=False)
    at = guide.get_posterior(found.params)
    noise = jax.random.normal(draw_key, (draws, size))
    x = at.loc[None] + jnp.matmul(noise, at.scale_tril.T, precision="highest")
    log_det = jnp.sum(jnp.log(jnp.diagonal(at.scale_tril)))
    density = -jnp.sum(noise**2, axis=1) / 2 - log_det - size / 2 * np.log(2 * np.pi)
    return Learnt(x, density, np.asarray(found.losses))


def settled(certificate: Certificate, losses: Float[np.ndarray, " step"]) -> Certificate:
    """The certificate, failed where the loss still fell between the last two fifths of steps."""
    last, before = (part.astype(float) for part in np.array_split(losses, 5)[:2:-1])
    fall = before.mean() - last.mean()
    noise = np.hypot(last.std() / np.sqrt(len(last)), before.std() / np.sqrt(len(before)))
    if np.isfinite(fall) and fall < LEAST_FALL + 3 * noise:
        return certificate
    note = f"the loss still fell by {fall:.2f} nats over the last fifth of the steps: take more"
    return certificate._replace(ok=False, notes=(*certificate.notes, note))
