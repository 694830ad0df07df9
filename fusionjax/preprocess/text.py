"""φ for notes: redaction, then byte-pair tokens of UTF-8 bytes, so that any script can be read."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusionjax.card import TextOptions
from fusionjax.preprocess.instances import host
from fusionjax.types import Inputs

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Raw = str

SPECIAL = ["<pad>", "<unk>"]
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han, which are written without spaces between words."""
LETTER = rf"(?:[^\W{UNSPACED}]|(?<=\w)[-'’‐‑](?=\w))"
"""A character of a word, hyphens and apostrophes inside it included."""


class Statistics(NamedTuple):
    """The tokenizer as JSON, and the length of the longest training note in tokens."""

    tokenizer: str
    length: int


def fit(raws: Sequence[Raw], options: TextOptions) -> Statistics:
    """A byte-level byte-pair tokenizer (Sennrich et al. 2016) of redacted training notes.

    The length is that of the longest training note, up to the next multiple of 16 and at most
    `options.length`: positions that no training note reaches could not be learnt.
    """
    notes = [redact(raw, options.redact) for raw in raws]
    tokenizer = _train(notes, options.vocabulary)
    longest = max([1, *(len(e.ids) for e in tokenizer.encode_batch(notes))])
    return Statistics(tokenizer.to_str(), min(options.length, -(-longest // 16) * 16))


def apply(statistics: Statistics, raws: Sequence[Raw], options: TextOptions) -> Inputs:
    """Tokens [batch, token] and their mask, cut to the length of the statistics; 0 pads."""
    notes = [redact(raw, options.redact) for raw in raws]
    tokens = np.zeros((len(raws), statistics.length), np.int32)
    mask = np.zeros(tokens.shape, bool)
    for record, code in enumerate(_tokenizer(statistics.tokenizer).encode_batch(notes)):
        ids = code.ids[: statistics.length]
        tokens[record, : len(ids)] = ids
        mask[record, : len(ids)] = True
    return host(tokens, mask)


def is_cut(statistics: Statistics, raw: Raw, options: TextOptions) -> bool:
    """Whether the note has more tokens than those that are read."""
    note = redact(raw, options.redact)
    return len(_tokenizer(statistics.tokenizer).encode(note).ids) > statistics.length


def redact(note: str, stems: Sequence[str] = ()) -> str:
    """The note in one case and one spacing, without any word that holds one of the stems.

    Both are first brought to compatibility form and folded case (NFKC), and invisible format
    characters go, so that neither ＣＯＶＩＤ nor a soft hyphen hides a word. In a script without
    spaces only the stem itself is a word. Nothing marks the place of a word that was removed.
    """
    plain = [_plain(stem) for stem in stems]
    pattern = _pattern(tuple(stem for stem in plain if stem))
    text = _plain(note)
    return _spaced(pattern.sub(" ", text)) if pattern else text


def _plain(text: str) -> str:
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    folded = unicodedata.normalize("NFKC", visible).casefold()
    return _spaced(unicodedata.normalize("NFKC", folded))


def _spaced(text: str) -> str:
    return re.sub(rf"(?<=[{UNSPACED}]) (?=[{UNSPACED}])", "", " ".join(text.split()))


@lru_cache
def _pattern(stems: tuple[str, ...]) -> re.Pattern[str] | None:
    """Words that hold a stem, searched for from their first letter so that the time is linear."""
    if not stems:
        return None
    held = "|".join(re.escape(stem) for stem in sorted(stems, key=len, reverse=True))
    start = rf"(?<![^\W{UNSPACED}])(?<!\w[-'’‐‑])"
    return re.compile(rf"{start}{LETTER}*?(?:{held}){LETTER}*")


def _train(notes: list[str], vocabulary: int) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(notes, trainer)
    return tokenizer


@lru_cache
def _tokenizer(content: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_str(content)
