"""What the README shows works as shown."""

import re
import tomllib
from pathlib import Path

import pytest

from fusionjax import card
from fusionjax.clinic.world import Dials
from fusionjax.clinic.write import write

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write(tmp_path / "clinic", Dials(missing=0.1), 200, 0)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("README.md", "python")
    quick = "fj.FitConfig(train=fj.TrainConfig(epochs=2), folds=2)"
    exec(code.replace("fj.FitConfig()", quick), {})
    assert "[" in capsys.readouterr().out
    assert (tmp_path / "model" / "model.json").exists()


def test_the_python_of_the_calibration_page_runs(capsys) -> None:
    (code,) = blocks("docs/calibration.md", "python")
    exec(code, {})
    assert "Estimate(" in capsys.readouterr().out


def test_the_card_is_a_card(tmp_path: Path) -> None:
    (text,) = blocks("README.md", "toml")
    found = card.from_dict(tomllib.loads(text), tmp_path / "dataset.toml")
    assert [m.kind for m in found.modalities] == ["image", "text", "tabular"]


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in ROOT.glob("*/*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    for path in [ROOT / page] if (ROOT / page).exists() else ROOT.glob(f"*/{page}"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
