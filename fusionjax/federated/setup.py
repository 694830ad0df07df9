"""What all sites must share before θ: card, φ's statistics, ψ, class frequencies, as one JSON."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fusionjax import card as cards
from fusionjax import preprocess
from fusionjax.card import Card
from fusionjax.model import Map, Member, encoder_stack
from fusionjax.types import Encoder


class Setup(NamedTuple):
    """`member` is the untrained ψ; while φ is being fitted it has no weights yet."""

    card: Card
    statistics: tuple[Any, ...]
    member: Member
    bias: Float[np.ndarray, " class"]
    projection: int
    seed: int


def dumps(setup: Setup) -> str:
    """As JSON; numbers come back as they were."""
    statistics = []
    for arrays, rest in map(preprocess.to_arrays, setup.statistics):
        plain = {name: [x.dtype.name, x.tolist()] for name, x in arrays.items()}
        statistics.append({"arrays": plain, "plain": rest})
    content = {
        "card": cards.dumps(setup.card),
        "statistics": statistics,
        "weights": [
            {k: np.asarray(v).tolist() for k, v in w.items()} for w in setup.member.weights
        ],
        "bias": setup.bias.tolist(),
        "projection": setup.projection,
        "seed": setup.seed,
    }
    return json.dumps(content, ensure_ascii=False)


@lru_cache(maxsize=4)
def loads(text: str) -> Setup:
    """From `dumps`."""
    content = json.loads(text)
    card = cards.from_dict(content["card"], Path("dataset.toml"))
    statistics = tuple(
        preprocess.from_arrays(
            modality.kind,
            {name: np.array(x, dtype) for name, (dtype, x) in one["arrays"].items()},
            one["plain"],
        )
        for modality, one in zip(card.modalities, content["statistics"], strict=True)
    )
    bias = np.array(content["bias"], np.float32)
    weights = [
        {name: jnp.asarray(np.array(x, np.float32)) for name, x in one.items()}
        for one in content["weights"]
    ]
    return Setup(card, statistics, member(weights), bias, content["projection"], content["seed"])


def member(weights: list[dict]) -> Member:
    """The untrained member of these projections: its features are taken as they are."""
    sizes = [one["weight"].shape[1] for one in weights]
    return Member(tuple(weights), tuple(Map(jnp.zeros(p), jnp.eye(p)) for p in sizes))


def stack(setup: Setup) -> tuple[Encoder, ...]:
    """The encoders, one a modality."""
    names = ("linear",) * len(setup.card.modalities)
    return encoder_stack(setup.card.modalities, names, 0, setup.projection)


def sizes(setup: Setup) -> tuple[int, ...]:
    """Features of each modality, the constant included."""
    return tuple(1 + one["weight"].shape[1] for one in setup.member.weights)
