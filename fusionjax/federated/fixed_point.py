"""Numbers as non-negative integers, so that sums of them are exact under any mask.

A number x becomes the integer round(x 2^44), offset so that it is not negative, in four limbs of 22
bits. Limbs of several sites are added limb by limb, with a modulus that no sum reaches, and only
the sum is put together again: its error is what rounding each summand left, 2^-45 a site, whatever
its size. A count is one limb, and exact.
"""

import numpy as np
from jaxtyping import Float, Int64, Shaped

LIMB = 22
LIMBS = 4
FRACTION = 44
LARGEST = 2.0 ** (LIMB * LIMBS - 1 - FRACTION)
"""Numbers must lie below: 2^43, about 9e12."""
LARGEST_COUNT = 2**LIMB - 1
MOST_SITES = 2 ** (32 - LIMB) - 1
"""Of which limbs add up below 2^32."""

_OFFSET = 1 << (LIMB * LIMBS - 1)
_MASK = (1 << LIMB) - 1


def encode(values: Float[np.ndarray, " number"]) -> Int64[np.ndarray, "number limb"]:
    """Limbs from the lowest up; raises ValueError for what is not finite or too large."""
    if not np.all(np.abs(values) < LARGEST):
        raise ValueError(f"a number is not finite, or not below {LARGEST:.0f}")
    # 2^44 x is exact in floating point, and Python's integers are as long as need be.
    whole = [round(float(x) * 2.0**FRACTION) + _OFFSET for x in values]
    limbs = [[(x >> (LIMB * place)) & _MASK for place in range(LIMBS)] for x in whole]
    return np.array(limbs, np.int64).reshape(len(values), LIMBS)


def decode(limbs: Int64[np.ndarray, "number limb"], sites: int) -> Float[np.ndarray, " number"]:
    """The sum of what `sites` sites encoded, from the sum of their limbs."""
    whole = [sum(int(x) << (LIMB * place) for place, x in enumerate(row)) for row in limbs]
    return np.array([(x - sites * _OFFSET) / (1 << FRACTION) for x in whole], np.float64)


def encode_counts(values: Shaped[np.ndarray, " number"]) -> Int64[np.ndarray, " number"]:
    """Whole numbers from 0 to 2^22 − 1 as they are; raises ValueError for any other."""
    counts = np.asarray(values, np.float64)
    if not np.all((counts >= 0) & (counts <= LARGEST_COUNT) & (counts == np.floor(counts))):
        raise ValueError(f"a count is not a whole number from 0 to {LARGEST_COUNT}")
    return counts.astype(np.int64)
