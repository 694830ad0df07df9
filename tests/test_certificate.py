"""Diagnostics against ArviZ, and on draws whose faults are known."""

import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax.posterior import Certificate, Posterior, certificate, observe, psis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz


def independent(seed: int, chains: int = 4, draws: int = 500):
    return np.random.default_rng(seed).normal(size=(chains, draws, 3))


def test_independent_draws_pass():
    r_hat, bulk, tail = certificate.mixing({"a": independent(0), "b": independent(1)})
    assert r_hat < 1.01
    assert bulk > 1500
    assert tail > 1200


def test_the_worst_parameter_is_reported():
    shifted = independent(1)
    shifted[0, :, 2] += 3.0
    r_hat, bulk, _ = certificate.mixing({"a": independent(0), "b": shifted})
    assert r_hat > 1.2
    assert bulk < 50


def test_a_chain_that_never_moves_fails():
    stuck = independent(0)
    stuck[..., 1] = 2.0
    assert certificate.mixing({"a": stuck}) == (np.inf, 0.0, 0.0)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.8, 1.5])
@pytest.mark.parametrize("draws", [100, 1000])
def test_k_hat_is_arvizs(shape, draws):
    uniform = np.random.default_rng(3).random(draws)
    log_weights = np.log((uniform**-shape - 1) / shape + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = float(arviz.psislw(log_weights)[1])
    assert psis.k_hat(log_weights) == pytest.approx(expected, abs=0.02)


def test_k_hat_of_degenerate_weights():
    assert psis.k_hat(np.zeros(100)) == 0.0
    assert psis.k_hat(np.array([0.0] * 99 + [np.nan])) == np.inf
    assert psis.k_hat(np.array([0.0] * 99 + [200.0])) > 0.7


def test_effective_counts_weights():
    assert psis.effective(np.zeros(7)) == pytest.approx(7)
    assert psis.effective(np.array([0.0, -800.0])) == pytest.approx(1)


def test_export_to_arviz_keeps_chains_apart():
    theta = jnp.arange(2.0 * 5 * 3 * 4).reshape(10, 3, 4)
    tau = jnp.arange(10.0)[:, None]
    record = Certificate("nuts", True, 1.0, 1.0, 1.0, 0, 0.9, None, 1, 0.0, ())
    data = certificate.to_arviz(Posterior((theta,), tau, record, chains=2)).posterior
    assert dict(data.sizes) == {
        "chain": 2, "draw": 5, "modality": 1, "class": 3, "feature_0": 4
    }  # fmt: skip
    np.testing.assert_array_equal(data["theta_0"].values[1], theta[5:])
    np.testing.assert_array_equal(data["tau"].values[:, :, 0], [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])


def judged(**figures):
    ones = jnp.ones((4, 2))
    observations = observe((ones,), jnp.ones((4, 1), bool), jnp.asarray([0, 1, 0, 1]), 2)
    return certificate.verdict("an engine", observations, time.perf_counter(), **figures)


def test_each_check_fails_out_loud():
    good = {"r_hat": 1.0, "ess_bulk": 500.0, "ess_tail": 500.0, "divergences": 0}
    assert judged(**good).ok
    for name, wrong in (("r_hat", 1.02), ("r_hat", np.inf), ("ess_bulk", 399.0)):
        verdict = judged(**good | {name: wrong})
        assert not verdict.ok
        assert len(verdict.notes) == 1
    assert "tail" in judged(ess_tail=3.0).notes[0]
    assert "divergent" in judged(divergences=1).notes[0]
    assert judged(r_hat=np.nan).ok is False
    assert judged().d2_over_n == 1.0


def test_weights_that_cannot_vouch_fail():
    rng = np.random.default_rng(0)
    gaussian, heavy = 0.1 * rng.normal(size=400), 5 * rng.standard_cauchy(400)
    assert judged(log_ratio=gaussian, least_share=0.5).ok
    far = judged(log_ratio=heavy)
    assert not far.ok
    assert "k_hat" in far.notes[0]
    uneven = judged(log_ratio=1.5 * rng.normal(size=400), least_share=0.5)
    assert not uneven.ok
    assert "only" in uneven.notes[-1]
    assert not judged(log_ratio=np.full(400, np.nan)).ok


def test_the_shape_of_a_minute_tail_does_not_matter():
    """Weights barely above 1, of which the largest have a heavy tail."""
    log_ratio = np.zeros(1000)
    log_ratio[:50] = 1e-3 * (np.random.default_rng(1).random(50) ** -1.2)
    verdict = judged(log_ratio=log_ratio)
    assert verdict.ok
    assert not judged(log_ratio=1000 * np.minimum(log_ratio, 0.05)).ok


def test_smoothed_weights_are_arvizs():
    uniform = np.random.default_rng(4).random(1000)
    log_weights = 0.6 * np.log(1 / uniform)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = arviz.psislw(log_weights)[0]
    found = np.log(psis.normalised(psis.smooth(log_weights)[0]))
    np.testing.assert_allclose(found, np.asarray(expected), atol=0.02)


def test_resampling_is_as_even_as_the_weights():
    weights = np.array([0.1, 0.0, 0.4, 0.5])
    chosen = psis.resample(jax.random.key(0), np.log(weights + 1e-300), 1000)
    assert np.max(np.abs(np.bincount(chosen, minlength=4) - 1000 * weights)) <= 1
