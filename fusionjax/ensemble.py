"""A deep ensemble over ψ: members fitted from seeds of their own, each with a posterior over θ.

A cross-fitted model averages the evidence of its members before θ reads it, so how far encoders
differ is not in its uncertainty. Here each member is a whole model (encoders, posterior by any
engine, calibration), and predictions are mixed: Lakshminarayanan et al. (2017), "Simple and
scalable predictive uncertainty estimation using deep ensembles", with a posterior in each member.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import entr
from jaxtyping import Float

from fusionjax.crossfit import FitConfig, Progress
from fusionjax.fitting import fit
from fusionjax.model import Model, calibrated, features
from fusionjax.predict import predictive
from fusionjax.study import Study
from fusionjax.types import Batch


class Mixture(NamedTuple):
    """P(y | X) of the members' mixture, and its uncertainty in nats.

    `total` = `aleatoric` + `within` + `between`: the entropy that every draw of every member leaves
    open on average, what θ's posteriors hold about the label, and what it would tell to know which
    member is right. The last two are the epistemic part.
    """

    prob: Float[Array, "batch class"]
    total: Float[Array, " batch"]
    aleatoric: Float[Array, " batch"]
    within: Float[Array, " batch"]
    between: Float[Array, " batch"]

    @property
    def epistemic(self) -> Float[Array, " batch"]:
        """What more training records would settle, of θ and of ψ."""
        return self.within + self.between


def fit_members(
    study: Study,
    names: tuple[str, ...],
    config: FitConfig,
    members: int,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Model, ...]:
    """Fit members from `config.seed` on, on the same records; each takes as long as one model.

    Each has the `certificate` of its own posterior, by the engine that `config` names. Untrained
    encoders differ too, by their projections.
    """
    return tuple(
        fit(
            study,
            names,
            replace(config, seed=config.seed + member),
            checkpoints=checkpoints and checkpoints / f"member-{member}",
            progress=progress,
        ).model
        for member in range(members)
    )


def mixed(members: tuple[Model, ...], batch: Batch) -> Mixture:
    """Predict for a batch by the members, each of which weighs the same."""
    each = [
        predictive(
            member.theta,
            member.bias,
            features(member, batch),
            batch.presence,
            *calibrated(member, batch.presence),
        )
        for member in members
    ]
    prob, total, aleatoric, within = (
        jnp.mean(jnp.stack([getattr(one, name) for one in each]), axis=0)
        for name in ("prob", "total", "aleatoric", "epistemic")
    )
    mixture = jnp.sum(entr(prob), axis=1)
    return Mixture(prob, mixture, aleatoric, within, jnp.maximum(mixture - total, 0))
