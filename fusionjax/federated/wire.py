"""Requests and answers as Flower's own parameters: arrays without pickle, and one JSON string.

Under secure aggregation an answer is one vector of limbs, shifted so that Flower's quantiser, set
to steps of 1, leaves it as it is.
"""

import json

import numpy as np
from flwr.common import FitIns, ndarrays_to_parameters, parameters_to_ndarrays
from jaxtyping import Float

from fusionjax.federated import fixed_point
from fusionjax.federated.messages import Arrays, Doubt, Request, flat, unflat

RANGE = 1 << fixed_point.LIMB
"""Flower's quantisation range; its clipping range is half of it, on either side of 0."""


def pack(request: Request) -> FitIns:
    """The request as Flower sends it."""
    names = sorted(request.arrays)
    about = {
        "task": request.task,
        "names": names,
        "expected": request.expected,
        "counts": request.counts,
        "setup": request.setup,
    }
    parameters = ndarrays_to_parameters([np.asarray(request.arrays[name]) for name in names])
    return FitIns(parameters, {"request": json.dumps(about)})


def unpack(instructions: FitIns) -> Request:
    """The request again; raises ValueError where it is none."""
    about = json.loads(str(instructions.config["request"]))
    arrays = parameters_to_ndarrays(instructions.parameters)
    return Request(
        about["task"],
        dict(zip(about["names"], arrays, strict=True)),
        {name: tuple(shape) for name, shape in about["expected"].items()},
        tuple(about["counts"]),
        about["setup"],
    )


def in_order(answer: Arrays, request: Request) -> list[np.ndarray]:
    """The fields of an answer, as they are sent where nothing masks them."""
    return [np.asarray(answer[name]) for name in sorted(request.expected)]


def by_name(arrays: list[np.ndarray], request: Request) -> dict[str, np.ndarray]:
    """The fields by name; raises Doubt where there are more or fewer."""
    if len(arrays) != len(request.expected):
        raise Doubt(f"{len(arrays)} fields where {len(request.expected)} were asked for")
    return dict(zip(sorted(request.expected), arrays, strict=True))


def to_limbs(answer: Arrays, request: Request) -> Float[np.ndarray, " limb"]:
    """The answer as Flower quantises and masks it; raises ValueError for what does not fit."""
    reals = fixed_point.encode(flat(answer, request.reals)).ravel()
    counts = fixed_point.encode_counts(flat(answer, request.counts))
    return np.concatenate([reals, counts]) - RANGE / 2


def from_mean(
    mean: Float[np.ndarray, " limb"], sites: int, request: Request
) -> dict[str, np.ndarray]:
    """The sum of answers, from the mean that Flower makes of what `to_limbs` gave."""
    limbs = np.rint(mean * sites).astype(np.int64) + sites * (RANGE // 2)
    size = sum(int(np.prod(request.expected[name])) for name in request.reals)
    reals = limbs[: size * fixed_point.LIMBS].reshape(size, fixed_point.LIMBS)
    return unflat(fixed_point.decode(reals, sites), request.reals, request) | unflat(
        limbs[size * fixed_point.LIMBS :].astype(np.float64), request.counts, request
    )
