"""What θ would say of each record if it had not seen it: one Newton step, and no fit.

Record n stands in rows of several presence patterns. With Φ_n the columns of its features, one
block for each modality, its rows have the slope Φ_n m_n and the curvature Φ_n A_n Φ_nᵀ, m_n and A_n
summed over the rows as weighed, so that the precision H of the posterior becomes H − Φ_n A_n Φ_nᵀ
without them, and by Woodbury's identity the scores Φ_nᵀ u of the record's own modalities fall by

    J_n (I − A_n J_n)⁻¹ m_n,    J_n = Φ_nᵀ H⁻¹ Φ_n.

Exact for one step from the mode, which is where the posterior's mean is taken to be; the scales τ
stay as they are. As `jackknife`, but for records in several rows (Rad and Maleki 2020, "A scalable
estimate of the out-of-sample prediction error via approximate leave-one-out cross-validation").
"""

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular

from fusionjax.posterior import newton
from fusionjax.posterior.types import Observations, Posterior

BLOCK = 256


def surplus(
    found: Posterior,
    observations: Observations,
    record: Int[np.ndarray, " row"],
    bias: Float[Array, " class"],
    asked: Int[np.ndarray, " record"],
) -> Float[np.ndarray, "record modality class"]:
    """How much of each modality's evidence, in nats, the records `asked` owe to their own labels.

    Less this, their evidence is that of θ without them. `record` names the record of every row, and
    the first rows are the records in order, as they came (`crossfit.observe`). 0 where a modality
    is missing.
    """
    basis = newton.zero_sum_basis(len(bias))
    theta = [np.asarray(draws, float).mean(axis=0) for draws in found.theta]
    tau = np.asarray(found.tau, float).mean(axis=0)
    factor = _factor(theta, tau, observations, bias, basis)
    slope, curvature = _sums(theta, observations, record, bias, basis, asked)
    features = [np.asarray(f, float)[asked] for f in observations.features]
    parts = [
        _fall(factor, [f[at] for f in features], slope[at], curvature[at])
        for at in np.split(np.arange(len(asked)), range(BLOCK, len(asked), BLOCK))
    ]
    return np.concatenate(parts) @ basis.T


def _factor(theta, tau, observations: Observations, bias, basis) -> np.ndarray:
    """The lower Cholesky factor of H, in the order of u.ravel()."""
    u = np.concatenate([each.T @ basis for each in theta])
    with jax.enable_x64(True):
        curvature = newton.expansion(u, *newton.prepare(observations, bias)).curvature
    scale = newton.columns(tau, newton.sizes(observations))
    precision = np.repeat(np.maximum(scale, 1e-6) ** -2, basis.shape[1])
    return cholesky(curvature + np.diag(precision), lower=True)


def _sums(theta, observations, record, bias, basis, asked):
    """m_n [record, modality, free] and A_n [record, modality, free, modality, free]."""
    place = np.full(int(record.max()) + 1, -1)
    place[asked] = np.arange(len(asked))
    rows = np.flatnonzero(place[record] >= 0)
    own, here = place[record[rows]], np.asarray(observations.presence, float)[rows]
    weight = np.asarray(observations.weight, float)[rows]
    score = np.asarray(bias, float) + sum(
        np.asarray(feature, float)[rows] @ each.T
        for feature, each in zip(observations.features, theta, strict=True)
    )
    prob = np.exp(score - np.logaddexp.reduce(score, axis=1, keepdims=True))
    error = (np.asarray(observations.onehot, float)[rows] - prob) @ basis
    spread = np.einsum("nk,ka,kb->nab", prob, basis, basis)
    spread -= np.einsum("na,nb->nab", prob @ basis, prob @ basis)
    size = here.shape[1], basis.shape[1]
    slope = np.zeros((len(asked), *size))
    curvature = np.zeros((len(asked), *size, *size))
    np.add.at(slope, own, weight[:, None, None] * here[:, :, None] * error[:, None, :])
    bent = np.einsum("n,ni,nj,nab->niajb", weight, here, here, spread, optimize=True)
    np.add.at(curvature, own, bent)
    return slope, curvature


def _fall(factor, features, slope, curvature) -> Float[np.ndarray, "record modality free"]:
    records, modalities, free = slope.shape
    columns, ends = np.zeros((len(factor), records, modalities * free)), 0
    for i, feature in enumerate(features):
        for a in range(free):
            at = np.arange(feature.shape[1]) * free + ends + a
            columns[at, :, i * free + a] = feature.T
        ends += feature.shape[1] * free
    half = solve_triangular(factor, columns.reshape(len(factor), -1), lower=True)
    half = half.reshape(columns.shape).transpose(1, 0, 2)
    reach = half.transpose(0, 2, 1) @ half
    bent = curvature.reshape(records, modalities * free, -1)
    step = np.linalg.solve(
        np.eye(modalities * free)[None] - bent @ reach, slope.reshape(records, -1, 1)
    )
    return (reach @ step).reshape(slope.shape)
