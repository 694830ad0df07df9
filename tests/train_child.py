"""A training run that a test kills: `python train_child.py FOLDER` ends with FOLDER/weights.npz."""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fusionjax import train
from fusionjax.batches import Loader, whole
from fusionjax.encoders import build
from fusionjax.fusion.log_linear import log_linear
from fusionjax.types import Batch, Inputs

CONFIG = train.TrainConfig(epochs=12, batch_size=16, patience=12, seed=3)


def loaders() -> tuple[Loader, Loader]:
    """Two vectors and a label that the first of them tells."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(240, width)).astype(np.float32) for width in (6, 3)]
    label = (values[0][:, 0] + 0.5 * rng.normal(size=240) > 0).astype(np.int32)
    masks = [np.broadcast_to(rng.random(240) < 0.8, (w, 240)).T for w in (6, 3)]

    inputs = tuple(
        Inputs(jnp.asarray(v), jnp.asarray(m)) for v, m in zip(values, masks, strict=True)
    )
    presence = jnp.stack([x.mask.any(axis=1) for x in inputs], axis=1)
    data = Batch(inputs, presence, jnp.asarray(label), jnp.arange(240))
    parts = np.arange(160), np.arange(160, 240)
    return tuple(whole(data, rows, CONFIG.batch_size, 1) for rows in parts)


def network() -> train.Network:
    """A trained encoder, an untrained one, and the log-linear fusion."""
    stack = (build("vector", "mlp", 8), build("vector", "linear", 8))
    return train.Network(stack, log_linear(jnp.log(jnp.array([0.5, 0.5]))))


def fit(folder: Path | None, pause: float = 0.0) -> train.Trained:
    """Train, with checkpoints in `folder`; `pause` seconds after each epoch."""
    seen, validation = loaders()
    sample = next(iter(seen.ordered()))
    return train.fit(
        network(),
        seen,
        validation,
        sample,
        2,
        CONFIG,
        checkpoints=folder,
        seconds_between=0.0,
        progress=lambda *_: time.sleep(pause),
    )


if __name__ == "__main__":
    out = Path(sys.argv[1])
    leaves = jax.tree.leaves(fit(out / "checkpoints", pause=0.2).weights)
    np.savez(out / "weights.npz", *map(np.asarray, leaves))
