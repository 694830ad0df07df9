"""Random numbers on the host, by JAX's keys: NumPy draws them, so that nothing is compiled."""

import jax
import numpy as np

from fusionjax.types import Key


def generator(key: Key) -> np.random.Generator:
    """NumPy's generator, seeded by the key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def split(key: Key, count: int) -> tuple[Key, ...]:
    """`count` keys, as `jax.random.split` gives them, but other ones."""
    data = np.asarray(jax.random.key_data(key))
    states = np.random.SeedSequence(data).generate_state(count * data.size, data.dtype.type)
    kind = jax.random.key_impl(key)
    return tuple(jax.random.wrap_key_data(s, impl=kind) for s in states.reshape(count, *data.shape))
