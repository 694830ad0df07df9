"""The nouns that flow through a diagnosis, from a record's modalities to class probabilities.

| on paper | in code    | shape             | is                                           |
|----------|------------|-------------------|----------------------------------------------|
| X_i      | `Inputs`   | [batch, ...]      | modality i, preprocessed, with its mask      |
| F_i      | `Features` | [batch, p_i]      | what the encoder ψ_i makes of X_i            |
| o_i      | `presence` | [batch, modality] | True where the patient has modality i        |
| θ_i      | `theta[i]` | [class, p_i]      | weights of modality i                        |
| b_y      | `bias`     | [class]           | log class frequency: the prior, never fitted |

Everything that holds one entry a modality is a tuple in the order of the dataset card.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array
from jaxtyping import Bool, Float, Int, Shaped

Params = Any
Key = Array


class Inputs(NamedTuple):
    """One modality X_i of a batch, in the uniform format of its kind.

    | kind    | values                                     | mask                    |
    |---------|--------------------------------------------|-------------------------|
    | image   | float32 [batch, instance, height, width, channel] | [batch, instance] |
    | audio   | float32 [batch, instance, frame, mel]      | [batch, instance, frame]|
    | signal  | float32 [batch, instance, time, channel]   | [batch, instance, time] |
    | text    | int32 [batch, token]                       | [batch, token]          |
    | tabular | float32 [batch, column]                    | [batch, column]         |
    | vector  | float32 [batch, column]                    | [batch, column]         |

    `mask` is True where the value was observed; what stands elsewhere means nothing.
    """

    values: Shaped[Array, "batch ..."]
    mask: Bool[Array, "batch ..."]


class Features(NamedTuple):
    """What an encoder makes of one modality: F_i, and the tokens for fusions that attend.

    `vector[:, 0]` is the constant 1, so that θ_i holds the intercept that comes and goes with
    modality i.
    """

    vector: Float[Array, "batch p"]
    tokens: Float[Array, "batch token q"]
    token_mask: Bool[Array, "batch token"]


class Batch(NamedTuple):
    """Some patients: inputs, presence, label (-1 where unknown) and row in the source (-1 pads)."""

    inputs: tuple[Inputs, ...]
    presence: Bool[Array, "batch modality"]
    label: Int[Array, " batch"]
    row: Int[Array, " batch"]


class Encoder(NamedTuple):
    """ψ_i as two pure functions.

    `init(key, inputs) -> params` and `apply(params, inputs) -> Features`. Trained encoders read
    only the shapes of `inputs` at `init`; an encoder with `trained=False` fits itself there,
    without labels, and keeps its parameters for good.
    """

    init: Callable[[Key, Inputs], Params]
    apply: Callable[[Params, Inputs], Features]
    trained: bool = True


class Fusion(NamedTuple):
    """A fusion variant as three pure functions.

    `init(key, features) -> params`, `apply(params, features, presence) -> log P(y | X)` of shape
    [batch, class], and `loss(params, features, presence, onehot) -> [batch]`, the training loss of
    each record, which is its negative log-likelihood where the variant needs nothing else.
    """

    init: Callable[[Key, tuple[Features, ...]], Params]
    apply: Callable[
        [Params, tuple[Features, ...], Bool[Array, "batch modality"]],
        Float[Array, "batch class"],
    ]
    loss: Callable[
        [
            Params,
            tuple[Features, ...],
            Bool[Array, "batch modality"],
            Float[Array, "batch class"],
        ],
        Float[Array, " batch"],
    ]
