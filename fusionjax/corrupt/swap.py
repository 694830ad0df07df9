"""The wrong patient's modality: who is shown in whose place.

    donor = donors(key, presence, rates)
    features = exchanged(features, donor)

A donor is a row of the same batch, so that records for training are swapped among themselves and no
test record enters training, nor the other way round.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax.types import Key


def donors(
    key: Key,
    presence: Bool[Array, "row modality"],
    rates: Float[Array, " modality"],
    label: Int[Array, " row"] | None = None,
) -> Int[Array, "row modality"]:
    """The row whose modality each row shows: its own, or with probability `rates[i]` a donor's.

    A donor is drawn uniformly from the rows that have the modality, anyone (now and then the
    patient itself), or of another class where `label` is given. Where there is no such row, and
    where the modality is missing, nothing is swapped.
    """
    rows, modalities = presence.shape
    pick, choose = jax.random.split(key)
    found = [
        _donor(k, presence[:, i], label) for i, k in enumerate(jax.random.split(pick, modalities))
    ]
    own = jnp.arange(rows)[:, None]
    swapped = presence & (jax.random.uniform(choose, presence.shape) < rates[None, :])
    donor = jnp.stack(found, axis=1)
    return jnp.where(swapped & (donor >= 0), donor, own)


def exchanged(values: Sequence[Any], donor: Int[Array, "row modality"]) -> tuple[Any, ...]:
    """Each modality's rows, any tree of arrays [row, ...], taken from their donors."""
    return tuple(
        jax.tree.map(lambda leaf, i=i: leaf[donor[:, i]], value) for i, value in enumerate(values)
    )


def _donor(
    key: Key, present: Bool[Array, " row"], label: Int[Array, " row"] | None
) -> Int[Array, " row"]:
    """A row for each row, or -1: rows are ordered by class, those of the own class left out."""
    classes = jnp.zeros(present.shape, int) if label is None else label
    order = jnp.lexsort((classes, ~present))
    here = jnp.sum(present)
    if label is None:
        first, own = jnp.zeros(present.shape, int), jnp.zeros(present.shape, int)
    else:
        ahead = present[None, :] & (label[None, :] < label[:, None])
        same = present[None, :] & (label[None, :] == label[:, None])
        first, own = jnp.sum(ahead, axis=1), jnp.sum(same, axis=1)
    room = here - own
    drawn = jnp.floor(jax.random.uniform(key, present.shape) * room).astype(int)
    place = jnp.minimum(drawn, jnp.maximum(room - 1, 0))
    place = place + jnp.where(place >= first, own, 0)
    return jnp.where(room > 0, order[jnp.minimum(place, len(present) - 1)], -1)
