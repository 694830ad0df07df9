"""Which modalities a record has: blanking what is missing, dropping at random, every pattern."""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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


def mar(
    key: Key,
    presence: Bool[Array, "batch modality"],
    rates: Float[Array, " modality"],
    score: Float[Array, " batch"],
    anchor: int,
) -> Bool[Array, "batch modality"]:
    """Missing at random: a loss depends on what modality `anchor` shows, which is never lost.

    `score` is a function of that modality, of mean 0 and deviation about 1; the odds of losing i
    are those of `rates[i]` times e^score. Where the anchor itself is missing, they are those of
    `rates[i]`.
    """
    known = jnp.where(presence[:, anchor], score, 0.0)
    kept = _lost_by_odds(key, presence, rates, known[:, None])
    return kept.at[:, anchor].set(presence[:, anchor])


def mnar(
    key: Key,
    presence: Bool[Array, "batch modality"],
    rates: Float[Array, " modality"],
    score: Float[Array, "batch modality"],
) -> Bool[Array, "batch modality"]:
    """Missing not at random: the chance of losing i depends on what i itself would have shown.

    `score[:, i]` is a function of modality i; the odds of losing it are times e^score.
    """
    return _lost_by_odds(key, presence, rates, score)


def by_site(
    presence: Bool[Array, "batch modality"],
    site: Int[Array, " batch"],
    owned: Bool[Array, "site modality"],
) -> Bool[Array, "batch modality"]:
    """Block-wise missing: a site that does not own modality i has it of nobody."""
    return presence & owned[site]


def exclusive(
    key: Key, presence: Bool[Array, "batch modality"], rates: Float[Array, " modality"]
) -> Bool[Array, "batch modality"]:
    """Mutually exclusive: with probability max(rates) a record keeps one modality and no more.

    Which of those it had is drawn in proportion to 1 − rates.
    """
    sole, pick = jax.random.split(key)
    alone = jax.random.uniform(sole, (len(presence), 1)) < jnp.max(rates)
    one = _one(pick, presence, 1 - rates)
    return jnp.where(alone, one, presence)


def drop(
    key: Key, presence: Bool[Array, "batch modality"], rates: Float[Array, " modality"]
) -> Bool[Array, "batch modality"]:
    """Modality dropout for training: `mcar`, but no record loses everything.

    Where all would go, one of the modalities that were present stays, each equally likely.
    """
    losses, rescues = jax.random.split(key)
    kept = mcar(losses, presence, rates)
    return jnp.where(jnp.any(kept, axis=1, keepdims=True), kept, _one(rescues, presence))


def every(presence: Bool[np.ndarray, "record modality"]) -> Augmented:
    """Each record as observed, and under every pattern that it can show.

    The observed pattern weighs 1/2, and so do all 2^m − 1 patterns of a record's m modalities
    together, the observed one among them. The first rows are the records as observed. `augment`
    draws patterns instead, and says why a record's weights sum to 1.
    """
    shown = np.asarray(patterns(presence.shape[1]))
    able = (presence[:, None, :] | ~shown[None, :, :]).all(axis=2)
    count = able.sum(axis=1)
    own = (presence[:, None, :] == shown[None, :, :]).all(axis=2)
    record, pattern = np.nonzero(able & ~own)
    alone = np.where(count > 1, 0.5 + 0.5 / np.maximum(count, 1), 1.0)
    return Augmented(
        presence=jnp.asarray(np.concatenate([presence, shown[pattern]])),
        weight=jnp.asarray(np.concatenate([alone, 0.5 / count[record]]), jnp.float32),
        index=jnp.asarray(np.concatenate([np.arange(len(presence)), record])),
    )


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


def _lost_by_odds(
    key: Key,
    presence: Bool[Array, "batch modality"],
    rates: Float[Array, " modality"],
    score: Float[Array, "batch _"],
) -> Bool[Array, "batch modality"]:
    logit = jnp.log(rates) - jnp.log1p(-rates)
    chance = jax.nn.sigmoid(logit[None, :] + score)
    return presence & (jax.random.uniform(key, presence.shape) >= chance)


def _one(
    key: Key,
    presence: Bool[Array, "batch modality"],
    weight: Float[Array, " modality"] | None = None,
) -> Bool[Array, "batch modality"]:
    """One of the present modalities of each record, by weight or each equally likely; or none.

    The largest of u^(1/weight) is modality i's in proportion to its weight (Efraimidis and Spirakis
    2006, "Weighted random sampling with a reservoir").
    """
    ticket = jax.random.uniform(key, presence.shape)
    ticket = ticket if weight is None else ticket ** (1 / weight[None, :])
    ticket = jnp.where(presence, ticket, -1.0)
    return presence & (ticket == jnp.max(ticket, axis=1, keepdims=True))
