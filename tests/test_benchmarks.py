"""What `python -m benchmarks` asks of every benchmark, without running one."""

import importlib
import json
import re
import sys

import pytest

from benchmarks import __main__ as every
from benchmarks import across_cards


@pytest.mark.parametrize("name", every.names())
def test_a_benchmark_knows_smoke(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--smoke", "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert re.search(r"^\W*--smoke {2,}", capsys.readouterr().out, re.MULTILINE)


def test_smoke_of_all_cards_tells_the_committed_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["across_cards", "--smoke"])
    monkeypatch.setattr(across_cards, "keep", lambda *_: pytest.fail("written"))
    across_cards.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    cards = json.loads((across_cards.RESULTS / "variants.json").read_text())["cards"]
    committed = {card["data"]: card["families"]["log-linear"]["rank"] for card in cards}
    assert line["rank_of_log_linear"] == committed
