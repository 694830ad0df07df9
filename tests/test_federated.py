"""Sums over sites against the pooled fit, sites that fail, and numbers that add up under masks."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax.federated import coordinator, site
from fusionjax.federated import posterior as federated
from fusionjax.federated.coordinator import Federation
from fusionjax.federated.messages import Arrays, Refusal, Request
from fusionjax.posterior import Observations, importance, newton
from tests.test_posterior import simulated

SIZES = (3, 4)
ENDS = {"north": (0, 70), "east": (70, 100), "south": (100, 180), "west": (180, 200)}
"""Rows of each site; west has nothing of the second modality."""


@pytest.fixture(scope="module")
def pooled() -> tuple[Observations, jax.Array]:
    observations, bias, _ = simulated(0, 200, SIZES, 3)
    start, stop = ENDS["west"]
    presence = observations.presence.at[start:stop, 1].set(False)
    second = observations.features[1].at[start:stop].set(0)
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.2, 1.0, 200), jnp.float32)
    features = (observations.features[0], second)
    return Observations(features, presence, observations.onehot, weight), bias


def part(observations: Observations, names: tuple[str, ...]) -> Observations:
    rows = np.concatenate([np.arange(*ENDS[name]) for name in names])
    return jax.tree.map(lambda x: x[rows], observations)


def federation(pooled, spoil: Callable | None = None, least: int = 2, **changed) -> Federation:
    """Of sites in this process; `spoil(site, number, answer)` may change or withhold an answer."""
    observations, bias = pooled
    sites = {name: site.rows(part(observations, (name,)), bias) for name in ENDS}
    asked = dict.fromkeys(ENDS, 0)

    def ask(request: Request, names: tuple[str, ...]) -> Mapping[str, Arrays | Refusal]:
        answers = {}
        for name in names:
            asked[name] += 1
            answer = site.answer(sites[name], request)
            answer = spoil(name, asked[name], answer) if spoil else answer
            if answer is not None:
                answers[name] = answer
        return answers

    return Federation(coordinator.plain(ask, lambda: tuple(ENDS)), least)


def shape(pooled) -> federated.Shape:
    return federated.Shape(np.asarray(pooled[1]), SIZES)


def mode(pooled, names: tuple[str, ...], tau: np.ndarray) -> np.ndarray:
    observations, bias = pooled
    with jax.enable_x64(True):
        exact = newton.prepare(part(observations, names), bias)
        return np.asarray(newton.solve(tau, *exact).z)


def federated_mode(federation: Federation, pooled, tau: np.ndarray) -> np.ndarray:
    found = federation.fit(lambda f: federated.solve(f, shape(pooled), tau)[0])
    return np.asarray(found.z)


TAU = np.array([0.7, 1.3])


def test_newton_from_sums_is_newton_on_the_pooled_rows(pooled) -> None:
    found = federated_mode(federation(pooled), pooled, TAU)
    np.testing.assert_allclose(found, mode(pooled, tuple(ENDS), TAU), atol=1e-12)


def test_draws_from_sums_are_those_of_the_pooled_rows(pooled) -> None:
    key = jax.random.key(0)
    want = importance.fit(key, *pooled, draws=100)
    found = federation(pooled).fit(
        lambda f: federated.fit(key, f, shape(pooled), engine="importance", draws=100)
    )
    for mine, theirs in zip((*found.theta, found.tau), (*want.theta, want.tau), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert found.certificate.ok == want.certificate.ok
    np.testing.assert_allclose(found.certificate.k_hat, want.certificate.k_hat, atol=1e-4)
