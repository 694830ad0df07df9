"""Laplace's posterior: given the scales τ, a Gaussian of θ; τ integrated by `scales`.

The Gaussian has the precision at the mode, and its mean is moved from the mode by what skewness
moves it (`newton.mean`): weights that the data determine well are larger on average than at the
mode. The certificate weighs the draws against the true density.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float, Int

from fusionjax.posterior import newton, scales
from fusionjax.posterior.certificate import effective, k_hat, most_k_hat
from fusionjax.posterior.types import Certificate, Observations, Posterior, check
from fusionjax.types import Key


def fit(
    key: Key,
    observations: Observations,
    bias: Float[Array, " class"],
    *,
    draws: int = 400,
) -> Posterior:
    """`draws` independent draws in float32; everything behind them is in float64.

    Raises ValueError where `observations` cannot be followed (see `check`).
    """
    started = time.perf_counter()
    check(observations)
    scale_key, pick_key, noise_key = jax.random.split(key, 3)
    with jax.enable_x64(True):
        exact, exact_bias = newton.double((observations, bias))
        weighted = scales.integrate(scale_key, exact, exact_bias)
        counts = scales.resample(pick_key, weighted, draws)
        u, log_ratio = _draw(noise_key, weighted, counts, exact, exact_bias)
    tau = jnp.asarray(np.repeat(weighted.tau, counts, axis=0), jnp.float32)
    evaluations = weighted.evaluations + int(np.count_nonzero(counts)) + draws
    seconds = time.perf_counter() - started
    certificate = _certify(weighted.log_weight, log_ratio, evaluations, seconds)
    return Posterior(_theta(u, observations), tau, certificate)


def _draw(
    key: Key,
    weighted: scales.Scales,
    counts: Int[np.ndarray, " point"],
    observations: Observations,
    bias: Float[Array, " class"],
) -> tuple[Float[np.ndarray, "draw p free"], Float[np.ndarray, " draw"]]:
    """Draws of u = τz in the order of the points, and their log importance ratios."""
    used = np.flatnonzero(counts)
    width = 1 << int(np.max(counts) - 1).bit_length()  # few shapes, so few compilations
    u, log_ratio = [], []
    for point, point_key in zip(used, jax.random.split(key, len(used)), strict=True):
        tau = weighted.tau[point]
        mode = scales.mode(tau, weighted.u[point], observations, bias)
        drawn, ratio = _around(point_key, mode, tau, observations, bias, width=width)
        u.append(np.asarray(drawn)[: counts[point]])
        log_ratio.append(np.asarray(ratio)[: counts[point]])
    return np.concatenate(u), np.concatenate(log_ratio)


@partial(jax.jit, static_argnames="width")
def _around(key, mode: newton.Mode, tau, observations, bias, width: int):
    """u = τ(E z + L⁻ᵀε), and log P(z, y | τ) less what the Gaussian makes of it."""
    scale = newton.columns(tau, observations.features)[:, None]
    mean = newton.mean(mode, tau, observations, bias)

    def one(noise):
        step = solve_triangular(mode.cholesky, noise, lower=True, trans=1)
        z = mean + step.reshape(mode.z.shape)
        excess = newton.log_joint(z, tau, observations, bias) - mode.log_joint
        return scale * z, excess + jnp.sum(noise**2) / 2

    return lax.map(one, jax.random.normal(key, (width, mode.z.size), tau.dtype))


def _theta(
    u: Float[np.ndarray, "draw p free"], observations: Observations
) -> tuple[Float[Array, "draw class _"], ...]:
    basis = np.asarray(newton.zero_sum_basis(u.shape[2] + 1))
    ends = np.cumsum(newton.sizes(observations))[:-1]
    theta = np.einsum("kf,npf->nkp", basis, u).astype(np.float32)
    return tuple(jnp.asarray(part) for part in np.split(theta, ends, axis=2))


def _certify(
    log_weight: Float[np.ndarray, " point"],
    log_ratio: Float[np.ndarray, " draw"],
    evaluations: int,
    seconds: float,
) -> Certificate:
    points, shape, limit = effective(log_weight), k_hat(log_ratio), most_k_hat(len(log_ratio))
    few = f"only {points:.1f} points of τ carry the weight: compare with nuts"
    far = f"k_hat {shape:.2f} is not below {limit:.2f}: θ is not near enough to Gaussian for these "
    far += "draws to show how near; compare with nuts"
    failed = tuple(
        note for note, passed in ((few, points >= 5.0), (far, shape < limit)) if not passed
    )
    about = f"τ integrated over {len(log_weight)} points, {points:.1f} effective"
    return Certificate(
        engine="laplace",
        ok=not failed,
        r_hat=None,
        ess_bulk=None,
        ess_tail=None,
        divergences=None,
        accept=None,
        k_hat=shape,
        likelihood_evaluations=evaluations,
        seconds=seconds,
        notes=(about, *failed),
    )
