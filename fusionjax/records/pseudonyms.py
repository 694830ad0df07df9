"""Names that stand for patients' own: the same for the same patient, and no way back without a key.

HMAC-SHA256 (RFC 2104): who lacks the key cannot try the few million names that a hospital has, as
with a plain hash; who has it can make the same pseudonyms again, and join runs by them.
"""

import hashlib
import hmac
from pathlib import Path

import pandas as pd

from fusionjax.errors import CardError

SHORTEST = 16  # bytes of a key
COLUMNS = ("id", "group")


def read_key(path: Path) -> bytes:
    """A key from a file: its bytes, without surrounding blanks. Raises CardError if too short."""
    if not path.is_file():
        mend = "Make one: python -c 'import secrets; print(secrets.token_hex(32))' > FILE"
        raise CardError(path, "key", "is no file", mend)
    key = path.read_bytes().strip()
    if len(key) < SHORTEST:
        raise CardError(path, "key", f"has {len(key)} bytes", f"Expected {SHORTEST} at least.")
    return key


def pseudonym(key: bytes, role: str, name: str) -> str:
    """128 bits in hexadecimal for a name; an id and a group (`role`) alike get different ones."""
    return hmac.digest(key, f"{role}\0{name}".encode(), hashlib.sha256).hex()[:32]


def replaced(table: pd.DataFrame, key: bytes) -> pd.DataFrame:
    """The table of records with pseudonyms for ids and patients.

    Sites, dates, subgroups and the number of the row stay: with these a patient may be known yet.
    """
    named = {role: [pseudonym(key, role, name) for name in table[role]] for role in COLUMNS}
    return table.assign(**named)
