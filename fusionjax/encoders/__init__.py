"""ψ: from `Inputs` to `Features`, one file a kind of modality, each encoder an `Encoder` value.

Every encoder gives the constant 1 in column 0, ignores whatever stands in a masked slot, bit for
bit, and gives finite features for a record that has nothing.
"""

from collections.abc import Callable, Mapping

from fusionjax.card import Kind
from fusionjax.encoders import audio, image, kernel, projection, signal, tabular, text, vector
from fusionjax.encoders.adapters import Encoding, from_linen, from_nnx
from fusionjax.types import Encoder

TRAINED: Mapping[Kind, Mapping[str, Callable[..., Encoder]]] = {
    "image": {"cnn": image.cnn, "vit": image.vit},
    "text": {"bag": text.bag, "transformer": text.transformer},
    "audio": {"cnn": audio.cnn},
    "signal": {"cnn": signal.cnn},
    "tabular": {"mlp": tabular.mlp, "tokens": tabular.tokens},
    "vector": {"mlp": vector.mlp},
}
UNTRAINED: Mapping[str, Callable[[Kind, int], Encoder]] = {
    "linear": projection.linear,
    "kernel": kernel.gaussian,
}
"""Encoders of every kind that see no label."""
DEFAULT: Mapping[Kind, str] = {kind: next(iter(known)) for kind, known in TRAINED.items()}
"""The trained encoder of each kind to try first."""

__all__ = [
    "DEFAULT",
    "TRAINED",
    "UNTRAINED",
    "Encoding",
    "build",
    "from_linen",
    "from_nnx",
    "names",
]


def names(kind: Kind) -> tuple[str, ...]:
    """The encoders of a kind, those that are trained first."""
    return (*TRAINED[kind], *UNTRAINED)


def build(kind: Kind, name: str, features: int, vocabulary: int = 2000) -> Encoder:
    """The encoder of a kind by name, with `features` columns beside the constant, at most.

    `vocabulary`, that of the card, bounds the tokens that a trained encoder of text tells apart.
    Raises KeyError if the kind has no encoder of that name.
    """
    if name in UNTRAINED:
        return UNTRAINED[name](kind, features)
    if kind == "text":
        return TRAINED[kind][name](features, vocabulary=vocabulary)
    return TRAINED[kind][name](features)
