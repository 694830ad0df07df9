"""The default: tries what is cheap, looks at the certificate, and goes on to what is dearer.

A pilot of Laplace's draws is weighed by the true density. Where the weights are even, `importance`
makes exact draws of them, or of wider ones; where they are less so, `independence` does; else, or
where their certificates fail, `nuts`, and once more for as much longer as its certificate lacks.
Both have a budget of gradients, so that records on which chains hardly move end too, with a
certificate that fails. Its notes say what was tried, why it was left, and whether a budget was
spent.
"""

from collections.abc import Iterator

import numpy as np
from jax import Array
from jaxtyping import Float

from fusionjax.keys import split
from fusionjax.posterior import importance, independence, newton, nuts, proposals, psis
from fusionjax.posterior.certificate import LEAST_ESS, MOST_R_HAT
from fusionjax.posterior.proposals import Groundwork
from fusionjax.posterior.types import Certificate, Observations, Posterior
from fusionjax.types import Key

PILOT = 128
EVEN = 0.25
MIDDLING = 0.1
DEGREES = 10.0
MOST_LONGER = 8
OPERATIONS = 2.4e12
FEWEST, MOST = 20_000, 400_000
"""Gradients that an escalation to `nuts` may take, all chains together."""


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    *,
    draws: int = 400,
) -> Posterior:
    """`draws` equally weighted draws in float32, by the first engine whose certificate is good.

    Where none is, the last one's, which says so. Raises ValueError where `observations` cannot be
    followed (see `check`).
    """
    scale_key, pilot_key, run_key = split(key, 3)
    ground = proposals.groundwork(scale_key, observations, bias)
    pilot = proposals.draw(pilot_key, ground, PILOT).log_ratio
    share, k_hat = psis.effective(pilot) / PILOT, psis.k_hat(pilot)
    tried = (f"pilot of {PILOT}: {share:.0%} effective, k_hat {k_hat:.2f}",)
    evaluations = ground.scales.evaluations + PILOT
    for found in _engines(run_key, ground, draws, share):
        certificate = found.certificate
        evaluations += (certificate.likelihood_evaluations or 0) - ground.scales.evaluations
        if certificate.ok:
            break
        tried += (f"{certificate.engine} failed: {'; '.join(certificate.notes)}",)
    notes = (*tried, *certificate.notes) if certificate.ok else tried
    whole = certificate._replace(notes=notes, likelihood_evaluations=evaluations)
    return _thinned(found._replace(certificate=whole), draws)


def _engines(key: Key, ground: Groundwork, draws: int, share: float) -> Iterator[Posterior]:
    """Posteriors from the cheapest on that the pilot leaves some hope for."""
    keys = split(key, 5)
    if share >= EVEN:
        yield importance.sample(keys[0], ground, draws=draws, proposed=2048)
        yield importance.sample(keys[4], ground, draws=draws, proposed=4096, degrees=DEGREES)
    if share >= MIDDLING:
        yield independence.sample(keys[1], ground, draws=draws, proposed=16384)
    each, most = -(-max(draws, 1000) // 4), budget(ground)
    short = nuts.sample(keys[2], ground, draws=each, warmup=200, chains=4, accept=0.8, budget=most)
    yield short
    longer = each * _lacking(short.certificate)
    yield nuts.sample(
        keys[3], ground, draws=longer, warmup=500, chains=4, accept=0.9, budget=2 * most
    )


def _lacking(certificate: Certificate) -> int:
    """How many times as many draws would pass, with half as many again to spare; 2 to 8."""
    short = max((certificate.r_hat or 1.0) - 1.0, 0.0) / (MOST_R_HAT - 1.0)
    ess = min(certificate.ess_bulk or 0.0, certificate.ess_tail or 0.0)
    short = max(short, LEAST_ESS / max(ess, 1.0))
    return int(np.clip(np.ceil(1.5 * min(short, MOST_LONGER)), 2, MOST_LONGER))


def budget(ground: Groundwork) -> int:
    """How many gradients an escalation may take: so many operations, whatever the machine.

    One gradient multiplies every feature with every class, forth and back, and whitens θ.
    """
    rows, weights = len(ground.observations.weight), ground.scales.surrogate.centre.size
    columns, classes = sum(newton.sizes(ground.observations)), len(ground.bias)
    each = 4 * (rows * columns * classes + weights**2)
    return int(np.clip(OPERATIONS / each, FEWEST, MOST))


def _thinned(found: Posterior, draws: int) -> Posterior:
    """Exactly `draws` draws, evenly from the chains; of fewer some stand there twice."""
    if len(found.tau) == draws:
        return found
    kept = np.linspace(0, len(found.tau) - 1, draws).astype(int)
    enough = len(found.tau) > draws and draws % found.chains == 0
    theta = tuple(part[kept] for part in found.theta)
    return Posterior(theta, found.tau[kept], found.certificate, found.chains if enough else 1)
