"""From a Flax module to an `Encoder`: what is common to all trained encoders is done here."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.encoders.layers import blank
from fusionjax.types import Encoder, Features, Inputs, Key, Params

if TYPE_CHECKING:
    from flax import nnx


class Encoding(NamedTuple):
    """What a module may return in place of a bare vector, if it has tokens to offer as well."""

    vector: Float[Array, "batch feature"]
    tokens: Float[Array, "batch token q"]
    token_mask: Bool[Array, "batch token"]


def from_linen(module: nn.Module) -> Encoder:
    """The encoder of a Linen module that maps `Inputs` to [batch, feature] or to an `Encoding`.

    The module sees 0 in every masked slot. `init` raises ValueError if it keeps any state beside
    its parameters, such as the running means of BatchNorm.
    """

    def init(key: Key, inputs: Inputs) -> Params:
        variables = dict(module.init(key, blanked(inputs)))
        params = variables.pop("params", {})
        _stateless(sorted(variables))
        return params

    def apply(params: Params, inputs: Inputs) -> Features:
        clean = blanked(inputs)
        found: Any = module.apply({"params": params}, clean)
        return features(found, clean.mask)

    return Encoder(init, apply)


def from_nnx(build: "Callable[[nnx.Rngs], nnx.Module]") -> Encoder:
    """The encoder of an NNX module, built by `build`, that maps `Inputs` as in `from_linen`.

    Raises ValueError if the module keeps any state beside its parameters.
    """
    from flax import nnx

    outline = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    graph, shapes, state = nnx.split(outline, nnx.Param, ...)
    _stateless(sorted(str(path[-1]) for path in nnx.to_flat_state(state).paths))

    def init(key: Key, inputs: Inputs) -> Params:
        return _named(nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)), nnx.Param)))

    def apply(params: Params, inputs: Inputs) -> Features:
        clean = blanked(inputs)
        filled = jax.tree.map(lambda leaf: leaf, shapes)
        nnx.replace_by_pure_dict(filled, params)
        module: Any = nnx.merge(graph, filled)
        return features(module(clean), clean.mask)

    return Encoder(init, apply)


def blanked(inputs: Inputs) -> Inputs:
    """The inputs as JAX arrays, with 0 in every masked slot."""
    mask = jnp.asarray(inputs.mask)
    return Inputs(blank(jnp.asarray(inputs.values), mask), mask)


def features(
    found: Float[Array, "batch feature"] | Encoding, mask: Bool[Array, "batch ..."]
) -> Features:
    """Features with the constant 1 in column 0, and 0 beside it where a record has nothing.

    A bare vector is its own only token.
    """
    there = jnp.any(mask, axis=tuple(range(1, mask.ndim)))
    if not isinstance(found, Encoding):
        found = Encoding(found, found[:, None, :], there[:, None])
    ones = jnp.ones((len(there), 1), found.vector.dtype)
    vector = jnp.concatenate([ones, blank(found.vector, there)], axis=1)
    return Features(vector, blank(found.tokens, found.token_mask), found.token_mask)


def _stateless(state: list[str]) -> None:
    if state:
        raise ValueError(
            f"the module keeps {', '.join(state)}: an encoder is a pure function of its "
            "parameters. Use LayerNorm or GroupNorm, and no dropout inside."
        )


def _named(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _named(branch) for key, branch in tree.items()}
    return tree
