"""What a record's own label adds to its evidence, against fits without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusionjax import presence
from fusionjax.log_linear import evidence
from fusionjax.posterior import Observations, Posterior, left_out, newton, observe
from fusionjax.posterior.types import Certificate

BIAS = np.log(np.array([0.5, 0.3, 0.2]))
TAU = np.array([0.6, 0.4])
SIZES = (3, 5)


def records(n: int, missing: float) -> tuple[Observations, np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = [np.c_[np.ones(n), rng.normal(size=(n, p - 1))] for p in SIZES]
    here = rng.random((n, 2)) >= missing
    here[~here.any(axis=1), 0] = True
    score = BIAS + sum(
        o[:, None] * (v @ rng.normal(size=(p, 3)))
        for v, p, o in zip(vectors, SIZES, here.T, strict=True)
    )
    label = np.argmax(score + rng.gumbel(size=score.shape), axis=1)
    shown = presence.every(here)
    index = np.asarray(shown.index)
    rows = tuple(jnp.asarray(v[index], jnp.float32) for v in vectors)
    seen = observe(rows, shown.presence, jnp.asarray(label[index]), 3, shown.weight)
    return seen, index


def mode(observations: Observations) -> Posterior:
    """Its mode as the only draw, at fixed scales."""
    found = newton.solve(TAU, observations, jnp.asarray(BIAS, jnp.float32))
    with jax.enable_x64(True):
        scale = np.asarray(newton.columns(jnp.asarray(TAU), newton.sizes(observations)))
    u = scale[:, None] * np.asarray(found.z)
    whole = (newton.zero_sum_basis(3) @ u.T).astype(np.float32)
    theta = tuple(jnp.asarray(t[None]) for t in np.split(whole, [SIZES[0]], axis=1))
    return Posterior(theta, jnp.asarray(TAU[None], jnp.float32), Certificate("mode", True))


def own_evidence(found: Posterior, observations: Observations, record: int) -> np.ndarray:
    seen = tuple(f[record : record + 1] for f in observations.features)
    here = observations.presence[record : record + 1]
    return np.asarray(evidence(tuple(t[0] for t in found.theta), seen, here))[0]


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_it_is_what_fits_without_the_record_say(missing: float) -> None:
    observations, record = records(60, missing)
    bias, found, asked = jnp.asarray(BIAS, jnp.float32), mode(observations), np.arange(0, 60, 5)
    got = left_out.surplus(found, observations, record, bias, asked)
    exact = []
    for n in asked:
        others = jnp.asarray(record != n)
        without = mode(observations._replace(weight=observations.weight * others))
        exact.append(own_evidence(found, observations, n) - own_evidence(without, observations, n))
    exact = np.array(exact)
    assert np.abs(exact).max() > 0.05
    np.testing.assert_allclose(got, exact, atol=0.1 * np.abs(exact).max())
    assert np.corrcoef(got.ravel(), exact.ravel())[0, 1] > 0.995
    np.testing.assert_array_equal(got[~np.asarray(observations.presence)[asked]], 0)
    # A label speaks for itself: without it, its own class loses evidence.
    label = np.asarray(observations.onehot)[asked].argmax(axis=1)
    assert np.take_along_axis(got.sum(axis=1), label[:, None], axis=1).min() > 0


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    observations, record = records(30, 0.3)
    found, bias = mode(observations), jnp.asarray(BIAS, jnp.float32)
    asked = np.random.default_rng(1).permutation(30)
    whole = left_out.surplus(found, observations, record, bias, asked)
    monkeypatch.setattr(left_out, "BLOCK", 7)
    parts = left_out.surplus(found, observations, record, bias, asked)
    np.testing.assert_allclose(parts, whole, atol=1e-9)
