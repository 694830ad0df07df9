"""Experts for views that are vectors: log-linear on kernel features that are 0 far from all data.

F(x) = [1, K_mm^{-1/2} k(x, landmarks)] of a Gaussian kernel (Williams and Seeger 2001, Nyström).
A view that looks like no training record has F = (1, 0, …), where the expert says what its
intercept says: next to nothing. Weights by penalised maximum likelihood.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

Map = Callable[[Float[np.ndarray, "row _"]], Float[np.ndarray, "row p"]]
SHAPES = ("root", "plain")


def scaled(
    train: Float[np.ndarray, "row column"], *others: Float[np.ndarray, "_ column"]
) -> list[np.ndarray]:
    """Columns moved to [0, 1] by the training records alone."""
    low, high = train.min(axis=0), train.max(axis=0)
    unit = np.where(high > low, high - low, 1.0)
    return [(x - low) / unit for x in (train, *others)]


def kernel(train: Float[np.ndarray, "row column"], shape: str, landmarks: int, seed: int) -> Map:
    """F of width 1 / median squared distance; `shape` "root" takes signed square roots first."""
    from scipy.spatial.distance import cdist

    def warped(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.sqrt(np.abs(x)) if shape == "root" else x

    rng = np.random.default_rng(seed)
    marks = warped(train[rng.permutation(len(train))[:landmarks]])
    apart = cdist(marks, marks, "sqeuclidean")
    width = np.median(apart[apart > 0])
    power, axes = np.linalg.eigh(np.exp(-apart / width))
    # Directions without power get columns of 0: all views have one width, all fits one shape.
    kept = power > 1e-6 * power[-1]
    root = np.where(kept, axes / np.sqrt(np.maximum(power, 1e-12)), 0.0)

    def features(x: np.ndarray) -> np.ndarray:
        near = np.exp(-cdist(warped(x), marks, "sqeuclidean") / width)
        return np.concatenate([np.ones((len(x), 1)), near @ root], axis=1).astype(np.float32)

    return features


def weights(
    features: Float[np.ndarray, "row p"],
    label: Int[np.ndarray, " row"],
    bias: Float[np.ndarray, " class"],
    penalty: float,
    counted: Bool[np.ndarray, " row"],
    start: np.ndarray | None = None,
    steps: int = 250,
) -> Float[np.ndarray, "p class"]:
    """L-BFGS on mean NLL + penalty |w|²/2, the intercepts free; few `steps` are a penalty too.

    Rows that are not `counted` are held out: all fits have the shape of all rows.
    """
    from scipy.optimize import minimize

    shape = (features.shape[1], len(bias))
    onehot = jnp.asarray(np.eye(len(bias), dtype=np.float32)[label])
    share = jnp.asarray(counted / counted.sum(), jnp.float32)
    slope = partial(_slope, jnp.asarray(features), onehot, share, jnp.asarray(bias), penalty)

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = slope(jnp.asarray(flat.reshape(shape), jnp.float32))
        return float(value), np.asarray(gradient, float).ravel()

    first = np.zeros(shape) if start is None else start
    options = {"maxiter": steps, "maxcor": 20}
    best: Any = minimize(both, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    return best.x.reshape(shape)


def log_prob(
    features: Float[np.ndarray, "row p"], weight: np.ndarray, bias: Float[np.ndarray, " class"]
) -> Float[np.ndarray, "row class"]:
    """log softmax(b + F w)."""
    from scipy.special import log_softmax

    return log_softmax(bias[None, :] + features @ weight, axis=1)


@jax.jit
def _slope(
    features: Array, onehot: Array, share: Array, bias: Array, penalty: float, weight: Array
) -> tuple[Array, Array]:
    def loss(w: Array) -> Array:
        said = jax.nn.log_softmax(bias[None, :] + features @ w, axis=1)
        fit = -share @ jnp.sum(onehot * said, axis=1)
        return fit + penalty * jnp.sum(w[1:] ** 2) / 2

    return jax.value_and_grad(loss)(weight)
