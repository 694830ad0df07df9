"""A note whose sentences are out of order, or deny what was found."""

import re

import jax
import numpy as np

from fusionjax.types import Key

SENTENCE = re.compile(r"(?<=[.!?])\s+")
DENIAL = "No sign of "


def shuffled(key: Key, note: str) -> str:
    """The sentences in random order."""
    sentences = SENTENCE.split(note.strip())
    order = np.asarray(jax.random.permutation(key, len(sentences)))
    return " ".join(sentences[i] for i in order)


def negated(key: Key, note: str, strength: float) -> str:
    """Each sentence is denied with probability `strength`: "No sign of ..."."""
    sentences = SENTENCE.split(note.strip())
    denied = np.asarray(jax.random.uniform(key, (len(sentences),))) < strength
    return " ".join(
        f"{DENIAL}{s[:1].lower()}{s[1:]}" if deny and s else s
        for s, deny in zip(sentences, denied, strict=True)
    )
