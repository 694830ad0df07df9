"""Posterior predictive against a loop over draws in NumPy, and what its ledger promises."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from fusionjax import log_linear, predict
from fusionjax.predict import mean_log_prob, predictive

BATCH, DRAWS, CLASSES, WIDTHS = 7, 41, 3, (2, 4)
Case = tuple[tuple[Array, ...], Array, tuple[Array, ...], Array]


def case(seed: int, draws: int = DRAWS) -> Case:
    """Draws of θ, bias, features, presence."""
    rng = np.random.default_rng(seed)
    return (
        tuple(jnp.asarray(rng.normal(size=(draws, CLASSES, p)), jnp.float32) for p in WIDTHS),
        jnp.log(jnp.asarray(rng.dirichlet(np.full(CLASSES, 3.0)), jnp.float32)),
        tuple(jnp.asarray(rng.normal(size=(BATCH, p)), jnp.float32) for p in WIDTHS),
        jnp.asarray(rng.random((BATCH, len(WIDTHS))) < 0.7),
    )


cases = st.builds(case, st.integers(0, 2**31 - 1))
scales = st.sampled_from([0.3, 1.0, 2.5])


def by_hand(at: Case, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Probability [draw, batch, class], scaled zero-sum evidence [draw, batch, modality, class]."""
    theta, bias, features, presence = at
    terms = np.stack(
        [np.einsum("dyp,np->dny", np.float64(t), f) for t, f in zip(theta, features, strict=True)],
        axis=2,
    )
    terms = scale * terms * np.asarray(presence)[None, :, :, None]
    weights = np.exp(np.asarray(bias) + terms.sum(axis=2))
    prob = weights / weights.sum(axis=2, keepdims=True)
    return prob, terms - terms.mean(axis=3, keepdims=True)


def entropy(prob: np.ndarray) -> np.ndarray:
    return -(prob * np.log(prob)).sum(axis=-1)


@given(cases, scales)
def test_equals_a_loop_over_draws(at: Case, scale: float) -> None:
    got = predictive(*at, scale)
    prob, parts = by_hand(at, scale)
    np.testing.assert_allclose(got.prob, prob.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got.total, entropy(prob.mean(axis=0)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.aleatoric, entropy(prob).mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.evidence_mean, parts.mean(axis=0), rtol=1e-3, atol=1e-4)
    low, high = np.quantile(parts, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(got.evidence_low, low, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got.evidence_high, high, rtol=1e-3, atol=1e-4)


@given(cases, scales)
def test_uncertainty_splits_into_two_parts(at: Case, scale: float) -> None:
    got = predictive(*at, scale)
    np.testing.assert_allclose(got.total, got.aleatoric + got.epistemic, rtol=1e-5, atol=1e-6)
    assert (np.asarray(got.epistemic) >= 0).all()
    np.testing.assert_allclose(np.asarray(got.prob).sum(axis=1), 1, rtol=1e-5)


@given(cases, scales)
def test_ledger_adds_up_exactly(at: Case, scale: float) -> None:
    """Bias and contrasts sum to the posterior mean of the log-odds of `top` to `runner_up`."""
    bias, got = np.asarray(at[1]), predictive(*at, scale)
    top, second, rows = np.asarray(got.top), np.asarray(got.runner_up), np.arange(BATCH)
    logs = np.log(by_hand(at, scale)[0])
    odds = (logs[:, rows, top] - logs[:, rows, second]).mean(axis=0)
    ledger = bias[top] - bias[second] + np.asarray(got.contrast_mean).sum(axis=1)
    np.testing.assert_allclose(ledger, odds, rtol=1e-3, atol=1e-4)
    parts = np.asarray(got.evidence_mean)
    between = parts[rows, :, top] - parts[rows, :, second]
    np.testing.assert_allclose(got.contrast_mean, between, rtol=1e-6, atol=1e-6)
    order = np.argsort(-np.asarray(got.prob), axis=1)
    np.testing.assert_array_equal(np.stack([top, second], axis=1), order[:, :2])


@given(cases, scales)
def test_contrast_interval_is_that_of_the_difference(at: Case, scale: float) -> None:
    """And not the difference of two intervals."""
    got, rows = predictive(*at, scale), np.arange(BATCH)
    parts = by_hand(at, scale)[1]
    drawn = parts[:, rows, :, np.asarray(got.top)] - parts[:, rows, :, np.asarray(got.runner_up)]
    low, high = np.quantile(np.moveaxis(drawn, 1, 0), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(got.contrast_low, low, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got.contrast_high, high, rtol=1e-3, atol=1e-4)


@given(cases, scales)
def test_nothing_present_is_the_prior_with_an_empty_ledger(at: Case, scale: float) -> None:
    theta, bias, features, presence = at
    got = predictive(theta, bias, features, jnp.zeros_like(presence), scale)
    np.testing.assert_allclose(got.prob, jnp.tile(jax.nn.softmax(bias), (BATCH, 1)), rtol=1e-5)
    np.testing.assert_allclose(got.epistemic, 0, atol=1e-6)
    for ledger in (got.evidence_mean, got.evidence_low, got.evidence_high, got.contrast_high):
        assert not np.asarray(ledger).any()


@given(cases)
def test_payload_of_a_missing_modality_changes_no_bit(at: Case) -> None:
    theta, bias, features, presence = at
    filled = tuple(jnp.where(presence[:, i, None], f, jnp.nan) for i, f in enumerate(features))
    for a, b in zip(predictive(*at), predictive(theta, bias, filled, presence), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_one_draw_is_the_model_itself() -> None:
    theta, bias, features, presence = case(0, draws=1)
    got = predictive(theta, bias, features, presence)
    alone = log_linear.log_prob(tuple(t[0] for t in theta), bias, features, presence)
    np.testing.assert_allclose(jnp.log(got.prob), alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got.evidence_low, got.evidence_high)
    np.testing.assert_allclose(got.epistemic, 0, atol=1e-6)


@settings(max_examples=5)
@given(cases, st.sampled_from([1, 3, 4, BATCH]))
def test_chunks_of_records_change_nothing(at: Case, chunk: int) -> None:
    whole = predictive(*at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "_NUMBERS", chunk * DRAWS * len(WIDTHS) * CLASSES)
        parts = predictive(*at)
    for a, b in zip(whole, parts, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_chunks_of_records_are_even_so_that_little_is_padded() -> None:
    taken: list[int] = []

    def presence_of(*given: Any) -> Any:
        taken.append(len(given[-1]))
        return given[-1]

    theta, bias, features, presence = case(0)
    shift = jnp.zeros((DRAWS, len(WIDTHS), CLASSES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "_NUMBERS", 6 * DRAWS * len(WIDTHS) * CLASSES)
        got = predict._by_chunk(presence_of, DRAWS, theta, bias, shift, features, presence)
    assert taken == [4, 4]
    np.testing.assert_array_equal(got, presence)


@given(cases, scales)
def test_mean_log_prob_is_the_log_of_the_mean(at: Case, scale: float) -> None:
    np.testing.assert_allclose(
        mean_log_prob(*at, scale), np.log(predictive(*at, scale).prob), rtol=1e-4, atol=1e-5
    )


def test_mean_log_prob_is_exact_where_the_probability_underflows() -> None:
    theta = (jnp.full((5, 2, 1), 1.0) * jnp.array([[300.0], [0.0]])[None],)
    got = mean_log_prob(theta, jnp.log(jnp.ones(2) / 2), (jnp.ones((1, 1)),), jnp.array([[True]]))
    np.testing.assert_allclose(got[0], [0, -300], rtol=1e-6)


def test_a_class_that_the_stated_prior_rules_out_stays_out() -> None:
    theta, _, features, presence = case(0)
    got = predictive(theta, jnp.log(jnp.array([0.5, 0.5, 0.0])), features, presence)
    assert not np.asarray(got.prob)[:, 2].any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


def test_no_record_gives_an_empty_prediction() -> None:
    theta, bias, features, presence = case(0)
    got = predictive(theta, bias, tuple(f[:0] for f in features), presence[:0])
    assert got.prob.shape == (0, CLASSES)
    assert got.evidence_low.shape == (0, len(WIDTHS), CLASSES)


def test_another_scale_or_other_values_retrace_nothing() -> None:
    predictive(*case(0), 1.0)
    before = predict._averaged._cache_size()
    predictive(*case(1), 0.5)
    assert predict._averaged._cache_size() == before


@given(cases)
def test_each_draw_has_its_own_scale_and_shift(at: Case) -> None:
    """As if θ itself had been scaled for that record, and its constant moved."""
    theta, bias, features, presence = at
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2.0, (DRAWS, BATCH)).astype(np.float32)
    shift = rng.normal(size=(DRAWS, len(WIDTHS), CLASSES)).astype(np.float32)
    shift -= shift.mean(axis=2, keepdims=True)
    got = predictive(*at, jnp.asarray(scale), jnp.asarray(shift))
    for n in range(BATCH):
        ones = tuple(jnp.concatenate([f[n : n + 1], jnp.ones((1, 1))], axis=1) for f in features)
        moved = tuple(
            jnp.concatenate([scale[:, n, None, None] * t, shift[:, i, :, None]], axis=2)
            for i, t in enumerate(theta)
        )
        alone = predictive(moved, bias, ones, presence[n : n + 1])
        for one, whole in zip(alone, got, strict=True):
            np.testing.assert_allclose(one[0], whole[n], rtol=1e-3, atol=2e-5)
    log_prob = mean_log_prob(*at, jnp.asarray(scale), jnp.asarray(shift))
    np.testing.assert_allclose(np.exp(log_prob), got.prob, rtol=1e-4, atol=1e-6)


def temporary(at: Case, take: Callable[..., Any]) -> int:
    """Bytes that prediction takes beside what it is given and what it returns."""
    compiled = jax.jit(lambda *given: take(*given)).lower(*at).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    "take", [mean_log_prob, lambda *at: predictive(*at)[:4]], ids=["log_prob", "probabilities"]
)
def test_memory_of_averages_does_not_grow_with_the_draws(take: Callable[..., Any]) -> None:
    few, many = (temporary(case(0, draws=n), take) for n in (50, 5000))
    # The log-sum needs θ's draws and nothing else; the scale is spread over records and draws.
    assert many <= few + 5000 * (BATCH + len(WIDTHS) * CLASSES) * 4 + 64


def test_memory_of_intervals_does_not_grow_with_the_draws() -> None:
    """One chunk of records at a time, of which there are the fewer the more draws there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "_NUMBERS", 1000 * BATCH * len(WIDTHS) * CLASSES)
        few, many = (chunk_memory(n) for n in (1000, 7000))
    assert many <= 1.1 * few


def chunk_memory(draws: int) -> int:
    """Bytes that the intervals of one chunk of records take beside the draws."""
    found: list[int] = []

    def measured(*given: Any) -> Any:
        found.append(predict._ends.lower(*given).compile().memory_analysis().temp_size_in_bytes)
        return predict._ends(*given)

    theta, bias, features, presence = case(0, draws=draws)
    scale, shift = jnp.ones((BATCH, draws)), jnp.zeros((draws, len(WIDTHS), CLASSES))
    order = jnp.zeros((BATCH, 2), int).at[:, 1].set(1)
    predict._by_chunk(measured, draws, theta, bias, shift, features, presence, scale, order)
    return max(found)
