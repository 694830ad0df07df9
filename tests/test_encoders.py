"""Every encoder against every law that an encoder obeys, then what is peculiar to one of them."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import Array

from fusionjax import card, encoders
from fusionjax.encoders import layers, text
from fusionjax.types import Encoder, Features, Inputs, Params

SHAPES = {
    "image": ((7, 2, 9, 9, 1), 2),
    "audio": ((7, 2, 21, 6), 3),
    "signal": ((7, 2, 37, 2), 3),
    "text": ((7, 11), 2),
    "tabular": ((7, 5), 2),
    "vector": ((7, 5), 2),
}
GROWING = {"image": (1,), "audio": (1, 2), "signal": (1, 2), "text": (1,)}
"""Axes of instances and steps, which may be longer in another batch."""
KINDS = tuple(SHAPES)
ENCODERS = [(kind, name) for kind in KINDS for name in encoders.names(kind)]
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
QUICK = ("linear", "kernel", "mlp", "bag")
"""Encoders that run without jit within seconds."""
every_encoder = pytest.mark.parametrize(("kind", "name"), ENCODERS)


def some_inputs(kind: str, seed: int = 0) -> Inputs:
    """Records with gaps; the first is complete, the last has nothing."""
    rng = np.random.default_rng(seed)
    shape, masked = SHAPES[kind]
    words = rng.integers(0, 30, shape).astype(np.int32)
    values = words if kind == "text" else rng.normal(size=shape).astype(np.float32)
    mask = rng.random(shape[:masked]) < 0.7
    mask[0], mask[-1] = True, False
    return Inputs(jnp.asarray(values), jnp.asarray(mask))


class Case(NamedTuple):
    """An encoder whose `apply` is jitted and notes each trace in `traces`."""

    encoder: Encoder
    params: Params
    inputs: Inputs
    traces: list[None]


@cache
def case(kind: str, name: str) -> Case:
    encoder, inputs, traces = encoders.build(kind, name, 3), some_inputs(kind), []

    @quick
    def apply(params: Params, inputs: Inputs) -> Features:
        traces.append(None)
        return encoder.apply(params, inputs)

    init = quick(encoder.init) if encoder.trained else encoder.init
    return Case(encoder._replace(apply=apply), init(jax.random.key(1), inputs), inputs, traces)


@cache
def slope(kind: str, name: str):
    encoder, (_, params, inputs, _) = encoders.build(kind, name, 3), case(kind, name)
    shape = jax.eval_shape(encoder.apply, params, inputs).vector.shape
    weight = jax.random.normal(jax.random.key(2), shape)

    def loss(params: Params, values: Array, mask: Array) -> Array:
        found = encoder.apply(params, Inputs(values, mask))
        return jnp.sum(found.vector * weight) + jnp.sum(found.tokens**2)

    wanted = 0 if kind == "text" else (0, 1)
    return quick(jax.grad(loss, wanted))


def identical(a, b) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y, strict=True), a, b)


def close(a, b) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5), a, b)


def payloads(inputs: Inputs) -> list[Inputs]:
    integers = jnp.issubdtype(inputs.values.dtype, jnp.integer)
    spread = inputs.mask.reshape(inputs.mask.shape + (1,) * (inputs.values.ndim - inputs.mask.ndim))
    poison = (-5, 10**9) if integers else (np.nan, np.inf, -1e38)
    return [Inputs(jnp.where(spread, inputs.values, p), inputs.mask) for p in poison]


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_may_name_every_encoder(kind: str) -> None:
    assert encoders.names(kind) == (*card.ENCODERS[kind], *card.UNTRAINED)


@every_encoder
def test_shapes_and_the_constant(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    vector, tokens, mask = encoder.apply(params, inputs)
    assert vector.shape == (7, 4)
    assert tokens.ndim == 3
    assert tokens.shape[:2] == mask.shape
    assert mask.dtype == bool
    np.testing.assert_array_equal(vector[:, 0], 1)
    np.testing.assert_array_equal(mask.any(1), inputs.mask.reshape(7, -1).any(1))
    assert encoder.trained == (name not in encoders.UNTRAINED)


@every_encoder
def test_payload_in_masked_slots_changes_nothing_bit_for_bit(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    value, gradient = encoder.apply(params, inputs), slope(kind, name)(params, *inputs)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))
    for poisoned in payloads(inputs):
        identical(encoder.apply(params, poisoned), value)
        identical(slope(kind, name)(params, *poisoned), gradient)


@pytest.mark.parametrize("name", encoders.UNTRAINED)
@pytest.mark.parametrize("kind", KINDS)
def test_payload_does_not_reach_what_is_fitted(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    identical(encoder.init(jax.random.key(1), payloads(inputs)[0]), params)


@every_encoder
def test_record_with_nothing_is_the_constant_alone(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    empty = encoder.apply(params, inputs).vector[-1]
    np.testing.assert_array_equal(empty, np.eye(len(empty))[0])
    nobody = Inputs(inputs.values, jnp.zeros_like(inputs.mask))
    gradient = slope(kind, name)(params, *nobody)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@every_encoder
def test_what_is_there_counts(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    changed = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), inputs)
    difference = encoder.apply(params, changed).vector - encoder.apply(params, inputs).vector
    assert np.all(np.abs(difference).max(axis=1) > 1e-4)


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(*e, marks=[] if e[1] in QUICK else pytest.mark.slow) for e in ENCODERS],
)
def test_jit_equals_eager(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    with jax.disable_jit():
        eager = encoders.build(kind, name, 3).apply(params, inputs)
    close(eager, encoder.apply(params, inputs))


@every_encoder
def test_records_do_not_see_each_other(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    others = jax.tree.map(lambda a, b: a.at[2:].set(b[2:]), inputs, some_inputs(kind, seed=1))
    mine = [encoder.apply(params, x).vector[:2] for x in (inputs, others)]
    close(*mine)


@every_encoder
def test_same_shapes_are_traced_once(kind: str, name: str) -> None:
    encoder, params, inputs, traces = case(kind, name)
    encoder.apply(params, inputs)
    before = len(traces)
    for seed in (1, 2):
        encoder.apply(params, some_inputs(kind, seed))
    assert len(traces) == before


@pytest.mark.parametrize(("kind", "name"), [e for e in ENCODERS if len(SHAPES[e[0]][0]) > 2])
def test_order_of_instances_does_not_matter(kind: str, name: str) -> None:
    encoder, params, inputs, _ = case(kind, name)
    turned = jax.tree.map(lambda leaf: leaf[:, ::-1], inputs)
    close(encoder.apply(params, turned).vector, encoder.apply(params, inputs).vector)


@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize(("kind", "name"), [e for e in ENCODERS if e[0] in GROWING])
def test_more_masked_slots_change_nothing(kind: str, name: str, extra: int) -> None:
    encoder, params, inputs, _ = case(kind, name)
    axes = GROWING[kind]

    def longer(leaf: Array, fill: float) -> Array:
        widths = [(0, extra if axis in axes else 0) for axis in range(leaf.ndim)]
        return jnp.pad(leaf, widths, constant_values=fill)

    odd = 7 if kind == "text" else np.nan
    padded = Inputs(longer(inputs.values, odd), longer(inputs.mask, False))
    close(encoder.apply(params, padded).vector, encoder.apply(params, inputs).vector)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_every_weight(kind: str) -> None:
    _, params, inputs, _ = case(kind, encoders.DEFAULT[kind])
    gradient = slope(kind, encoders.DEFAULT[kind])(params, *inputs)
    weights = gradient if kind == "text" else gradient[0]
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(weights))


def test_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        encoders.build("image", "resnet", 3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [1, 4, 7])
def test_windows_and_dense_are_a_convolution(stride: int, length: int, key: Array) -> None:
    x, kernel = jax.random.normal(key, (2, length, 5)), jax.random.normal(key, (3, 5, 4))
    ours = layers.windows(x, 1, stride) @ kernel.reshape(15, 4)
    theirs = jax.lax.conv_general_dilated(
        x, kernel, (stride,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_two_gradients_of_look_up_agree(key: Array) -> None:
    table, tokens = jax.random.normal(key, (9, 4)), jax.random.randint(key, (5, 6), 0, 9)
    slopes = jax.random.normal(key, (30, 4))
    plain = jax.grad(lambda t: jnp.sum(t[tokens].reshape(30, 4) * slopes))(table)
    ours = jax.grad(lambda t: jnp.sum(text.look_up(t, tokens).reshape(30, 4) * slopes))(table)
    np.testing.assert_allclose(ours, plain, atol=1e-5)
    np.testing.assert_allclose(text.multiplied(table, tokens.reshape(-1), slopes), plain, atol=1e-5)


class Bare(nn.Module):
    normed: bool = False

    @nn.compact
    def __call__(self, inputs: Inputs) -> Array:
        x = nn.Dense(3)(inputs.values)
        return nn.BatchNorm(use_running_average=True)(x) if self.normed else x


def test_linen_module_becomes_an_encoder(key: Array) -> None:
    encoder, inputs = encoders.from_linen(Bare()), some_inputs("tabular")
    params = encoder.init(key, inputs)
    vector, tokens, mask = encoder.apply(params, payloads(inputs)[0])
    assert list(params) == ["Dense_0"]
    np.testing.assert_array_equal(vector, encoder.apply(params, inputs).vector)
    np.testing.assert_array_equal(tokens[:, 0], vector[:, 1:])
    np.testing.assert_array_equal(mask[:, 0], inputs.mask.any(1))


def test_linen_module_with_state_is_refused(key: Array) -> None:
    with pytest.raises(ValueError, match=r"batch_stats.*GroupNorm"):
        encoders.from_linen(Bare(normed=True)).init(key, some_inputs("tabular"))


def test_nnx_module_becomes_an_encoder(key: Array) -> None:
    from flax import nnx

    class Deep(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.steps = nnx.List([nnx.Linear(5, 5, rngs=rngs) for _ in range(11)])

        def __call__(self, inputs: Inputs) -> Array:
            x = inputs.values
            for step in self.steps:
                x = x + step(x)
            return x

    encoder, inputs = encoders.from_nnx(Deep), some_inputs("tabular")
    params = jax.jit(encoder.init)(key, inputs)
    expected = Deep(nnx.Rngs(key))(Inputs(layers.blank(*inputs), inputs.mask))
    assert set(params["steps"]) == {str(k) for k in range(11)}
    np.testing.assert_allclose(
        jax.jit(encoder.apply)(params, inputs).vector[:-1, 1:], expected[:-1], rtol=1e-4
    )


def test_nnx_module_with_state_is_refused() -> None:
    from flax import nnx

    with pytest.raises(ValueError, match="GroupNorm"):
        encoders.from_nnx(lambda rngs: nnx.BatchNorm(5, rngs=rngs))
