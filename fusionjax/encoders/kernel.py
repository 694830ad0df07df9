"""ψ without training that bends: principal axes of waves along the untrained projection.

A log-linear model on these features is nearly one on all functions that a Gaussian kernel gives, a
Gaussian process for each modality. What is kept are means and axes: landmarks would be records.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fusionjax.card import Kind
from fusionjax.encoders import adapters, projection
from fusionjax.types import Encoder, Features, Inputs, Key, Params

COLUMNS = 128
"""Of the projection, at most: the kernel sees distances along these alone."""
WAVES = 1024


def gaussian(kind: Kind, features: int = 128) -> Encoder:
    """The first `features` kernel principal components at most, of mean variance 1 together.

    k(x, x') = exp(−|x − x'|² / mean squared distance) is the mean of cos ω·(x − x') over
    ω ~ N(0, I/p) for the p columns of `projection.linear`, whose mean variance is 1. `WAVES` ω
    stand for all, orthogonal in blocks (Rahimi and Recht 2007, a sine and a cosine of each; Yu et
    al. 2016), and the principal axes of these waves for those of the kernel matrix (Lopez-Paz et
    al. 2014). `init` draws ω from its key and fits the rest to those of its records that have
    anything. It cannot be jitted. With no record at all z has no column.
    """
    line = projection.linear(kind, COLUMNS)

    def waves(params: Params, inputs: Inputs) -> Float[Array, "batch wave"]:
        angle = line.apply(params["line"], inputs).vector[:, 1:] @ params["frequency"]
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=1) / np.sqrt(WAVES)

    def init(key: Key, inputs: Inputs) -> Params:
        params = {"line": line.init(key, inputs)}
        params |= {"frequency": _frequencies(key, params["line"]["weight"].shape[1])}
        rows = projection.in_chunks(jax.jit(waves), params, projection.present(inputs))
        centre, weight = projection.fitted(rows, features, standardised=False)
        return params | {"centre": centre, "weight": weight}

    def apply(params: Params, inputs: Inputs) -> Features:
        clean = adapters.blanked(inputs)
        with jax.default_matmul_precision("highest"):
            z = (waves(params, clean) - params["centre"][None, :]) @ params["weight"]
        return adapters.features(z, clean.mask)

    return Encoder(init, apply, trained=False)


def _frequencies(key: Key, columns: int) -> Float[Array, "column wave"]:
    """ω of a Gaussian kernel of width 2 · columns, orthogonal in blocks of as many as columns."""
    if not columns:
        return jnp.zeros((0, WAVES))
    blocks = -(-WAVES // columns)
    normal = np.asarray(jax.random.normal(key, (2, blocks, columns, columns)), np.float64)
    turn, _ = np.linalg.qr(normal[0])
    length = np.linalg.norm(normal[1], axis=1, keepdims=True)
    flat = np.concatenate(turn * length, axis=1)[:, :WAVES]
    return jnp.asarray(flat / np.sqrt(columns), jnp.float32)
