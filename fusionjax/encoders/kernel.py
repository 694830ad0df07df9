"""ψ without training that bends: principal axes of waves along the untrained projection.

A log-linear model on these features is nearly one on all functions that a Gaussian kernel gives, a
Gaussian process for each modality. Waves and their means hold no patient's record, as landmarks do.
"""

from collections.abc import Callable

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
    al. 2016, eq. 4), and the principal axes of these waves for those of the kernel matrix
    (Lopez-Paz et al. 2014). `init` draws ω from its key and fits the rest to those of its records
    that have anything. It cannot be jitted. With no record at all z has no column.
    """
    line = projection.linear(kind, COLUMNS)

    def init(key: Key, inputs: Inputs) -> Params:
        params = line.init(key, inputs)
        frequency = _frequencies(key, params["weight"].shape[1])
        fixed = {"line": params, "frequency": frequency}
        rows = projection.in_chunks(jax.jit(_waves_of(line)), fixed, projection.present(inputs))
        centre = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        axes = projection.principal_axes(rows - centre, features)
        variance = np.mean(((rows - centre) @ axes) ** 2) if axes.size else 1.0
        weight = jnp.asarray(axes / np.sqrt(variance), jnp.float32)
        return fixed | {"centre": jnp.asarray(centre, jnp.float32), "weight": weight}

    def apply(params: Params, inputs: Inputs) -> Features:
        clean = adapters.blanked(inputs)
        with jax.default_matmul_precision("highest"):
            z = (_waves_of(line)(params, clean) - params["centre"][None, :]) @ params["weight"]
        return adapters.features(z, clean.mask)

    return Encoder(init, apply, trained=False)


def _waves_of(line: Encoder) -> Callable[[Params, Inputs], Array]:
    def waves(params: Params, inputs: Inputs) -> Float[Array, "batch wave"]:
        x = line.apply(params["line"], inputs).vector[:, 1:]
        angle = x @ params["frequency"]
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=1) / np.sqrt(WAVES)

    return waves


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
