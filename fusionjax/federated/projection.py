"""ψ of all sites together: the untrained projection of `encoders.projection`, from sums.

Its extremes are found by counting, the rest from one sum of the summaries and of their products.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fusionjax import preprocess
from fusionjax.card import Modality
from fusionjax.encoders.projection import SAME_UNIT, oriented, placed, strongest, varying
from fusionjax.encoders.summaries import SUMMARIES
from fusionjax.federated.coordinator import Federation
from fusionjax.federated.messages import Arrays, Request
from fusionjax.federated.setup import Setup, dumps
from fusionjax.federated.statistics import search


def fit(federation: Federation, setup: Setup) -> list[dict]:
    """The parameters of each modality's projection, given φ."""
    text, modalities = dumps(setup), setup.card.modalities
    widths = [_width(*one) for one in zip(modalities, setup.statistics, strict=True)]

    def ranks(count: np.ndarray) -> np.ndarray:
        return np.stack([0 * count, np.maximum(count - 1, 0)], axis=1)

    _, extremes = search(federation, sum(widths), ranks, text)
    ends = np.split(extremes.astype(np.float64), np.cumsum(widths)[:-1])
    arrays, expected, counts = {}, {}, []
    for i, width in enumerate(widths):
        arrays |= {f"low{i}": ends[i][:, 0], f"high{i}": ends[i][:, 1]}
        arrays |= {f"centre{i}": ends[i].mean(axis=1)}
        expected |= {f"count{i}": (), f"sum{i}": (width,), f"product{i}": (width, width)}
        expected |= {f"extreme{i}": (width,), f"differ{i}": (width, width)}
        counts += [f"count{i}", f"extreme{i}", f"differ{i}"]
    found = federation.total(Request("summary", arrays, expected, tuple(counts), text))
    names = ("count", "sum", "product", "extreme", "differ")
    return [
        _projection(
            {name: found[f"{name}{i}"] for name in names}, ends[i], setup.projection, modality
        )
        for i, modality in enumerate(modalities)
    ]


def _width(modality: Modality, statistics) -> int:
    """How many columns the summary of a modality has."""
    nobody = preprocess.apply(modality, statistics, [])
    blank = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), nobody)
    return SUMMARIES[modality.kind]({}, blank).shape[1]


def _projection(
    sums: Arrays, ends: Float[np.ndarray, "column 2"], features: int, modality: Modality
) -> dict:
    """Constant and repeated columns go, units are set, and axes turned if too many are left."""
    count = max(float(sums["count"]), 1.0)
    shift = sums["sum"] / count
    centre = ends.mean(axis=1) + shift
    covariance = sums["product"] / count - np.outer(shift, shift)
    sd = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    varies = varying(centre, sd)
    same = np.tril((sums["differ"] == 0) & varies[None, :], -1).any(axis=1)
    kept = np.flatnonzero(varies & ~same)
    binary, half = sums["extreme"] == sums["count"], (ends[:, 1] - ends[:, 0]) / 2
    unit = (np.ones(len(sd)) if modality.kind in SAME_UNIT else np.where(binary, half, sd))[kept]
    spread = covariance[np.ix_(kept, kept)] / np.outer(unit, unit)
    axes = _principal_axes(spread, features) if len(kept) > features else np.eye(len(kept))
    variance = float(np.trace(axes.T @ spread @ axes)) / axes.shape[1] if axes.size else 1.0
    weight = placed(axes, kept, unit, variance, len(sd))
    return {"centre": jnp.asarray(centre, jnp.float32), "weight": weight}


def _principal_axes(
    spread: Float[np.ndarray, "column column"], count: int
) -> Float[np.ndarray, "column axis"]:
    """The orthonormal axes of largest variance, from the covariance."""
    power, axes = np.linalg.eigh(spread)
    return oriented(strongest(power[-count:], axes[:, -count:])[1])
