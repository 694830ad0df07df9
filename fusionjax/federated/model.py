"""The whole model of a federation: class frequencies, φ, ψ, and θ's posterior.

What it lacks of a pooled model are the temperature and the prediction sets: a site calibrates on
validation records of its own (`calibration.calibrated`), which it need not share.
"""

import jax
import numpy as np

from fusionjax.card import Card
from fusionjax.federated import posterior, projection, statistics
from fusionjax.federated.coordinator import Federation
from fusionjax.federated.posterior import Engine, Shape
from fusionjax.federated.setup import Setup, dumps, loads, member, sizes
from fusionjax.model import Model, of_posterior
from fusionjax.posterior import Posterior


def prepare(federation: Federation, card: Card, *, features: int = 96, seed: int = 0) -> Shape:
    """Census, φ and ψ; raises CardError for a card that a federation cannot follow.

    `features` is `FitConfig.projection`: weights in θ for a modality, at most.
    """
    statistics.check(card)
    counted = statistics.census(federation, card)
    bias = np.log((counted.labels + 1.0) / np.sum(counted.labels + 1.0)).astype(np.float32)
    kept = max(8, features // (len(card.classes) - 1))
    setup = Setup(card, (), member([]), bias, kept, seed)
    setup = setup._replace(statistics=statistics.fit(federation, card, counted.instances))
    setup = setup._replace(member=member(projection.fit(federation, setup)))
    return Shape(bias, sizes(setup), dumps(setup))


def fit(
    federation: Federation,
    card: Card,
    *,
    engine: Engine = "laplace",
    draws: int = 400,
    features: int = 96,
    seed: int = 0,
) -> Model:
    """The model of all sites that stayed from the first sum to the last (`federation.members`).

    Raises CardError as `prepare`, and FederationError where too few sites are left.
    """

    def work(federation: Federation) -> tuple[Shape, Posterior]:
        shape = prepare(federation, card, features=features, seed=seed)
        key = jax.random.key(seed)
        return shape, posterior.fit(key, federation, shape, engine=engine, draws=draws)

    shape, found = federation.fit(work)
    return assemble(shape, found)


def assemble(shape: Shape, found: Posterior) -> Model:
    """The model that `fusionjax.diagnose`, `save` and `load` take."""
    setup = loads(shape.setup)
    bias, members = jax.numpy.asarray(setup.bias), (setup.member,)
    encoders, sizes = ("linear",) * len(setup.card.modalities), (16, setup.projection)
    return of_posterior(setup.card, setup.statistics, encoders, sizes, members, bias, found)
