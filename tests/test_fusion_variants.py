"""Every variant of the table against every law that all of them keep."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from fusionjax.fusion.variants import VARIANTS, singles
from fusionjax.types import Features, Fusion, Params

CLASSES, MODALITIES = 3, 3
BIAS = jnp.log(jnp.array([0.5, 0.3, 0.2]))
WORDLESS = [[0, 1, 0], [1, 1, 1]]
"""Records that have the second modality, though none of its tokens is there."""
PRESENCE = np.array([*WORDLESS, *product((1, 0), repeat=MODALITIES)])
BATCH = len(PRESENCE)
ONEHOT = jax.nn.one_hot(jnp.arange(BATCH) % CLASSES, CLASSES)
TABLE = {v.name: v for v in (*VARIANTS, *singles(("film", "note", "sound")))}
COLUMNS, TOKENS, WIDTH = 4, 2, 5
# Compiled without optimisation: half the time, and the laws are about the program.
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}

# Whose parameters are all a modality's own, or nobody's: turning the modalities round turns them.
TURNABLE = {
    *("log-linear", "log opinion pool, scalar", "log opinion pool, class"),
    *("reliability 0.9", "reliability, learned"),
    *("mean of probabilities", "mean of logits", "product of experts", "corrected product"),
    *("stacking", "majority vote", "sum", "mean", "maximum", "product", "deep sets"),
    *("latent product", "latent mixture", "FiLM", "low-rank tensor", "energy weighted"),
    *("modality tokens", "cross-attention", "bottleneck", "latent array", "TMC", "ECML"),
}
# Whose parameters a class has are rows of θ, of a decoder or nothing.
RELABELLED = {
    *("log-linear", "reliability 0.9", "reliability, learned"),
    *("mean of probabilities", "mean of logits"),
    *("product of experts", "corrected product", "majority vote", "latent product"),
    *("latent mixture", "mixture of experts", "energy weighted", "TMC", "ECML"),
}


class Case(NamedTuple):
    params: Params
    features: tuple[Features, ...]
    presence: Array


def built(name: str, bias: Array = BIAS) -> Fusion:
    return TABLE[name].build(bias, MODALITIES)


def random_features(seed: int) -> tuple[Features, ...]:
    """Vectors and tokens, of which some are masked."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(MODALITIES):
        vector = rng.normal(size=(BATCH, COLUMNS)).astype(np.float32)
        vector[:, 0] = 1
        mask = rng.random((BATCH, TOKENS)) < 0.7
        mask[:, 0] = True
        mask[: len(WORDLESS)] &= i != 1
        values = rng.normal(size=(BATCH, TOKENS, WIDTH)).astype(np.float32)
        found.append(Features(jnp.asarray(vector), jnp.asarray(values), jnp.asarray(mask)))
    return tuple(found)


@cache
def case(name: str, seed: int = 0) -> Case:
    """Random parameters, so that no law holds because of zeros."""
    rng = np.random.default_rng(seed)
    features = random_features(seed)
    shapes = jax.eval_shape(built(name).init, jax.random.key(seed), features)
    params = jax.tree.map(lambda a: jnp.asarray(0.5 * rng.normal(size=a.shape), a.dtype), shapes)
    return Case(params, features, jnp.asarray(PRESENCE.astype(bool)))


@cache
def compiled(name: str) -> Callable[..., Any]:
    """log P, the losses, and the gradient of their mean by parameters and features.

    The bias is an argument too, so that one compilation serves every test.
    """

    def mean_loss(params: Params, seen: Any, masks: Any, presence: Array, bias: Array) -> Any:
        fusion = built(name, bias)
        features = tuple(Features(*v, m) for v, m in zip(seen, masks, strict=True))
        losses = fusion.loss(params, features, presence, ONEHOT)
        return losses.mean(), (fusion.apply(params, features, presence), losses)

    return jax.jit(jax.grad(mean_loss, (0, 1), has_aux=True), compiler_options=QUICK)


def run(name: str, at: Case, bias: Array = BIAS) -> tuple[Array, Array, Any]:
    seen = tuple((f.vector, f.tokens) for f in at.features)
    masks = tuple(f.token_mask for f in at.features)
    gradient, (log_prob, losses) = compiled(name)(at.params, seen, masks, at.presence, bias)
    return log_prob, losses, gradient


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def filled(features: tuple[Features, ...], presence: Array, payload: float) -> tuple[Features, ...]:
    """The payload wherever a modality or a token is missing."""
    found = []
    for i, f in enumerate(features):
        here = presence[:, i]
        tokens = f.token_mask & here[:, None]
        found.append(
            Features(
                jnp.where(here[:, None], f.vector, payload),
                jnp.where(tokens[:, :, None], f.tokens, payload),
                f.token_mask,
            )
        )
    return tuple(found)


def test_names_are_unique() -> None:
    assert len(TABLE) == len(VARIANTS) + MODALITIES
    assert set(TABLE) >= TURNABLE | RELABELLED


@pytest.mark.parametrize("name", TABLE)
def test_laws_of_every_variant(name: str) -> None:
    """Finite; sums to 1; the prior where nothing is; missing is absent, bit for bit; no retrace."""
    at = case(name)
    plain = run(name, at)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(plain))
    np.testing.assert_allclose(jnp.exp(plain[0]).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.exp(plain[0][-1]), jnp.exp(BIAS), rtol=1e-6)
    for payload in (np.nan, np.inf, 1e38):
        other = at._replace(features=filled(at.features, at.presence, payload))
        assert bits(plain) == bits(run(name, other))
    order = Case(at.params, *jax.tree.map(lambda leaf: leaf[::-1], at[1:]))
    np.testing.assert_allclose(run(name, order)[0][::-1], plain[0], rtol=1e-4, atol=1e-5)
    assert compiled(name)._cache_size() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_training_can_leave_the_prior(name: str) -> None:
    """The gradient at the start is not 0, and the start is not far from the prior."""
    at = case(name)
    start = jax.jit(built(name).init, compiler_options=QUICK)(jax.random.key(1), at.features)
    log_prob, _, (slopes, _) = run(name, at._replace(params=start))
    if name != "majority vote":
        assert np.abs(log_prob - BIAS[None]).max() < 1.5
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)) > 1e-3


@pytest.mark.parametrize("name", sorted(TURNABLE))
def test_order_of_modalities_does_not_matter(name: str) -> None:
    at = case(name)
    turned = Case(turn(at.params), at.features[::-1], at.presence[:, ::-1])
    np.testing.assert_allclose(run(name, turned)[0], run(name, at)[0], rtol=1e-3, atol=1e-4)


def turn(params: Any) -> Any:
    """The same parameters for the modalities in reverse order."""
    if isinstance(params, dict):
        return {_turned_name(key): turn(value) for key, value in params.items()}
    return params[::-1] if isinstance(params, tuple) else params


def _turned_name(key: str) -> str:
    if not key.startswith("modality_"):
        return key
    number = int(key.split("_")[1])
    return key.replace(f"modality_{number}", f"modality_{MODALITIES - 1 - number}")


@pytest.mark.parametrize("name", sorted(RELABELLED))
def test_order_of_classes_does_not_matter(name: str) -> None:
    order = jnp.array([2, 0, 1])
    at = case(name)
    moved = {
        key: jax.tree.map(lambda a: a[order], value) if key in ("theta", "decoder") else value
        for key, value in at.params.items()
    }
    found, _, _ = run(name, at._replace(params=moved), BIAS[order])
    np.testing.assert_allclose(found, run(name, at)[0][:, order], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_modalities_may_differ_in_width(name: str) -> None:
    features = tuple(
        Features(
            f.vector[:, : 2 + i], f.tokens[:, : 1 + i % 2, : 3 + i], f.token_mask[:, : 1 + i % 2]
        )
        for i, f in enumerate(case(name).features)
    )
    fusion = built(name)
    params = jax.eval_shape(fusion.init, jax.random.key(0), features)
    found = jax.eval_shape(fusion.apply, params, features, case(name).presence)
    assert found.shape == (BATCH, CLASSES)
