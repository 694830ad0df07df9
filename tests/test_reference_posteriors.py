"""The reference posteriors that stand in `experiments/results`, and engines held to them."""

import json

import jax
import numpy as np
import pytest

from experiments.reference_posteriors import MODALITIES, RESULTS, records
from fusionjax.posterior import auto, importance

STOOD = json.loads((RESULTS / "reference_posteriors.json").read_text(encoding="utf-8"))[
    "posteriors"
]


@pytest.mark.parametrize("name", MODALITIES)
def test_every_reference_is_accepted(name):
    found = STOOD[name]
    assert found["accepted"]
    assert found["draws"] == 10_000
    assert found["r_hat"] < 1.01
    assert found["divergences"] == 0
    assert found["largest_lag_1"] < 0.05
    observations, bias = records(name)
    assert found["rows"] == len(observations.weight)
    for i, feature in enumerate(observations.features):
        mean = np.array(found["parameters"][f"theta_{i}"]["mean"])
        assert mean.shape == (len(bias), feature.shape[1])
        np.testing.assert_allclose(mean.sum(0), 0.0, atol=1e-4)


def errors(posterior, name, shift=0.0):
    """Of every mean in deviations of the posterior, and the log ratio of every deviation."""
    named = {"tau": posterior.tau} | {f"theta_{i}": t for i, t in enumerate(posterior.theta)}
    off, ratio = [], []
    for key, draws in named.items():
        mean, sd = (np.array(STOOD[name]["parameters"][key][m]) for m in ("mean", "sd"))
        draws = np.asarray(draws, float) + shift * sd
        off.append(np.ravel((draws.mean(0) - mean) / sd))
        ratio.append(np.ravel(np.log(draws.std(0) / sd)))
    return np.concatenate(off), np.concatenate(ratio)


def assert_reached(posterior, name):
    """Within five Monte Carlo errors of both, and not with the draws moved by a fifth of an sd."""
    ess = posterior.certificate.ess_bulk
    noise = np.sqrt(1 / ess + 1 / len(posterior.tau) + 1 / STOOD[name]["ess_bulk"])
    assert noise < 0.05
    off, ratio = errors(posterior, name)
    assert np.max(np.abs(off)) < 5 * noise
    # Of a deviation: by the fourth moment, with some room for tails heavier than a normal's.
    assert np.max(np.abs(ratio)) < 5 * noise
    assert np.max(np.abs(errors(posterior, name, 0.25)[0])) > 5 * noise


@pytest.mark.parametrize("name", ["clinic", "digits"])
def test_importance_reaches_the_reference(key, name):
    observations, bias = records(name)
    found = importance.fit(key, observations, bias, draws=4000, proposed=16384)
    assert found.certificate.ok, found.certificate.notes
    assert_reached(found, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODALITIES)
def test_auto_reaches_the_reference(name):
    observations, bias = records(name)
    found = auto.fit(jax.random.key(1), observations, bias, draws=4000)
    assert found.certificate.ok, found.certificate.notes
    assert_reached(found, name)
