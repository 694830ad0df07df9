"""Engines against NumPyro's potential, autodiff, quadrature and each other."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpyro.distributions.transforms import ZeroSumTransform
from numpyro.infer.util import potential_energy
from scipy import stats
from scipy.special import logsumexp

from fusionjax.posterior import (
    Observations,
    Posterior,
    auto,
    importance,
    independence,
    laplace,
    newton,
    nuts,
    observe,
    program,
    proposals,
    scales,
    svi,
    whitening,
)
from fusionjax.posterior import surrogate as gaussian
from fusionjax.posterior.types import INTERCEPT, relative

TAU = np.array([0.7, 1.3])


def simulated(seed: int, rows: int, sizes: tuple[int, ...], classes: int, tau=None, rarest=None):
    """Observations drawn from the prior (at `tau` where it is given), the bias and true (θ, τ).

    The class frequencies are as 1 : 2 : … unless `rarest` is that of the first.
    """
    rng = np.random.default_rng(seed)
    tau = np.abs(rng.normal(size=len(sizes))) if tau is None else np.asarray(tau)
    features = tuple(np.c_[np.ones(rows), rng.normal(size=(rows, p - 1))] for p in sizes)
    presence = rng.random((rows, len(sizes))) < 0.8
    spread = [t * relative(p) for t, p in zip(tau, sizes, strict=True)]
    theta = tuple(s * rng.normal(size=(classes, len(s))) for s in spread)
    theta = tuple(weights - weights.mean(0) for weights in theta)
    frequency = np.arange(1.0, classes + 1)
    if rarest is not None:
        frequency[0] = rarest / (1 - rarest) * frequency[1:].sum()
    bias = np.log(frequency / frequency.sum())
    parts = [f @ weights.T for f, weights in zip(features, theta, strict=True)]
    energy = bias + sum(presence[:, i, None] * part for i, part in enumerate(parts))
    label = np.argmax(energy + rng.gumbel(size=energy.shape), axis=1)
    single = tuple(jnp.asarray(f, jnp.float32) for f in features)
    observations = observe(single, jnp.asarray(presence), jnp.asarray(label), classes)
    return observations, jnp.asarray(bias, jnp.float32), (theta, tau)


@pytest.fixture(scope="module")
def problem():
    observations, bias, _ = simulated(0, 60, (3, 4), 3)
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.2, 1.0, 60), jnp.float32)
    with jax.enable_x64(True):
        return newton.double((observations._replace(weight=weight), bias))


def unconstrained(z, tau, sizes):
    """The program's own coordinates for our z and τ."""
    parts = jnp.split(z, np.cumsum(sizes)[:-1])
    return {"tau": jnp.log(tau)} | {f"z_{i}": part for i, part in enumerate(parts)}


@jax.jit
def numpyro_log_density(z, tau, observations, bias):
    sites = unconstrained(z, tau, newton.sizes(observations))
    return -potential_energy(program.model, (observations, bias), {}, sites)


@jax.jit
def log_joint(z, tau, observations, bias):
    """log P(y | z, τ) − |z|²/2 in our coordinates, by the program's likelihood."""
    u = newton.columns(tau, newton.sizes(observations))[:, None] * z
    return log_likelihood(u, observations, bias) - jnp.sum(z**2) / 2


def log_likelihood(u, observations, bias):
    whole = newton.zero_sum_basis(len(bias)) @ u.T
    theta = jnp.split(whole, np.cumsum(newton.sizes(observations))[:-1], axis=1)
    return program.log_likelihood(tuple(theta), observations, bias)


# The program


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_basis_is_orthonormal_zero_sum_and_numpyros(classes):
    basis = newton.zero_sum_basis(classes)
    assert basis.shape == (classes, classes - 1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(classes - 1), atol=1e-12)
    np.testing.assert_allclose(basis.sum(0), 0.0, atol=1e-12)
    with jax.enable_x64(True):
        np.testing.assert_allclose(ZeroSumTransform()(jnp.eye(classes - 1)), basis.T, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_log_density_is_the_programs_with_its_constants(problem, seed):
    observations, bias = problem
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        z, tau = jnp.asarray(rng.normal(size=(7, 2))), jnp.asarray(rng.uniform(0.1, 2.0, 2))
        scale = newton.columns(tau, (3, 4))[:, None]
        likelihood = newton.expand(scale * z, observations, bias).value
        ours = likelihood - jnp.sum(z**2) / 2 - z.size / 2 * np.log(2 * np.pi)
        half_normal = jnp.sum(np.log(2) - np.log(2 * np.pi) / 2 - tau**2 / 2 + jnp.log(tau))
        theirs = numpyro_log_density(z, tau, observations, bias)
        np.testing.assert_allclose(ours + half_normal, theirs, rtol=1e-12)


@pytest.mark.parametrize("leaf", [newton.LEAF, 2])
def test_expansion_is_numpyros_derivatives(problem, leaf, monkeypatch):
    monkeypatch.setattr(newton, "LEAF", leaf)
    observations, bias = problem
    with jax.enable_x64(True):
        z, tau = jnp.asarray(np.random.default_rng(2).normal(size=(7, 2))), jnp.asarray(TAU)

        def flat(x):
            return numpyro_log_density(x.reshape(z.shape), tau, observations, bias)

        scale = np.repeat(newton.columns(tau, (3, 4)), 2)
        expansion = newton.expand(z * scale[::2, None], observations, bias)
        slope = scale * expansion.slope.ravel() - z.ravel()
        np.testing.assert_allclose(slope, jax.jit(jax.grad(flat))(z.ravel()), rtol=1e-9, atol=1e-12)
        precision = np.eye(14) + scale[:, None] * expansion.curvature * scale[None, :]
        np.testing.assert_allclose(
            -precision, jax.jit(jax.hessian(flat))(z.ravel()), rtol=1e-9, atol=1e-12
        )


def test_zero_sum_is_the_gauge_of_a_reference_class(problem):
    """θ_k − θ_K of a zero-sum normal has covariance τ²(I + 11ᵀ): the same mode and curvature."""
    observations, bias = problem
    mode = newton.solve(TAU, observations, bias, tolerance=1e-18)
    with jax.enable_x64(True):
        deviation = np.asarray(newton.columns(jnp.asarray(TAU), (3, 4)))
        turn = newton.zero_sum_basis(3)[:2] - newton.zero_sum_basis(3)[2:]
        design = jnp.concatenate(observations.features, axis=1)
        inverse = np.linalg.inv(np.eye(2) + 1.0)

        def log_joint(against):
            whole = jnp.concatenate([against, jnp.zeros((7, 1))], axis=1)
            log_prob = jax.nn.log_softmax(bias[None, :] + design @ whole, axis=1)
            likelihood = jnp.sum(observations.weight[:, None] * observations.onehot * log_prob)
            return (
                likelihood
                - jnp.einsum("pa,ab,pb,p->", against, inverse, against, deviation**-2) / 2
            )

        against = deviation[:, None] * np.asarray(mode.z) @ turn.T
        np.testing.assert_allclose(jax.grad(log_joint)(against), 0.0, atol=1e-7)
        hessian = -jax.hessian(log_joint)(against).reshape(14, 14)
        change = np.kron(np.diag(deviation), turn)
        covariance = np.linalg.inv(mode.cholesky @ mode.cholesky.T)
        np.testing.assert_allclose(
            np.linalg.inv(hessian), change @ covariance @ change.T, rtol=1e-8, atol=1e-12
        )


# Newton and the evidence


def test_newton_finds_the_mode(problem):
    mode = newton.solve(TAU, *problem, tolerance=1e-18)
    with jax.enable_x64(True):
        slope = jax.grad(log_joint)(mode.z, jnp.asarray(TAU), *problem)
        assert np.max(np.abs(slope)) < 1e-8
        product = mode.cholesky @ mode.cholesky.T
        exact = -jax.hessian(log_joint)(mode.z, jnp.asarray(TAU), *problem)
        np.testing.assert_allclose(product, exact.reshape(14, 14), rtol=1e-9, atol=1e-12)


def test_start_does_not_change_the_mode(problem):
    cold = newton.solve(TAU, *problem)
    warm = newton.solve(TAU, *problem, start=30.0 * np.ones((7, 2)))
    np.testing.assert_allclose(cold.z, warm.z, atol=1e-4)
    assert newton.solve(TAU, *problem, start=cold.z).steps == 1


def test_sums_over_blocks_of_rows_are_the_whole(problem, monkeypatch):
    observations, bias = problem
    with jax.enable_x64(True):
        u = jnp.asarray(np.random.default_rng(4).normal(size=(7, 2)))
        draws = u[None] + jnp.asarray(np.random.default_rng(5).normal(size=(70, 7, 2)))
        mode = newton.solve(TAU, observations, bias)

        def everything():
            mean = newton.mean(mode, jnp.asarray(TAU), observations, bias)
            gains = newton.gains(draws, u, observations, bias)
            return *newton.expand(u, observations, bias), mean, gains

        whole = everything()
        monkeypatch.setattr(newton, "BLOCK", 25)
        jax.clear_caches()
        for a, b in zip(whole, everything(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
        each = [log_likelihood(one, observations, bias) for one in draws[:3]]
        gain = np.array(each) - log_likelihood(u, observations, bias)
        np.testing.assert_allclose(whole[-1][:3], gain, rtol=1e-9)


def test_features_in_float32_find_the_same_mode(problem):
    observations, bias = problem
    single = tuple(f.astype(jnp.float32) for f in observations.features)
    mode = newton.solve(TAU, observations, bias)
    other = newton.solve(TAU, observations._replace(features=single), bias)
    np.testing.assert_allclose(mode.z, other.z, atol=1e-5)
    np.testing.assert_allclose(mode.cholesky, other.cholesky, rtol=1e-4, atol=1e-4)


# The surrogate likelihood


@pytest.fixture(scope="module")
def surrogate(problem):
    mode = newton.solve(TAU, *problem, tolerance=1e-16)
    with jax.enable_x64(True):
        return mode, gaussian.around(mode, TAU, *problem)


def test_surrogate_has_laplaces_evidence_and_mean_where_it_was_made(problem, surrogate):
    mode, found = surrogate
    at = gaussian.given(TAU, found, (3, 4))
    with jax.enable_x64(True):
        mean = newton.mean(mode, TAU, *problem)
    evidence = gaussian.log_evidence(TAU[None], found, (3, 4))[0]
    np.testing.assert_allclose(evidence, mode.log_evidence, rtol=1e-12)
    np.testing.assert_allclose(at.mean, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(at.cholesky, mode.cholesky, rtol=1e-9, atol=1e-12)


def test_evidence_of_many_scales_is_that_of_each(surrogate, monkeypatch):
    tau = np.random.default_rng(8).uniform(0.1, 2.0, (30, 2))
    together = gaussian.log_evidence(tau, surrogate[1], (3, 4))
    monkeypatch.setattr(gaussian, "ROOM", 1)
    each = gaussian.log_evidence(tau, surrogate[1], (3, 4))
    np.testing.assert_allclose(together, each, rtol=1e-12)


def test_slope_of_the_surrogates_evidence_is_that_of_laplaces(problem, surrogate):
    """Which is why its mean is moved from the mode."""

    def laplaces(tau):
        return float(newton.solve(tau, *problem, tolerance=1e-16).log_evidence)

    factors = np.exp(1e-4 * np.eye(2))
    differences = np.array([(laplaces(TAU * f) - laplaces(TAU / f)) / 2e-4 for f in factors])
    mode, found = surrogate
    unmoved = found._replace(slope=mode.likelihood.slope)
    slopes = [scales._slope(TAU, s, (3, 4))[0] for s in (found, unmoved)]
    moved, unmoved = (np.abs(s - 1 + TAU**2 - differences) for s in slopes)
    assert np.all(moved < 0.05)
    assert np.all(unmoved > 3 * moved)


def test_draws_under_the_surrogate_have_its_density(problem, surrogate):
    """log N(u | τ) = log surrogate(u) + log N(u; 0, τ²) − log evidence, which fixes the weights."""
    found = surrogate[1]
    at = gaussian.given(TAU, found, (3, 4))
    noise = np.random.default_rng(6).normal(size=(5, 14))
    u = gaussian.place(noise, TAU, at, (3, 4))
    z = u / newton.columns(TAU, (3, 4))[None, :, None]
    drawn = np.sum(np.log(np.diagonal(at.cholesky))) - np.sum(noise**2, axis=1) / 2
    joint = gaussian.log_density(u, found) - np.sum(z**2, axis=(1, 2)) / 2
    evidence = gaussian.log_evidence(TAU[None], found, (3, 4))[0]
    np.testing.assert_allclose(joint - evidence, drawn, rtol=1e-9)


def test_whitened_density_is_the_programs_with_the_jacobian(problem):
    """And its gradient: against NumPyro's potential and autodiff's Jacobian, up to one constant."""
    observations, bias, _ = simulated(0, 60, (3, 4), 3)
    ground = proposals.groundwork(jax.random.key(0), observations, bias)
    aim, _ = whitening.target(ground, (3, 4))
    with jax.enable_x64(True):
        aim, exact = newton.double(aim), (ground.exact, ground.exact_bias)
        rng, constants = np.random.default_rng(7), []

        def ours(x):
            return whitening.log_density((x[:2], x[2:]), aim, (3, 4))

        def sites(x):
            at = whitening.place((x[:2], x[2:]), aim.whitening, (3, 4))
            z = at.u / newton.columns(jnp.exp(at.log_tau), (3, 4))[:, None]
            return jnp.concatenate([at.log_tau, z.ravel()])

        def theirs(x):
            there = sites(x)
            volume = jnp.linalg.slogdet(jax.jacobian(sites)(x))[1]
            z = there[2:].reshape(7, 2)
            return numpyro_log_density(z, jnp.exp(there[:2]), *exact) + volume

        for _ in range(4):
            x = jnp.asarray(rng.normal(size=16))
            constants.append(ours(x) - theirs(x))
            np.testing.assert_allclose(jax.grad(ours)(x), jax.grad(theirs)(x), atol=1e-4)
    np.testing.assert_allclose(constants, constants[0], atol=1e-4)


def test_many_rows_of_chains_side_by_side_have_the_density_of_one(key):
    """Compiled for several chains at once, at a size at which the work is divided among threads.

    jaxlib 0.10.2 returns wrong sums of products there (jax issue 39103) where they are read by
    anything but another sum.
    """
    observations, bias, _ = simulated(1, 12_000, (2, 2), 3, tau=(0.7, 0.7))
    ground = proposals.groundwork(key, observations, bias)
    aim, _ = whitening.target(ground, (2, 2))
    x = jax.random.normal(key, (4, 2)), jax.random.normal(key, (4, 8))
    together = jax.jit(jax.vmap(lambda *x: whitening.log_density(x, aim, (2, 2))))(*x)
    sites = {"tau": x[0], "z_0": x[1][:, :4].reshape(4, 2, 2), "z_1": x[1][:, 4:].reshape(4, 2, 2)}
    potential = partial(potential_energy, program.model, (observations, bias), {})
    programs = jax.jit(jax.vmap(potential))(sites)
    with jax.enable_x64(True):
        exact = newton.double((aim, x, (observations, bias), sites))
        one = [
            whitening.log_density((a, b), exact[0], (2, 2)) for a, b in zip(*exact[1], strict=True)
        ]
        each = [jax.tree.map(lambda s, i=i: s[i], exact[3]) for i in range(4)]
        theirs = [potential_energy(program.model, exact[2], {}, site) for site in each]
    np.testing.assert_allclose(together, one, atol=2e-3)
    np.testing.assert_allclose(programs, theirs, rtol=1e-5)


def grid_log_joint(observations, bias, tau, axis):
    """z on a grid, and log P(y, z | τ) there, for two classes and one weight a modality."""
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    design = np.concatenate([np.asarray(f, float) for f in observations.features], axis=1)
    scores = (z * tau * INTERCEPT) @ design.T
    energy = np.asarray(bias, float) + scores[..., None] * newton.zero_sum_basis(2)[:, 0]
    log_prob = energy - logsumexp(energy, axis=-1, keepdims=True)
    likelihood = np.einsum("gnk,nk,n->g", log_prob, observations.onehot, observations.weight)
    log_joint = likelihood - np.sum(z**2, axis=1) / 2 - np.log(2 * np.pi)
    return z, log_joint + 2 * np.log(axis[1] - axis[0])


@pytest.fixture(scope="module")
def tiny():
    return simulated(3, 60, (1, 1), 2, tau=(1.0, 0.6))[:2]


@pytest.mark.parametrize("tau", [(0.1, 0.05), (1.0, 0.6), (2.0, 0.5)])
def test_evidence_against_quadrature(tiny, tau):
    _, log_joint = grid_log_joint(*tiny, np.array(tau), np.linspace(-6, 6, 161))
    approximate = float(newton.solve(np.array(tau), *tiny).log_evidence)
    assert abs(approximate - logsumexp(log_joint)) < 0.02


@pytest.mark.parametrize("tau", [(1.0, 0.6), (2.0, 0.5)])
def test_mean_is_nearer_to_quadrature_than_the_mode(tiny, tau):
    z, log_joint = grid_log_joint(*tiny, np.array(tau), np.linspace(-6, 6, 161))
    weight = np.exp(log_joint - logsumexp(log_joint))
    exact = weight @ z
    sd = np.sqrt(weight @ (z - exact) ** 2)
    mode = newton.solve(np.array(tau), *tiny)
    with jax.enable_x64(True):
        mean = newton.mean(mode, np.array(tau), *newton.double(tiny))
    off, corrected = (np.abs(np.asarray(x)[:, 0] - exact) / sd for x in (mode.z, mean))
    assert np.max(corrected) < 0.02
    assert np.max(off) > 2 * np.max(corrected)


# Engines against the exact posterior of a problem small enough for quadrature over θ


@pytest.fixture(scope="module")
def exact(tiny):
    """Mean and standard deviation of τ_1, τ_2 and of the first class's θ_1, θ_2.

    The likelihood depends on u = τz alone, and P(u) ∝ ∫ HalfNormal(τ) N(u; 0, τ²) dτ. Both weights
    are on constants.
    """
    axis = (np.arange(200) - 99.5) * 0.05
    log_tau = np.linspace(np.log(1e-4), np.log(8.0), 2000)[:, None]
    tau = np.exp(log_tau)
    prior = np.exp(-(tau**2) / 2 - (axis / tau) ** 2 / 2)  # dτ/τ is uniform in log τ
    moments = [(prior * tau**power).sum(0) for power in range(3)]
    _, log_joint = grid_log_joint(*tiny, np.ones(2), axis)
    u = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    likelihood = np.exp(log_joint + np.sum(u**2, axis=1) / 2 - np.max(log_joint)).reshape(200, 200)
    plain, mean, square = moments
    table = {0: plain, 1: mean, 2: square, 3: plain * axis, 4: plain * axis**2}
    first = [likelihood @ plain @ table[k] for k in range(5)]
    second = [plain @ likelihood @ table[k] for k in range(5)]
    first, second = np.array(first) / first[0], np.array(second) / second[0]
    means = np.array([first[1], second[1], first[3], second[3]])
    squares = np.array([first[2], second[2], first[4], second[4]])
    turn = np.r_[1.0, 1.0, [INTERCEPT * newton.zero_sum_basis(2)[0, 0]] * 2]
    return turn * means, np.abs(turn) * np.sqrt(squares - means**2)


def summary(posterior: Posterior):
    draws = np.c_[posterior.tau, *(theta[:, 0, :] for theta in posterior.theta)]
    return draws.mean(0), draws.std(0)


def test_laplace_against_quadrature(key, tiny, exact):
    mean, sd = summary(laplace.fit(key, *tiny, draws=4000))
    np.testing.assert_allclose(mean, exact[0], atol=0.15 * exact[1].max())
    np.testing.assert_allclose(sd, exact[1], rtol=0.2)


@pytest.mark.slow
def test_svi_against_quadrature(key, tiny, exact):
    found = svi.fit(key, *tiny, draws=4000, steps=600)
    mean, sd = summary(found)
    np.testing.assert_allclose(mean, exact[0], atol=0.15 * exact[1].max())
    np.testing.assert_allclose(sd, exact[1], rtol=0.25)
    assert found.certificate.k_hat is not None
    assert found.certificate.likelihood_evaluations > 600 * svi.PARTICLES


def test_a_loss_that_still_falls_fails_the_certificate(key, tiny):
    good = laplace.fit(key, *tiny, draws=400).certificate
    noise = np.random.default_rng(0).normal(size=500)
    assert svi.settled(good, 3.0 + noise) == good
    falling = svi.settled(good, 3.0 + noise + np.linspace(20.0, 0.0, 500))
    assert not falling.ok
    assert "still fell by 3.9" in falling.notes[-1]
    assert not svi.settled(good, np.full(500, np.nan)).ok


@pytest.mark.parametrize(
    "fit",
    [
        partial(importance.fit, draws=2000),
        partial(importance.fit, draws=2000, proposed=4096, degrees=10.0),
        partial(independence.fit, draws=2000),
        partial(nuts.fit, draws=1000),
        pytest.param(partial(nuts.fit, draws=800, plain=True), marks=pytest.mark.slow),
        partial(auto.fit, draws=2000),
    ],
    ids=["importance", "student", "independence", "nuts", "plain", "auto"],
)
def test_exact_engines_against_quadrature(key, tiny, exact, fit):
    posterior = fit(key, *tiny)
    # Resampled draws vary by the proposals that they come from and by the resampling.
    ess = 1 / (1 / posterior.certificate.ess_bulk + 1 / len(posterior.tau))
    assert ess > 400
    mean, sd = summary(posterior)
    assert np.all(np.abs(mean - exact[0]) < 5 * exact[1] / np.sqrt(ess))
    np.testing.assert_allclose(sd, exact[1], rtol=0.15)
    for theta in posterior.theta:
        np.testing.assert_allclose(theta.sum(1), 0.0, atol=1e-5)


def test_wider_proposals_are_weighed_by_what_they_are_wider(key):
    """E under Student's t of N/t is 1; Gaussian proposals have no such weight."""
    noise, lighter = proposals._noise(key, 20_000, 6, 8.0)
    assert not np.any(proposals._noise(key, 10, 6, None)[1])
    weight = np.exp(lighter)
    assert abs(weight.mean() - 1) < 5 * weight.std() / np.sqrt(20_000)
    square = np.mean(weight[:, None] * noise**2, axis=0)
    assert np.all(np.abs(square - 1) < 0.1)
    assert np.all(np.mean(noise**2, axis=0) > 1.2)


def test_wider_proposals_mend_near_separable_classes(key):
    """Where Laplace's draws miss the tail of the posterior, wider ones have it."""
    observations, bias, _ = simulated(2, 25, (3, 3), 2, tau=(4.0, 4.0))
    ground = proposals.groundwork(key, observations, bias)
    plain, wide = (
        importance.sample(key, ground, draws=400, proposed=4096, degrees=degrees).certificate
        for degrees in (None, 10.0)
    )
    assert wide.ok, wide.notes
    assert plain.k_hat is not None
    assert wide.k_hat is not None
    assert wide.k_hat < plain.k_hat - 0.1
    assert "10 degrees of freedom" in wide.notes[1]


# Laws


def assert_same_mode(first, second, order=slice(None)):
    np.testing.assert_allclose(first.log_evidence, second.log_evidence, rtol=1e-6)
    np.testing.assert_allclose(first.z, np.asarray(second.z)[order], atol=1e-4)


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
@settings(max_examples=10)
def test_rows_of_a_record_count_it_once(seed, share):
    observations, bias, _ = simulated(seed, 20, (2, 3), 3)
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), observations)
    weight = jnp.repeat(jnp.asarray([share, 1 - share], jnp.float32), 20)
    split = newton.solve(TAU, twice._replace(weight=weight), bias)
    assert_same_mode(newton.solve(TAU, observations, bias), split)


@given(st.integers(0, 10_000))
@settings(max_examples=10)
def test_order_of_rows_modalities_and_classes_does_not_matter(seed):
    observations, bias, _ = simulated(seed, 20, (3, 3), 3)
    mode = newton.solve(TAU, observations, bias)
    rows = np.random.default_rng(seed).permutation(20)
    assert_same_mode(mode, newton.solve(TAU, jax.tree.map(lambda x: x[rows], observations), bias))
    swapped = Observations(
        observations.features[::-1],
        observations.presence[:, ::-1],
        observations.onehot,
        observations.weight,
    )
    assert_same_mode(mode, newton.solve(TAU[::-1], swapped, bias), np.roll(np.arange(6), 3))
    turned = observations._replace(onehot=jnp.roll(observations.onehot, 1, axis=1))
    other = newton.solve(TAU, turned, jnp.roll(bias, 1))
    np.testing.assert_allclose(mode.log_evidence, other.log_evidence, rtol=1e-6)


def test_payload_of_a_missing_modality_does_not_matter():
    presence = jnp.asarray([[True, False], [True, True]])
    label, ones = jnp.asarray([0, 1]), jnp.ones((2, 2))
    clean = observe((ones, ones), presence, label, 2)
    dirty = observe((ones, ones.at[0].set(jnp.nan)), presence, label, 2)
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        np.testing.assert_array_equal(a, b)


# Hard data


def hard_cases():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    label = (x[:, 1] > 0).astype(int)
    design = np.c_[np.ones(40), x]
    one_record = np.where(np.arange(40) == 7, 2, label)
    return {
        "separable": (design, label),
        "constant feature": (np.c_[design, np.full(40, 3.0)], label),
        "duplicated column": (np.c_[design, x[:, 1]], label),
        "empty column": (np.c_[design, np.zeros(40)], label),
        "class with one record": (design, one_record),
        "class with no record": (design, np.zeros(40, int)),
        "huge feature": (np.c_[design, 1e6 * x[:, 0]], label),
        "fewer records than weights": (np.c_[np.ones(5), rng.normal(size=(5, 20))], label[:5]),
        "one record": (design[:1], label[:1]),
    }


@pytest.mark.parametrize("case", hard_cases())
def test_hard_data_has_finite_zero_sum_draws(key, case):
    design, label = hard_cases()[case]
    features = (jnp.asarray(design, jnp.float32), jnp.ones((len(label), 2)))
    presence = jnp.stack([jnp.ones(len(label), bool), jnp.zeros(len(label), bool)], axis=1)
    bias = jnp.log(jnp.asarray([0.5, 0.3, 0.2]))
    observations = observe(features, presence, jnp.asarray(label), 3)
    posterior = importance.fit(key, observations, bias, draws=50)
    for theta, size in zip(posterior.theta, newton.sizes(observations), strict=True):
        assert theta.shape == (50, 3, size)
        assert np.all(np.isfinite(theta))
        np.testing.assert_allclose(theta.sum(1), 0.0, atol=1e-5 * float(jnp.max(jnp.abs(theta))))
    assert np.all(np.asarray(posterior.tau) > 0)


@pytest.mark.slow
@pytest.mark.parametrize("case", hard_cases())
@pytest.mark.parametrize(
    "fit",
    [
        partial(laplace.fit, draws=52),
        partial(independence.fit, draws=52, proposed=400),
        partial(nuts.fit, draws=13, warmup=50),
        partial(svi.fit, draws=52, steps=50),
    ],
    ids=["laplace", "independence", "nuts", "svi"],
)
def test_every_engine_is_finite_on_hard_data(key, case, fit):
    design, label = hard_cases()[case]
    presence = jnp.ones((len(label), 1), bool)
    bias = jnp.log(jnp.asarray([0.5, 0.3, 0.2]))
    observations = observe((jnp.asarray(design, jnp.float32),), presence, jnp.asarray(label), 3)
    posterior = fit(key, observations, bias)
    theta = np.asarray(posterior.theta[0])
    assert theta.shape == (52, 3, design.shape[1])
    assert np.all(np.isfinite(theta))
    np.testing.assert_allclose(theta.sum(1), 0.0, atol=1e-5 * np.max(np.abs(theta)))
    assert np.all(np.asarray(posterior.tau) > 0)


def test_a_modality_that_is_never_there_keeps_its_prior(key):
    observations, bias, _ = simulated(5, 80, (2, 3), 3, tau=(1.0, 1.0))
    gone = observations._replace(
        features=(observations.features[0], jnp.zeros((80, 3))),
        presence=observations.presence.at[:, 1].set(False),
    )
    posterior = laplace.fit(key, gone, bias, draws=4000)
    tau, theta = np.asarray(posterior.tau)[:, 1], np.asarray(posterior.theta[1])
    assert abs(tau.mean() - np.sqrt(2 / np.pi)) < 0.12
    assert abs(np.sqrt(np.mean(tau**2)) - 1.0) < 0.15
    assert abs(np.mean(theta[:, :, 1:] ** 2) - 2 / 3) < 0.25
    assert abs(np.mean(theta[:, :, 0] ** 2) / INTERCEPT**2 - 2 / 3) < 0.25


def test_what_cannot_be_followed_is_refused(key):
    ones, presence = jnp.ones((2, 2)), jnp.ones((2, 1), bool)
    label = jnp.asarray([0, 1])
    with pytest.raises(ValueError, match="modality 0 are not all finite"):
        observe((ones.at[1, 1].set(jnp.nan),), presence, label, 2)
    with pytest.raises(ValueError, match="unlabelled"):
        observe((ones,), presence, jnp.asarray([0, -1]), 2)
    with pytest.raises(ValueError, match="weights"):
        observe((ones,), presence, label, 2, weight=jnp.asarray([1.0, -1.0]))
    observations = observe((ones,), presence, label, 2)
    with pytest.raises(ValueError, match="not blanked"):
        laplace.fit(key, observations._replace(presence=~presence), jnp.zeros(2))
    with pytest.raises(FloatingPointError, match="no mode"):
        newton.solve(np.ones(1), observations, jnp.asarray([jnp.nan, 0.0]))


# House rules


def test_draws_are_float32_repeatable_and_not_retraced(key):
    observations, bias, _ = simulated(6, 30, (2, 2), 2)
    first = laplace.fit(key, observations, bias, draws=40)
    programs = newton._compiled, newton._half_slope, newton._gains
    compiled = [one._cache_size() for one in programs]
    again = laplace.fit(key, observations, bias, draws=40)
    laplace.fit(key, jax.tree.map(lambda x: x[:29], observations), bias, draws=39)
    assert [one._cache_size() for one in programs] == compiled
    for a, b in zip(jax.tree.leaves(first[:2]), jax.tree.leaves(again[:2]), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_array_equal(a, b)
    assert (jnp.ones(1) * 1.5).dtype == jnp.float32
    assert np.all(np.isfinite(first.certificate.k_hat))


def test_a_single_draw_is_no_evidence(key):
    """Of one weight there is no tail to look at: a certificate that fails, and no error."""
    observations, bias, _ = simulated(6, 30, (2, 2), 2)
    found = laplace.fit(key, observations, bias, draws=1)
    assert found.theta[0].shape == (1, 2, 2)
    assert not found.certificate.ok


def test_scales_that_hang_on_few_points_fail(key):
    observations, bias, _ = simulated(6, 300, (2, 2), 2)
    ground = proposals.groundwork(key, observations, bias)
    log_weight = np.where(np.arange(len(ground.scales.tau)) < 3, 0.0, -50.0)
    few = ground._replace(scales=ground.scales._replace(log_weight=log_weight))
    for engine, counts in (
        (laplace, {"draws": 400}),
        (importance, {"draws": 400, "proposed": 2048}),
        (independence, {"draws": 400, "proposed": 4 * len(log_weight)}),
    ):
        assert engine.sample(key, ground, **counts).certificate.ok
        failed = engine.sample(key, few, **counts).certificate
        assert not failed.ok
        assert "τ hangs on 3 points" in failed.notes[-1]


def test_chains_that_share_scales_do_not_walk_in_step(key):
    """Every chain is offered the same few τ, in an order of its own."""
    observations, bias, _ = simulated(6, 30, (2, 2), 2)
    ground = proposals.groundwork(key, observations, bias)
    points = len(ground.scales.tau)
    found = independence.sample(key, ground, draws=4 * points, proposed=4 * points)
    chains = np.asarray(found.tau).reshape(4, points, 2)
    assert np.mean(chains[0] == chains[1]) < 0.01


@pytest.mark.parametrize("most", [scales.MOST_TURNED, 1])
def test_proposed_scales_have_the_density_that_weighs_them(key, monkeypatch, most):
    """E of a half-normal's density over the proposal's is 1, folded together or apart."""
    monkeypatch.setattr(scales, "MOST_TURNED", most)
    root = np.array([[0.8, 0.0], [0.5, 0.6]])
    proposal = scales._proposal(np.array([0.5, 0.9]), root)
    standard = stats.t.ppf(scales._lattice(key, 20_000, 2), scales.DEGREES)
    tau = np.abs(proposal.centre + standard @ proposal.root.T)
    prior = np.sum(stats.halfnorm.logpdf(tau), axis=1)
    weight = np.exp(prior - scales._log_density(tau, proposal))
    assert np.mean(weight) == pytest.approx(1.0, abs=0.01)
    assert np.mean(weight * tau[:, 0] * tau[:, 1]) == pytest.approx(2 / np.pi, abs=0.02)


def test_scales_of_many_modalities_are_folded_apart(key, monkeypatch):
    """Signs of 14 scales are not summed over one by one, which would take minutes."""
    monkeypatch.setattr(scales, "product", None)
    observations, bias, _ = simulated(3, 400, (2,) * 14, 2)
    certificate = auto.fit(key, observations, bias, draws=400).certificate
    assert certificate.ok, certificate.notes
    assert certificate.engine == "importance"


def test_auto_counts_what_every_engine_evaluated(key, monkeypatch):
    """The groundwork once, the pilot, and the draws of an engine that failed and of the next."""
    observations, bias, _ = simulated(6, 300, (2, 2), 2)
    ground = proposals.groundwork(key, observations, bias)

    def engines(key, ground, draws, share):
        good = importance.sample(key, ground, draws=draws, proposed=2048)
        yield good._replace(certificate=good.certificate._replace(ok=False))
        yield laplace.sample(key, ground, draws=draws)

    monkeypatch.setattr(auto, "_engines", engines)
    found = auto.fit(key, observations, bias, draws=400).certificate
    assert found.engine == "laplace"
    expected = ground.scales.evaluations + auto.PILOT + 2048 + 400
    assert found.likelihood_evaluations == expected


def test_fewer_draws_than_asked_for_are_no_chains(key):
    observations, bias, _ = simulated(6, 30, (2, 2), 2)
    found = independence.fit(key, observations, bias, draws=40, proposed=400)
    assert auto._thinned(found, 20).chains == 4
    more = auto._thinned(found, 80)
    assert len(more.tau) == 80
    assert more.chains == 1


@pytest.mark.slow
def test_a_budget_ends_the_chains_and_says_so(key):
    observations, bias, _ = simulated(0, 40, (4, 3), 3, tau=(2.0, 2.0))
    ground = proposals.groundwork(key, observations, bias)
    given = {"draws": 100, "warmup": 20, "chains": 4, "accept": 0.8}
    free = nuts.sample(key, ground, **given)
    same = nuts.sample(key, ground, **given, budget=10**6)
    np.testing.assert_array_equal(free.theta[0], same.theta[0])
    short = nuts.sample(key, ground, **given, budget=4000)
    kept = len(short.tau) // 4
    assert 0 < kept < 100
    whole, part = (x.theta[0].reshape(4, -1, *x.theta[0].shape[1:]) for x in (free, short))
    np.testing.assert_array_equal(part, whole[:, :kept])
    assert any("budget of 4000 gradients spent" in note for note in short.certificate.notes)
    assert not short.certificate.ok
    alone = nuts.sample(key, ground, **(given | {"draws": kept}))
    assert short.certificate.accept == pytest.approx(alone.certificate.accept, rel=1e-5)
    spent = short.certificate.likelihood_evaluations - ground.scales.evaluations
    assert spent < 4000 + 4 * 1024


def test_auto_ends_within_its_budget_on_small_and_wide_data(key, monkeypatch):
    """Few records, many weights, strong signal: no engine certifies itself for so little."""
    observations, bias, _ = simulated(0, 60, (16, 9), 3, tau=(3.0, 3.0))
    monkeypatch.setattr(auto, "FEWEST", 4000)
    monkeypatch.setattr(auto, "MOST", 4000)
    found = auto.fit(key, observations, bias, draws=100)
    assert len(found.tau) == 100
    assert not found.certificate.ok
    said = [note for note in found.certificate.notes if "budget of" in note]
    assert len(said) == 2
    assert found.certificate.likelihood_evaluations < 8000 + 4 * 1024 + 500


def test_laplace_does_not_load_numpyro():
    code = "import sys, fusionjax.posterior.laplace; assert 'numpyro' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
