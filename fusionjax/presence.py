"""Which modalities a record has: blanking what is missing, dropping at random, every pattern."""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax.types import Key


class Augmented(NamedTuple):
    """Records seen under several presence patterns: `index` names the record of each row."""

    presence: Bool[Array, "row modality"]
    weight: Float[Array, " row"]
    index: Int[Array, " row"]


def blank(
    features: tuple[Float[Array, "batch _"], ...], presence: Bool[Array, "batch modality"]
) -> tuple[Float[Array, "batch _"], ...]:
    """The features with 0, the constant included, in the rows where their modality is missing.

    Called before any arithmetic it keeps a NaN in a missing modality out of the gradient as well,
    which a `where` on the result would not.
    """
    present = jnp.split(presence, len(features), axis=1)
    return tuple(jnp.where(o, f, 0) for f, o in zip(features, present, strict=True))


def patterns(modalities: int) -> Bool[Array, "pattern modality"]:
    """All 2^m − 1 non-empty presence patterns, fullest first, then in card order."""
    rows = list(product((True, False), repeat=modalities))[:-1]
    return jnp.array(sorted(rows, key=sum, reverse=True))


def mcar(
    key: Key, presence: Bool[Array, "batch modality"], rates: Float[Array, " modality"]
) -> Bool[Array, "batch modality"]:
    """Presence after losing each modality i of each record with probability `rates[i]`.

    Missing completely at random: independent of everything else, so a record may lose all it has.
    """
    return presence & (jax.random.uniform(key, presence.shape) >= rates[None, :])


def drop(
    key: Key, presence: Bool[Array, "batch modality"], rates: Float[Array, " modality"]
) -> Bool[Array, "batch modality"]:
    """Modality dropout for training: `mcar`, but no record loses everything.

    Where all would go, one of the modalities that were present stays, each equally likely.
    """
    losses, rescues = jax.random.split(key)
    kept = mcar(losses, presence, rates)
    return jnp.where(jnp.any(kept, axis=1, keepdims=True), kept, _one(rescues, presence))


def augment(
    key: Key,
    presence: Bool[Array, "record modality"],
    rates: Float[Array, " modality"],
    draws: int,
) -> Augmented:
    """Each record as observed and under `draws` patterns of `drop`, in (1 + draws)·n rows.

    The observed pattern weighs 1/2 and each draw 1/(2 draws), or 1 with no draws. A record's
    weights sum to 1, so that seeing it often does not count it often: with s_k the score of row k,
    Var(Σ_k w_k s_k) ≼ Σ_k w_k Var(s_k) (Jensen), and where the model holds under every pattern
    the right side is the information that the weighted likelihood claims. So its posterior is never
    narrower than the sandwich covariance (Pauli, Racugno and Ventura 2011 on composite posteriors).
    """
    records = len(presence)
    observed = Augmented(presence, jnp.ones(records), jnp.arange(records))
    if draws == 0:
        return observed
    dropped = jax.vmap(drop, in_axes=(0, None, None))(jax.random.split(key, draws), presence, rates)
    return Augmented(
        presence=jnp.concatenate([presence, *dropped]),
        weight=jnp.concatenate([observed.weight / 2, jnp.full(draws * records, 0.5 / draws)]),
        index=jnp.tile(observed.index, 1 + draws),
    )


def _one(key: Key, presence: Bool[Array, "batch modality"]) -> Bool[Array, "batch modality"]:
    """One of the present modalities of each record, each equally likely; none where none is."""
    ticket = jnp.where(presence, jax.random.uniform(key, presence.shape), -1.0)
    return presence & (ticket == jnp.max(ticket, axis=1, keepdims=True))
