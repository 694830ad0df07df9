"""Which texts occur how often, from sums: a table of buckets in which a text alone can be read.

Each text falls into one bucket of each table by its hash, and adds to it its count, and count times
its bytes and a checksum as numbers. A bucket with one text in it gives the text back, by division;
one with several does not, and the checksum tells (after the invertible Bloom lookup tables of
Goodrich and Mitzenmacher 2011). What is read explains all buckets, or the tables must be larger.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

WORDS = 8
LONGEST = 4 * WORDS
"""Bytes of UTF-8."""
SALTS = 3


def shape(columns: int, buckets: int) -> dict[str, tuple[int, ...]]:
    """Of the fields of `columns` tables."""
    size = columns, SALTS, buckets
    return {"count": size, "words": (*size, WORDS), "checksum": size}


def table(counted: Mapping[str, int], buckets: int) -> dict[str, np.ndarray]:
    """The table of texts and their counts; raises ValueError where a text is too long."""
    size = SALTS, buckets
    count, words, checksum = np.zeros(size), np.zeros((*size, WORDS)), np.zeros(size)
    for text, n in counted.items():
        for salt in range(SALTS):
            bucket = _hash(text, salt) % buckets
            count[salt, bucket] += n
            words[salt, bucket] += n * _words(text)
            checksum[salt, bucket] += n * float(_hash(text, SALTS))
    return {"count": count.astype(np.int64), "words": words, "checksum": checksum}


def read(fields: Mapping[str, np.ndarray]) -> dict[str, int] | None:
    """Texts and counts of one table's sum; None where some cannot be told apart."""
    count, found = np.asarray(fields["count"], np.int64), {}
    for salt, bucket in zip(*np.nonzero(count), strict=True):
        n = int(count[salt, bucket])
        text = _text(fields["words"][salt, bucket] / n)
        if text is not None and fields["checksum"][salt, bucket] == n * float(_hash(text, SALTS)):
            found[text] = n
    return found if np.array_equal(table(found, count.shape[1])["count"], count) else None


def _words(text: str) -> np.ndarray:
    content = text.encode()
    if len(content) > LONGEST:
        raise ValueError(f"a level is longer than {LONGEST} bytes: shorten the levels of the card")
    return np.frombuffer(content.ljust(LONGEST, b"\0"), "<u4").astype(np.float64)


def _text(words: np.ndarray) -> str | None:
    if not np.all((words == np.floor(words)) & (words >= 0) & (words < 2**32)):
        return None
    try:
        return words.astype("<u4").tobytes().rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None


def _hash(text: str, salt: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt} {text}".encode()).digest()[:4], "little")
