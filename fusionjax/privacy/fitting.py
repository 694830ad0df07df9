"""From records to a private model: two releases, and everything after them for nothing.

1. Of each class the number of records and the sum of their features. From these come the prior b_y
   and, a modality at a time, the directions in which the classes' means differ: the last linear
   layer of ψ, as small as class − 1 columns, so that θ has few weights and little noise.
2. θ's likelihood on what those directions show, by `release.rounds`.

φ is `public`; nothing is tuned or stopped early, and there is no calibration, no prediction set, no
share of nearer records and no case: each would be paid for, and the last cannot be had privately.
"""

from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fusionjax import posterior as posteriors
from fusionjax import presence
from fusionjax.model import Map, Member, Model, encoder_stack, mapped, of_posterior
from fusionjax.posterior.newton import zero_sum_basis
from fusionjax.posterior.types import Observations
from fusionjax.privacy import noise, posterior, public, release
from fusionjax.privacy.guarantee import (
    Guarantee,
    PrivacyError,
    Promise,
    Units,
    check,
    multiplier,
    sentence,
    units,
)
from fusionjax.privacy.public import Public
from fusionjax.study import Study, ordered
from fusionjax.types import Key

LIMIT = 2.5
"""Norm to which the directions' features are clipped, for each class direction's square root."""


@dataclass(frozen=True)
class Config:
    """How a private model is fitted."""

    promise: Promise = field(default_factory=Promise)
    maps: float = 0.35
    """What of the budget the directions and the prior get; θ gets the rest."""
    draws: int = 400
    """Draws of θ in each of four chains."""


class Private(NamedTuple):
    """A model, what is promised of it, and the noisy likelihood that its θ was drawn from."""

    model: Model
    guarantee: Guarantee
    released: release.Expansion


class Records(NamedTuple):
    """Training records as ψ's fixed part reads them, the constant 1 first, and their units."""

    features: tuple[Float[np.ndarray, "record _"], ...]
    presence: np.ndarray
    label: Int[np.ndarray, " record"]
    units: Units
    classes: int


class Means(NamedTuple):
    """What the first release left: the prior b_y, and ψ's last layer."""

    bias: Float[np.ndarray, " class"]
    maps: tuple[Map, ...]


def fit(
    key: Key, study: Study, stated: Public, config: Config, source: Random | None = None
) -> Private:
    """Fit the log-linear fusion of a study that `public.prepare` made, under `config.promise`.

    `source` draws the noise: the operating system's generator, or one with a seed for a rehearsal
    that promises nothing. Raises PrivacyError where the promise would not hold.
    """
    source = SystemRandom() if source is None else source
    found = read(study, stated, config.promise)
    check(config.promise, found.units.count)
    dropout, draw = jax.random.split(key)
    means, released = likelihood(dropout, found, config, source)
    given = _guarantee(config, found, released, source)
    sizes = tuple(1 + m.matrix.shape[1] for m in means.maps)
    bias = jnp.asarray(means.bias, jnp.float32)
    theta = posterior.fit(draw, released, bias, sizes, draws=config.draws, notes=(sentence(given),))
    plans = public.plans(study.card, stated)
    model = of_posterior(
        study.card,
        study.statistics,
        ("linear",) * len(sizes),
        (0, max(p.weight.shape[1] for p in plans)),
        (public.member(plans, means.maps),),
        bias,
        theta,
    )
    return Private(model, given, released)


def read(study: Study, stated: Public, promise: Promise) -> Records:
    """The training records' features by the fixed part of ψ, clipped to their public norms."""
    plans, rows = public.plans(study.card, stated), study.split.train
    if not public.same(study.statistics, plans):
        raise PrivacyError(
            "study",
            "was prepared with statistics of its own records",
            "Prepare it by privacy.public.prepare, with the same ranges, levels and gaps.",
        )
    widest = max(p.weight.shape[1] for p in plans)
    stack = encoder_stack(study.card.modalities, ("linear",) * len(plans), 0, widest)
    fixed: Member = public.member(plans)
    parts = [(mapped(stack, fixed, b.inputs), b.presence) for b in ordered(study, rows)]
    features, here = jax.tree.map(lambda *x: np.concatenate(x)[: len(rows)], *parts)
    limits = tuple(float(np.sqrt(p.weight.shape[1])) for p in plans)
    blanked = presence.blank(tuple(map(jnp.asarray, features)), jnp.asarray(here))
    return Records(
        release.clip(blanked, limits),
        np.asarray(here),
        study.label[rows],
        units(promise, study.group[rows]),
        len(study.card.classes),
    )


def likelihood(
    key: Key, found: Records, config: Config, source: Random
) -> tuple[Means, release.Expansion]:
    """Both releases: the prior and ψ's last layer, and θ's noisy likelihood."""
    promise = config.promise
    whole = multiplier(promise.epsilon, promise.delta)
    most = promise.most or 1
    means = release_means(found, whole / np.sqrt(config.maps), most, source)
    bounded = observe(key, found, means, most)
    at = release.rounds(bounded, means.bias, whole / np.sqrt(1 - config.maps), source)
    return means, at


def release_means(found: Records, multiplier: float, most: int, source: Random) -> Means:
    """Noisy class counts and class sums of the features, and what follows from them.

    A record adds onehot(y) ⊗ (1, F), whose norm is √(1 + R²) at most.
    """
    onehot = np.eye(found.classes)[found.label]
    whole = np.concatenate([np.ones((len(onehot), 1)), *found.features], axis=1)
    each = (onehot[:, :, None] * whole[:, None, :]).reshape(len(whole), -1)
    total = np.zeros((found.units.count, each.shape[1]))
    kept = found.units.of >= 0
    np.add.at(total, found.units.of[kept], each[kept])
    sizes = [f.shape[1] for f in found.features]
    # A modality's features but the constant were clipped to √(p − 1), and the constant adds 1.
    bound = most * float(np.sqrt(1 + sum(sizes)))
    sums = noise.noisy_sum(total, bound, multiplier, source).value.reshape(found.classes, -1)
    count = np.maximum(sums[:, 0], 1.0)
    parts = np.split(sums[:, 1:], np.cumsum(sizes)[:-1], axis=1)
    return Means(np.log(count / count.sum()), tuple(_map(part) for part in parts))


def _map(sums: Float[np.ndarray, "class p"]) -> Map:
    """The directions in which the class means differ, in class − 1 zero-sum coordinates.

    Scaled so that between the classes they have a variance of 1/2, which leaves as much for within.
    """
    count = np.maximum(sums[:, :1], 1.0)
    share = count / count.sum()
    means = sums[:, 1:] / count
    shift = (share * means).sum(axis=0)
    directions = (means - shift).T @ zero_sum_basis(len(sums))
    between = np.sum(share * ((means - shift) @ directions) ** 2) / directions.shape[1]
    matrix = directions / max(np.sqrt(2 * between), 1e-6)
    return Map(jnp.asarray(shift, jnp.float32), jnp.asarray(matrix, jnp.float32))


def observe(key: Key, found: Records, means: Means, most: int) -> release.Bounded:
    """θ's observations under the released directions, as they are and under modality dropout."""
    rates, several = jnp.full(len(means.maps), 0.5), len(means.maps) > 1
    shown, weight, index = presence.augment(key, jnp.asarray(found.presence), rates, int(several))
    turned = tuple(
        jnp.asarray(np.concatenate([f[:, :1], (f[:, 1:] - np.asarray(m.shift)) @ m.matrix], 1))
        for f, m in zip(found.features, means.maps, strict=True)
    )
    rows: Observations = posteriors.observe(
        tuple(f[index].astype(jnp.float32) for f in turned),
        shown,
        jnp.asarray(found.label)[index],
        found.classes,
        weight,
    )
    limits = (LIMIT * float(np.sqrt(found.classes - 1)),) * len(means.maps)
    return release.bound(rows, np.asarray(index), found.units, limits, most)


def _guarantee(
    config: Config, found: Records, released: release.Expansion, source: Random
) -> Guarantee:
    promise = config.promise
    z = multiplier(promise.epsilon, promise.delta)
    theta = [
        (f"θ, round {i + 1}", z / np.sqrt((1 - config.maps) * s))
        for i, s in enumerate(release.ROUNDS)
    ]
    return Guarantee(
        epsilon=promise.epsilon,
        delta=promise.delta,
        unit=promise.unit,
        units=found.units.count,
        most=promise.most or 1,
        sampler="none, every record in every sum",
        clip=float(np.sqrt(1 + sum(f.shape[1] for f in found.features))),
        noise=(("class means", z / np.sqrt(config.maps)), *((n, float(m)) for n, m in theta)),
        accountant="Rényi divergence of discrete Gaussians",
        public=(
            "the number of units",
            "ranges, levels and gaps of the columns",
            "no calibration, early stopping, tuning or prediction sets",
        ),
        rehearsal=not isinstance(source, SystemRandom),
    )
