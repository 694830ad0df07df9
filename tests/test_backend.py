"""The sums that the fitted model rests on are right as they are compiled, at full size."""

import os
import subprocess
import sys

import numpy as np

SUMS = """
import fusionjax, jax, jax.numpy as jnp, numpy as np

def gain(theta, features, onehot):
    log_prob = jax.nn.log_softmax(jnp.matmul(features, theta, precision="highest"), axis=1)
    return jnp.ones(len(features)) @ (jnp.sum(onehot * log_prob, axis=1) - 1)

rng = np.random.default_rng(0)
features = rng.normal(size=(20_000, 4)).astype(np.float32)
onehot = np.eye(3, dtype=np.float32)[rng.integers(3, size=20_000)]
theta = (0.3 * rng.normal(size=(4, 4, 3))).astype(np.float32)
found = jax.jit(jax.vmap(gain, in_axes=(0, None, None)))(theta, features, onehot)
score = np.einsum("np,dpk->dnk", features.astype(float), theta.astype(float))
log_z = np.log(np.exp(score).sum(axis=2, keepdims=True))
exact = ((onehot[None] * (score - log_z)).sum(axis=2) - 1).sum(axis=1)
print(np.max(np.abs(np.asarray(found) / exact - 1)))
"""


def test_sums_of_products_over_many_rows_are_right() -> None:
    """In a process of its own, as a user's: without the package's flag jaxlib 0.10.2 fails it."""
    call, environment = [sys.executable, "-c", SUMS], {**os.environ}
    # Importing the package has set the flag here: the child must do so itself.
    environment.pop("XLA_FLAGS", None)
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
    assert np.float64(done.stdout) < 1e-5
