"""The nouns: ψ with its last linear layer, the model, and what it says of patients."""

from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax import conformal
from fusionjax.calibrate import by_pattern
from fusionjax.calibrate.by_pattern import ByPattern
from fusionjax.card import Card
from fusionjax.conformal import Limits
from fusionjax.posterior import Certificate, Posterior
from fusionjax.predict import Predictive
from fusionjax.triage import Cases, Distance, unfamiliar
from fusionjax.types import Params


class Map(NamedTuple):
    """The last linear layer of ψ: θ's features are 1 and (F[1:] − shift) @ matrix."""

    shift: Float[Array, " p"]
    matrix: Float[Array, "p q"]


class Member(NamedTuple):
    """One ψ: parameters of its encoders and their last linear layers, one entry a modality."""

    weights: tuple[Params, ...]
    maps: tuple[Map, ...]


class Model(NamedTuple):
    """A fitted diagnosis; tuples have one entry a modality, in the order of the card.

    `theta[i]` holds draws [draw, class, p_i] for the mean of the members' features, `tau`
    draws [draw, modality]; an encoder gives `width` features if it is trained, else `projection`.
    `believed` is the prior probability π_i that a modality can be believed, `calibration` what is
    done to the evidence, `limits` those of prediction sets by presence pattern, and `familiar` how
    far from training features is far. `cases` are training records by id; None where they were not
    kept.
    """

    card: Card
    statistics: tuple[Any, ...]
    encoders: tuple[str, ...]
    width: int
    projection: int
    members: tuple[Member, ...]
    bias: Float[Array, " class"]
    theta: tuple[Float[Array, "draw class _"], ...]
    tau: Float[Array, "draw modality"]
    certificate: Certificate
    believed: float
    calibration: ByPattern
    limits: Limits
    familiar: tuple[Distance, ...]
    cases: Cases | None


class Diagnosis(NamedTuple):
    """What the model says of some patients.

    `reliable[:, i]` is P(r_i = 1 | X), `chosen` the prediction set, empty where nothing can be
    promised. `far[:, i]` is the share of training records whose modality i lies nearer to their
    mean, NaN where it is missing; `nearest` counts the model's cases, −1 where there is none.
    """

    predictive: Predictive
    presence: Bool[np.ndarray, "batch modality"]
    reliable: Float[np.ndarray, "batch modality"]
    chosen: Bool[np.ndarray, "batch class"]
    far: Float[np.ndarray, "batch modality"]
    nearest: Int[np.ndarray, "batch count"]


def of_posterior(
    card: Card,
    statistics: tuple[Any, ...],
    encoders: tuple[str, ...],
    sizes: tuple[int, int],
    members: tuple[Member, ...],
    bias: Float[Array, " class"],
    found: Posterior,
    believed: float = 0.9,
) -> Model:
    """The model that has seen no validation record: its evidence as θ gives it, nothing promised.

    `sizes` are `width` and `projection`. Nothing is far from its training features, since it knows
    none, and it keeps no case.
    """
    width, projection = sizes
    return Model(
        card=card,
        statistics=statistics,
        encoders=encoders,
        width=width,
        projection=projection,
        members=members,
        bias=bias,
        theta=found.theta,
        tau=found.tau,
        certificate=found.certificate,
        believed=believed,
        calibration=by_pattern.unchanged(len(encoders), len(bias), len(found.tau)),
        limits=conformal.NO_LIMITS,
        familiar=tuple(unfamiliar(t.shape[2] - 1) for t in found.theta),
        cases=None,
    )
