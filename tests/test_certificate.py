"""Diagnostics against ArviZ, and on draws whose faults are known."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax.posterior import Certificate, Posterior, certificate, laplace, nuts

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
    assert certificate.k_hat(log_weights) == pytest.approx(expected, abs=0.02)


def test_k_hat_of_degenerate_weights():
    assert certificate.k_hat(np.zeros(100)) == 0.0
    assert certificate.k_hat(np.array([0.0] * 99 + [np.nan])) == np.inf
    assert certificate.k_hat(np.array([0.0] * 99 + [200.0])) > 0.7


def test_effective_counts_weights():
    assert certificate.effective(np.zeros(7)) == pytest.approx(7)
    assert certificate.effective(np.array([0.0, -800.0])) == pytest.approx(1)


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


def test_nuts_fails_each_check_out_loud():
    extra = {"diverging": np.array([[False, True]]), "accept_prob": 0.5 * np.ones(2)}
    extra["num_steps"] = np.array([3, 4])
    verdict = nuts._certify({"tau": independent(0, draws=50)}, extra, 1.0)
    assert not verdict.ok
    assert verdict.divergences == 1
    assert verdict.likelihood_evaluations == 7
    assert [note.split()[0] for note in verdict.notes if "ESS" in note] == ["bulk", "tail"]
    assert any("divergent" in note for note in verdict.notes)


def test_laplace_fails_when_its_draws_cannot_vouch():
    rng = np.random.default_rng(0)
    gaussian, heavy = 0.1 * rng.normal(size=400), 5 * rng.standard_cauchy(400)
    assert laplace._certify(np.zeros(32), gaussian, 1, 1.0).ok
    far = laplace._certify(np.zeros(32), heavy, 1, 1.0)
    assert not far.ok
    assert "k_hat" in far.notes[-1]
    few = laplace._certify(np.r_[0.0, np.full(31, -50.0)], gaussian, 1, 1.0)
    assert not few.ok
    assert "points of τ" in few.notes[-1]
