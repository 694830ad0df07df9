"""With a key, no patient's own name is kept anywhere, and the same names give the same."""

from pathlib import Path

import pytest

from fusionjax import card as cards
from fusionjax.errors import CardError
from fusionjax.records import pseudonyms
from fusionjax.records.ingest import ingest
from tests import small_folder

KEY = b"0123456789abcdef"


def test_a_pseudonym_depends_on_key_role_and_name() -> None:
    one = pseudonyms.pseudonym(KEY, "id", "r1")
    assert one == pseudonyms.pseudonym(KEY, "id", "r1")
    others = [(KEY, "group", "r1"), (KEY, "id", "r2"), (KEY[::-1], "id", "r1")]
    assert len({one, *(pseudonyms.pseudonym(*other) for other in others)}) == 4
    assert len(one) == 32


def test_names_are_kept_nowhere(tmp_path: Path) -> None:
    rows = [{**row, "patient": f"zeta-{row['patient']}"} for row in small_folder.rows()]
    card = cards.load(small_folder.write(tmp_path, rows))
    plain = ingest(card, tmp_path / "plain")
    hidden = ingest(card, tmp_path / "hidden", key=KEY)
    again = ingest(card, tmp_path / "hidden", key=KEY[::-1])
    assert len(list((tmp_path / "hidden").iterdir())) == 2
    named = [pseudonyms.pseudonym(KEY, "id", name) for name in plain.table["id"]]
    assert hidden.table["id"].tolist() == named
    assert not set(again.table["id"]) & set(named)
    patients, masked = plain.table["group"].tolist(), hidden.table["group"].tolist()
    assert [patients.index(p) for p in patients] == [masked.index(p) for p in masked]
    kept = [path.read_bytes() for path in (tmp_path / "hidden").rglob("*") if path.is_file()]
    assert b"zeta" not in b"".join(kept)
    assert b"zeta" in next((tmp_path / "plain").glob("*/table.parquet")).read_bytes()


def test_a_key_is_read_and_checked(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert pseudonyms.read_key(tmp_path / "key") == KEY
    (tmp_path / "short").write_bytes(b"secret\n")
    with pytest.raises(CardError, match="has 6 bytes"):
        pseudonyms.read_key(tmp_path / "short")
    with pytest.raises(CardError, match="is no file"):
        pseudonyms.read_key(tmp_path / "none")
