"""What a coordinator may ask of a site, what answers look like, and which are not believed.

A message is a few named arrays. The form of an answer follows from the request and from what is
public (classes and features), so that a site cannot send what was not asked: a wrong name or shape,
a number that is not finite, and sums that no records could have, are refused with the reason.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

Task = Literal["census", "places", "moments", "levels", "summary", "expand", "slope", "gains"]
Arrays = Mapping[str, np.ndarray]

EASE = 1e-6


class Request(NamedTuple):
    """What is asked, and what a site needs for it.

    `expected` has the shape of every field of the answer, `counts` names those of whole numbers;
    `setup` is φ and ψ as far as they are fitted, as JSON.
    """

    task: Task
    arrays: Arrays
    expected: Mapping[str, tuple[int, ...]]
    counts: tuple[str, ...] = ()
    setup: str = ""

    @property
    def reals(self) -> tuple[str, ...]:
        """The fields that are not counts, in order."""
        return tuple(sorted(set(self.expected) - set(self.counts)))


class Refusal(NamedTuple):
    """Why there is no answer from a site; holds nothing of a record."""

    reason: str


class Doubt(ValueError):
    """An answer that cannot be what was asked for."""


def check(answer: Arrays, request: Request) -> None:
    """Raise Doubt where a field is lacking, unknown, of another shape, not finite or no count."""
    if set(answer) != set(request.expected):
        raise Doubt(f"fields {sorted(answer)} where {sorted(request.expected)} were asked for")
    for name, shape in request.expected.items():
        found = answer[name]
        if found.shape != shape:
            raise Doubt(f"{name} has shape {found.shape} where {shape} was asked for")
        if found.dtype.kind not in "fiu" or not np.all(np.isfinite(found)):
            raise Doubt(f"{name} holds what is no finite number")
        if name in request.counts and not np.all((found >= 0) & (found == np.floor(found))):
            raise Doubt(f"{name} holds what is no count")


def check_expansion(
    answer: Arrays, announced: float, constants: Int[np.ndarray, " modality"]
) -> None:
    """Raise Doubt where no records of the weight that was `announced` could have these sums.

    A log-likelihood is not positive, its curvature has no negative eigenvalue, and on the constant
    of a modality it is at most half the weight, since diag(p) − ppᵀ has no eigenvalue above 1/2.
    `constants` are the columns of the constants.
    """
    if not 0 < answer["weight"] <= announced * (1 + EASE):
        raise Doubt(f"{answer['weight']:g} records take part where {announced:g} were announced")
    if answer["value"] > EASE:
        raise Doubt(f"a log-likelihood of {answer['value']:g} is positive")
    curvature = np.asarray(answer["curvature"], np.float64)
    ease = EASE * (1 + np.max(np.abs(curvature)))
    if np.max(np.abs(curvature - curvature.T)) > ease:
        raise Doubt("the curvature is not symmetric")
    if np.linalg.eigvalsh(curvature)[0] < -ease:
        raise Doubt("the curvature has a negative eigenvalue")
    diagonal = np.diagonal(curvature).reshape(answer["slope"].shape)[constants]
    if np.max(diagonal) > answer["weight"] / 2 + ease:
        raise Doubt("the curvature on a constant is larger than these records can have")


def check_concave(
    answer: Arrays,
    u: Float[np.ndarray, "p free"],
    before: Arrays,
    centre: Float[np.ndarray, "p free"],
) -> None:
    """Raise Doubt where the value at u lies above the tangent at `centre`, or the reverse.

    A log-likelihood is concave in u, and a site's records stay what they are.
    """
    ease = EASE * (1 + abs(answer["value"]) + abs(before["value"]))
    ahead = before["value"] + np.sum(before["slope"] * (u - centre))
    back = answer["value"] + np.sum(answer["slope"] * (centre - u))
    if answer["value"] > ahead + ease or before["value"] > back + ease:
        raise Doubt("the log-likelihood is not concave: these are not the records of before")


def flat(answer: Arrays, names: tuple[str, ...]) -> Float[np.ndarray, " number"]:
    """The fields named, one after another."""
    parts = [np.asarray(answer[name], np.float64).ravel() for name in names]
    return np.concatenate([np.zeros(0), *parts])


def unflat(
    numbers: Shaped[np.ndarray, " number"], names: tuple[str, ...], request: Request
) -> dict[str, np.ndarray]:
    """The fields again, from what `flat` gave."""
    ends = np.cumsum([int(np.prod(request.expected[name])) for name in names])
    parts = np.split(numbers, ends[:-1]) if names else []
    return {name: p.reshape(request.expected[name]) for name, p in zip(names, parts, strict=True)}
