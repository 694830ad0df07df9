"""Independence Metropolis–Hastings: chains that accept Laplace's draws by their weights.

The alternative to importance weights where those are uneven: a draw that the surrogate likelihood
proposes too seldom is kept for many steps, and R̂ and the effective size show it. All proposals are
evaluated at once, before the chains run.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fusionjax.keys import generator, split
from fusionjax.posterior import newton, proposals
from fusionjax.posterior.certificate import mixing, verdict
from fusionjax.posterior.proposals import Groundwork
from fusionjax.posterior.scales import carried, describe
from fusionjax.posterior.types import Observations, Posterior
from fusionjax.types import Key

CHAINS = 4


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    *,
    draws: int = 400,
    proposed: int = 8192,
) -> Posterior:
    """About `draws` draws in float32, evenly from four chains of `proposed` steps altogether.

    Rounded up to a multiple of four; the certificate is that of the whole chains. Raises ValueError
    where `observations` cannot be followed (see `check`).
    """
    scale_key, draw_key = split(key, 2)
    ground = proposals.groundwork(scale_key, observations, bias)
    return sample(draw_key, ground, draws=draws, proposed=proposed)


def sample(key: Key, ground: Groundwork, *, draws: int, proposed: int) -> Posterior:
    """`fit` from its groundwork on."""
    draw_key, accept_key = split(key, 2)
    sizes, each = newton.sizes(ground.observations), -(-draws // CHAINS)
    steps = max(each, proposed // CHAINS)
    found, random = proposals.draw(draw_key, ground, CHAINS * steps), generator(accept_key)
    level = -random.exponential(size=(CHAINS, steps))
    # The same τ come again and again in turn: in step, chains that do not mix would look alike.
    order = random.permutation(CHAINS * steps).reshape(CHAINS, steps)
    paths = map(_chain, found.log_ratio[order], level)
    kept = np.stack([mine[path] for mine, path in zip(order, paths, strict=True)])
    # θ is linear in u, which has fewer columns: one mixes as well as the other.
    r_hat, bulk, tail = mixing({"tau": found.tau[kept], "u": found.u[kept]})
    certificate = verdict(
        "independence",
        ground.observations,
        ground.started,
        r_hat=r_hat,
        ess_bulk=bulk,
        ess_tail=tail,
        carried=carried(ground.scales),
        accept=float(np.mean(kept[:, 1:] != kept[:, :-1])),
        likelihood_evaluations=ground.scales.evaluations + level.size,
        notes=(describe(ground.scales), f"{level.size} proposals in {CHAINS} chains"),
    )
    even = kept[:, np.linspace(0, kept.shape[1] - 1, each).astype(int)].ravel()
    theta = proposals.theta(found.u[even], sizes)
    return Posterior(theta, jnp.asarray(found.tau[even], jnp.float32), certificate, CHAINS)


def _chain(
    log_ratio: Float[np.ndarray, " step"], level: Float[np.ndarray, " step"]
) -> Int[np.ndarray, " step"]:
    """Which proposal the chain stands on after each step."""
    at, path = 0, np.zeros(len(log_ratio), int)
    for step in range(1, len(log_ratio)):
        at = step if level[step] < log_ratio[step] - log_ratio[at] else at
        path[step] = at
    return path
