"""ψ without training: a fixed summary of a modality, standardised and turned to its main axes.

It never sees a label, so θ's posterior may be fitted on the very records that it was fitted on:
none need be set aside, which is worth more than a learnt encoder where records are few.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax.card import Kind
from fusionjax.encoders import adapters
from fusionjax.encoders.summaries import SUMMARIES, rarity
from fusionjax.types import Encoder, Features, Inputs, Key, Params

CHUNK = 1024
SAME_UNIT = ("image", "text")
"""Kinds whose columns share a unit: these are only centred, the others are divided by `_unit`."""


def linear(kind: Kind, features: int = 128) -> Encoder:
    """z = (summary − centre) @ weight, of at most `features` columns and mean variance 1.

    `init` fits centre and weight to those of its records that have anything. Constant and repeated
    columns are dropped, and if more than `features` are left they are turned to their principal
    axes (Pearson 1901), the first of which are kept. It cannot be jitted, and draws nothing from
    its key. With no record at all z has no column.
    """
    summary = SUMMARIES[kind]

    def init(key: Key, inputs: Inputs) -> Params:
        clean = present(inputs)
        params = {"rarity": rarity(clean)} if kind == "text" else {}
        rows = in_chunks(jax.jit(summary), params, clean)
        centre, weight = fitted(rows, features, standardised=kind not in SAME_UNIT)
        return params | {"centre": centre, "weight": weight}

    def apply(params: Params, inputs: Inputs) -> Features:
        clean = adapters.blanked(inputs)
        with jax.default_matmul_precision("highest"):
            z = (summary(params, clean) - params["centre"][None, :]) @ params["weight"]
        return adapters.features(z, clean.mask)

    return Encoder(init, apply, trained=False)


def present(inputs: Inputs) -> Inputs:
    """The records that have anything."""
    there = np.asarray(inputs.mask).any(axis=tuple(range(1, inputs.mask.ndim)))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[there], inputs)


def in_chunks(
    summary: Callable[[Params, Inputs], Array], params: Params, inputs: Inputs
) -> Float[np.ndarray, "record column"]:
    """At least one chunk, though it be empty, so that the number of columns is known."""
    parts = []
    for start in range(0, max(1, len(inputs.mask)), CHUNK):
        chunk = Inputs(*(leaf[start : start + CHUNK] for leaf in inputs))
        with jax.default_matmul_precision("highest"):
            parts.append(np.asarray(summary(params, adapters.blanked(chunk)), np.float64))
    return np.concatenate(parts)


def fitted(
    rows: Float[np.ndarray, "record column"], features: int, standardised: bool
) -> tuple[Float[Array, " column"], Float[Array, "column p"]]:
    """The centre of the rows, and the weight that makes z of what is left of them (`linear`)."""
    centre = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
    sd = rows.std(axis=0) if len(rows) else centre
    kept = _informative(rows, varying(centre, sd))
    unit = _unit(rows, sd)[kept] if standardised else np.ones(len(kept))
    x = (rows - centre)[:, kept] / unit
    axes = _principal_axes(x, features) if len(kept) > features else np.eye(len(kept))
    variance = float(np.mean((x @ axes) ** 2)) if axes.size else 1.0
    return jnp.asarray(centre, jnp.float32), placed(axes, kept, unit, variance, len(centre))


def varying(
    centre: Float[np.ndarray, " column"], sd: Float[np.ndarray, " column"]
) -> Bool[np.ndarray, " column"]:
    """Which columns are not constant, to rounding."""
    return sd > 1e-6 * (1 + np.abs(centre))


def strongest(
    power: Float[np.ndarray, " axis"], axes: Float[np.ndarray, "column axis"]
) -> tuple[Float[np.ndarray, " strong"], Float[np.ndarray, "column strong"]]:
    """Of eigenvalues and axes in rising order those that are not rounding, the largest first."""
    strong = power > 1e-6 * power[-1]
    return power[strong][::-1], axes[:, strong][:, ::-1]


def oriented(axes: Float[np.ndarray, "column axis"]) -> Float[np.ndarray, "column axis"]:
    """The axes, each with its largest entry positive."""
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return axes * np.sign(largest)


def placed(
    axes: Float[np.ndarray, "kept p"],
    kept: Int[np.ndarray, " kept"],
    unit: Float[np.ndarray, " kept"],
    variance: float,
    columns: int,
) -> Float[Array, "column p"]:
    """The weight of all columns: axes of the kept ones in their units, at mean variance 1."""
    weight = np.zeros((columns, axes.shape[1]))
    weight[kept] = axes / unit[:, None] / np.sqrt(variance)
    return jnp.asarray(weight, jnp.float32)


def _unit(
    rows: Float[np.ndarray, "record column"], sd: Float[np.ndarray, " column"]
) -> Float[np.ndarray, " column"]:
    """The deviation of a number; half the range of what takes two values (Gelman 2008).

    A flag that hardly any training record has would have a tiny deviation, and the few records
    elsewhere that have it would lie twenty of these away.
    """
    low, high = rows.min(axis=0, initial=np.inf), rows.max(axis=0, initial=-np.inf)
    binary = ((rows == low[None, :]) | (rows == high[None, :])).all(axis=0)
    return np.where(binary, (high - low) / 2, sd)


def _informative(
    rows: Float[np.ndarray, "record column"], among: Bool[np.ndarray, " column"]
) -> np.ndarray:
    """The columns `among` those without the ones that repeat an earlier one."""
    first = {rows[:, j].tobytes(): j for j in np.flatnonzero(among)[::-1]}
    return np.sort(np.fromiter(first.values(), np.int64))


def _principal_axes(
    x: Float[np.ndarray, "record column"], count: int
) -> Float[np.ndarray, "column axis"]:
    """The orthonormal axes of largest variance, from the smaller of the two Gram matrices."""
    from scipy.linalg import eigh

    wide = len(x) < x.shape[1]
    gram = x @ x.T if wide else x.T @ x
    last = len(gram) - 1
    power, axes = eigh(gram, subset_by_index=[max(0, last + 1 - count), last])
    power, axes = strongest(power, axes)
    return oriented(x.T @ axes / np.sqrt(power) if wide else axes)
