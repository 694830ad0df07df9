"""The probability model of the synthetic clinic, and its exact truth.

Breathless patients have one of four diagnoses y. Modality i shows findings z_i: three graded signs
on the levels 0..3 (image, note, sound) or four Gaussian log-concentrations (biomarkers). Each
modality is an exponential family in its statistics s(z_i), the centred levels or the values:

    log P(z_i | y, u) = (η_iy + severity · u · d_i) · s(z_i) − A_i(y, u) + log h_i(z_i)

so with all dials at 0, log P(y | X_S) = log P(y) + Σ_{i in S} (η_iy · s(z_i) − A_i(y)) − log Z: the
log-linear model of this package, with known θ. The dials break that, and the truth follows them:

| dial             | does                                                 | the truth             |
|------------------|------------------------------------------------------|-----------------------|
| severity         | one latent u pushes the findings of all modalities   | sums over u           |
| swap             | P(a modality is that of a stranger of the same site) | sums over the swaps   |
| missing          | P(a modality is absent), whatever the patient        | drops the modality    |
| missing_by_label | adds absence at rates that depend on y               | drops it, or reads it |
| site_shift       | sites differ in prevalence, and in how files look    | given the site        |

What a file holds beside its findings is independent of everything (of all but the site when that
dial is up), so P(y | files, site) = P(y | z, site).
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

CLASSES = ("heart_failure", "pneumonia", "pulmonary_embolism", "aortic_stenosis")
PREVALENCE = np.array([0.40, 0.25, 0.15, 0.20])
MODALITIES = ("image", "note", "sound", "biomarkers")
FINDINGS = (
    ("heart_size", "opacity", "fluid"),
    ("swelling", "fever", "onset"),
    ("murmur", "third_sound", "crackles"),
    ("bnp", "troponin", "crp", "d_dimer"),
)
LEVELS = 4
CENTRED = np.arange(LEVELS) - (LEVELS - 1) / 2
BIOMARKERS = MODALITIES.index("biomarkers")

# η_i, [class, finding]: what each diagnosis does to each sign. Scaled so that a modality alone is
# right for about 60 % of patients, and all four together for about 85 %.
NATURAL = (
    np.array([[0.7, -0.3, 0.5], [-0.6, 0.7, -0.1], [-0.4, -0.6, -0.5], [0.2, -0.7, -0.5]]),
    np.array([[0.7, -0.5, -0.2], [-0.5, 0.7, 0.2], [-0.2, -0.3, 0.8], [-0.1, -0.6, -0.7]]),
    np.array([[-0.1, 0.6, 0.3], [-0.6, -0.5, 0.4], [-0.6, -0.3, -0.6], [0.9, -0.1, -0.5]]),
    np.array([[8, 0, -4, -2], [-4, -3, 8, 0], [-3, 4, 0, 9], [1, 2, -6, -5]]) / 10,
)
# d_i, [finding]: severe illness raises every sign but the suddenness of onset.
DRIFT = (
    np.array([0.4, 0.4, 0.4]),
    np.array([0.4, 0.4, 0.0]),
    np.array([0.3, 0.4, 0.4]),
    np.array([0.6, 0.6, 0.6, 0.4]),
)
# [class, modality]: chance of absence at missing_by_label = 1, never 0, so no pattern excludes a y.
ABSENCE = np.array(
    [[0.1, 0.2, 0.2, 0.4], [0.1, 0.3, 0.8, 0.2], [0.5, 0.1, 0.6, 0.1], [0.6, 0.4, 0.1, 0.7]]
)
# [pattern, modality]: everything present first, nothing present left out.
PATTERNS = np.array(list(product([True, False], repeat=len(MODALITIES)))[:-1])
SUBSETS = tuple(tuple(np.flatnonzero(pattern).tolist()) for pattern in PATTERNS)
SITES = ("north", "harbour", "valley")
SITE = np.array([0.0, 1.0, -1.0])
TILT = np.array([0.6, -0.6, -0.2, 0.2])


class Dials(NamedTuple):
    """How far the clinic departs from the log-linear model."""

    severity: float = 0.0
    """Standard deviations that a severe illness pushes the findings of all modalities, 0 to 2."""
    swap: float = 0.0
    """Chance that a modality is a stranger's, 0 to 1."""
    missing: float = 0.0
    """Chance that a modality is absent, 0 to 0.9."""
    missing_by_label: float = 0.0
    """How much absence depends on the diagnosis, 0 to 1."""
    site_shift: float = 0.0
    """How much prevalence and the look of files differ between sites, 0 to 1."""


LIMITS = Dials(severity=2.0, swap=1.0, missing=0.9, missing_by_label=1.0, site_shift=1.0)


class World(NamedTuple):
    """The dials made numbers: log P(y | site), u with its log weights, and P(presence | y)."""

    dials: Dials
    log_prior: Float[np.ndarray, "site class"]
    severity: Float[np.ndarray, " node"]
    log_weight: Float[np.ndarray, " node"]
    pattern: Float[np.ndarray, "class pattern"]


class Cohort(NamedTuple):
    """Patients: diagnosis, site, severity u, the findings that their files show, swaps and gaps."""

    label: Int[np.ndarray, " patient"]
    site: Int[np.ndarray, " patient"]
    severity: Float[np.ndarray, " patient"]
    findings: tuple[Shaped[np.ndarray, "patient finding"], ...]
    swapped: Bool[np.ndarray, "patient modality"]
    presence: Bool[np.ndarray, "patient modality"]


def make(dials: Dials, nodes: int = 7) -> World:
    """The world at these dials; u is standard normal on `nodes` Gauss–Hermite points.

    Raises ValueError for a dial outside 0..`LIMITS`.
    """
    for name, value, limit in zip(Dials._fields, dials, LIMITS, strict=True):
        if not 0 <= value <= limit:
            raise ValueError(f"dial {name} = {value}: expected a number from 0 to {limit:g}")
    severity, weight = np.polynomial.hermite_e.hermegauss(nodes)
    log_prior = _log_softmax(np.log(PREVALENCE) + dials.site_shift * SITE[:, None] * TILT)
    return World(dials, log_prior, severity, np.log(weight / weight.sum()), _pattern(dials))


def sample(rng: np.random.Generator, world: World, n: int) -> Cohort:
    """Draws `n` independent patients, each with at least one modality present.

    A swapped modality is that of a stranger who is not in the cohort, so no file occurs twice.
    """
    site = rng.integers(len(SITES), size=n)
    label, node = _people(rng, world, site)
    own = [_show(rng, world, i, label, node) for i in range(len(MODALITIES))]
    strangers = [_show(rng, world, i, *_people(rng, world, site)) for i in range(len(MODALITIES))]
    swapped = rng.random((n, len(MODALITIES))) < world.dials.swap
    findings = tuple(
        np.where(swapped[:, [i]], other, mine)
        for i, (other, mine) in enumerate(zip(strangers, own, strict=True))
    )
    presence = PATTERNS[_categorical(rng, world.pattern[label])]
    return Cohort(label, site, world.severity[node], findings, swapped, presence)


def statistics(
    modality: int, findings: Shaped[np.ndarray, "patient finding"]
) -> Float[np.ndarray, "patient finding"]:
    """s(z_i): centred levels, or the log-concentrations as they are."""
    return findings if modality == BIOMARKERS else CENTRED[findings]


def log_likelihood(
    world: World, modality: int, findings: Shaped[np.ndarray, "patient finding"]
) -> Float[np.ndarray, "patient class node"]:
    """log P(z_i | y, u) of findings that are the patient's own."""
    natural = _natural(world, modality)
    s = statistics(modality, findings)
    base = -(s**2).sum(-1)[:, None, None] / 2 if modality == BIOMARKERS else 0.0
    return np.einsum("nf,cuf->ncu", s, natural) - _log_normaliser(modality, natural) + base


def truth(
    world: World, cohort: Cohort, subset: Sequence[int]
) -> Float[np.ndarray, "patient class"]:
    """log P(y | X_S, site) for the modalities in `subset`, whether present or not.

    The absence of the others is not read: exact where absence does not depend on y.
    """
    joint = prior = _log_prior(world, cohort.site)
    for i in subset:
        joint = joint + _log_shown(world, i, cohort.findings[i], prior)
    return _log_softmax(np.logaddexp.reduce(joint, axis=-1))


def truth_of_record(world: World, cohort: Cohort) -> Float[np.ndarray, "patient class"]:
    """log P(y | X_S, presence pattern S, site): all that a record tells, its gaps included."""
    joint = prior = _log_prior(world, cohort.site)
    for i, z in enumerate(cohort.findings):
        joint = joint + cohort.presence[:, i, None, None] * _log_shown(world, i, z, prior)
    log_pattern = np.log(world.pattern[:, _pattern_of(cohort.presence)].T)
    return _log_softmax(np.logaddexp.reduce(joint, axis=-1) + log_pattern)


def _log_prior(
    world: World, site: Int[np.ndarray, " patient"]
) -> Float[np.ndarray, "patient class node"]:
    """log P(y, u | site)."""
    return world.log_prior[site][:, :, None] + world.log_weight


def _natural(world: World, modality: int) -> Float[np.ndarray, "class node finding"]:
    push = world.dials.severity * world.severity[:, None] * DRIFT[modality]
    return NATURAL[modality][:, None, :] + push


def _log_normaliser(
    modality: int, natural: Float[np.ndarray, "class node finding"]
) -> Float[np.ndarray, "class node"]:
    """A_i(y, u) = log Σ_z exp(η · s(z)) h(z), the integral where z is Gaussian."""
    if modality == BIOMARKERS:
        return ((natural**2 + np.log(2 * np.pi)) / 2).sum(-1)
    return np.logaddexp.reduce(natural[..., None] * CENTRED, axis=-1).sum(-1)


def _log_shown(
    world: World,
    modality: int,
    findings: Shaped[np.ndarray, "patient finding"],
    prior: Float[np.ndarray, "patient class node"],
) -> Float[np.ndarray, "patient class node"]:
    """log P(z_i shown | y, u): the patient's own, or a draw from the site's marginal."""
    own = log_likelihood(world, modality, findings)
    stranger = np.logaddexp.reduce(prior + own, axis=(1, 2), keepdims=True)
    with np.errstate(divide="ignore"):
        log_own, log_swap = np.log([1 - world.dials.swap, world.dials.swap])
    return np.logaddexp(log_own + own, log_swap + stranger)


def _pattern(dials: Dials) -> Float[np.ndarray, "class pattern"]:
    """P(presence pattern | y, something is present), in the order of `PATTERNS`."""
    present = (1 - dials.missing) * (1 - dials.missing_by_label * ABSENCE)
    each = np.where(PATTERNS, present[:, None, :], 1 - present[:, None, :])
    probability = each.prod(-1)
    return probability / probability.sum(-1, keepdims=True)


def _people(
    rng: np.random.Generator, world: World, site: Int[np.ndarray, " patient"]
) -> tuple[Int[np.ndarray, " patient"], Int[np.ndarray, " patient"]]:
    """Draws a diagnosis and a node of u for someone at each of these sites."""
    label = _categorical(rng, np.exp(world.log_prior[site]))
    node = rng.choice(len(world.severity), size=len(site), p=np.exp(world.log_weight))
    return label, node


def _show(
    rng: np.random.Generator,
    world: World,
    modality: int,
    label: Int[np.ndarray, " patient"],
    node: Int[np.ndarray, " patient"],
) -> Shaped[np.ndarray, "patient finding"]:
    """Draws z_i given y and u."""
    natural = _natural(world, modality)[label, node]
    if modality == BIOMARKERS:
        return rng.normal(natural)
    level = natural[..., None] * CENTRED
    return _categorical(rng, np.exp(_log_softmax(level)))


def _categorical(
    rng: np.random.Generator, probability: Float[np.ndarray, "*batch k"]
) -> Int[np.ndarray, "*batch"]:
    """One draw from each row, by the inverse of its distribution function."""
    below = probability.cumsum(-1)[..., :-1]
    return (rng.random(probability.shape[:-1])[..., None] > below).sum(-1)


def _pattern_of(presence: Bool[np.ndarray, "patient modality"]) -> Int[np.ndarray, " patient"]:
    """The row of `PATTERNS` that each patient has: the gaps read as a binary number."""
    return ~presence @ (1 << np.arange(presence.shape[1])[::-1])


def _log_softmax(score: Float[np.ndarray, "*batch k"]) -> Float[np.ndarray, "*batch k"]:
    return score - np.logaddexp.reduce(score, axis=-1, keepdims=True)
