"""The house is in order: who imports whom, what `import fusionjax` costs, what every file says."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fusionjax"
CODE = ("fusionjax", "experiments", "benchmarks")
TREE = (*CODE, "tests")
# A record flows down this list, and a module imports only from those above it.
ORDER = (
    *("errors", "types", "keys", "files", "archive"),
    *("clinic", "card", "records", "splits", "preprocess", "batches", "audit", "study"),
    *("presence", "corrupt", "log_linear", "encoders", "fusion", "train", "posterior", "predict"),
    "gaussian_predictive",
    *("predictions", "metrics", "calibrate", "conformal", "jackknife", "triage", "costs"),
    "evaluation",
    *("baselines", "mixture", "missing", "acquisition"),
    *("model", "crossfit", "calibration", "fitting", "ensemble", "federated", "privacy"),
    *("compare", "scorecard", "outputs", "report"),
)
HEAVY = ("flax", "numpyro", "pandas", "tensorflow_datasets", "matplotlib", "sklearn", "tensorflow")


def files(*folders: str) -> list[Path]:
    """Files that people write, as they lie in the tree."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return [p for p in found if p.is_file() and "__pycache__" not in p.parts]


def sources(*folders: str) -> list[Path]:
    return [path for path in files(*folders) if path.suffix == ".py"]


def home(path: Path) -> str:
    """The part of the house that a file of the package belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, wherever in the file, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_order_names_every_part_of_the_house() -> None:
    parts = {home(path) for path in sources("fusionjax")} - {"__init__"}
    assert parts == set(ORDER)
    assert len(ORDER) == len(parts)


def test_a_module_imports_only_from_those_above_it() -> None:
    upward = []
    for path in sources("fusionjax"):
        names = [n.split(".") for n in imported(read(path))]
        used = {n[1] for n in names if n[0] == "fusionjax" and set(n[1:2]) & set(ORDER)}
        if path.parent != PACKAGE or path.name != "__init__.py":
            here = home(path)
            above = {*ORDER[: ORDER.index(here)], here}
            upward += [f"{path.relative_to(ROOT)} imports {name}" for name in used - above]
    assert not upward


def test_the_package_imports_nothing_from_the_scripts() -> None:
    for path in sources("fusionjax"):
        roots = {name.split(".")[0] for name in imported(read(path))}
        assert not roots & {"experiments", "benchmarks", "tests"}, path


@pytest.mark.parametrize("module", ["fusionjax", "fusionjax.log_linear", "fusionjax.card"])
def test_importing_is_cheap(module: str) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & set(HEAVY)


def test_every_public_name_is_where_the_table_of_contents_says() -> None:
    import fusionjax

    for name in dir(fusionjax):
        module, attribute = fusionjax._HOMES[name]
        assert getattr(fusionjax, name).__module__.startswith(module)
        assert name.endswith(attribute) or name == f"{attribute}_card"
    with pytest.raises(AttributeError, match="diagnoze"):
        _ = fusionjax.diagnoze


def test_what_is_public_has_a_docstring() -> None:
    silent = []
    for path in sources("fusionjax", "experiments"):
        tree = read(path)
        if tree.body and not ast.get_docstring(tree):
            silent.append(str(path.relative_to(ROOT)))
        nodes = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        nodes += [
            method
            for each in nodes
            if isinstance(each, ast.ClassDef) and not each.name.startswith("_")
            for method in each.body
            if isinstance(method, ast.FunctionDef)
        ]
        for node in nodes:
            if not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not silent


def test_no_file_is_long() -> None:
    lines = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sources(*CODE)}
    assert not {str(p.relative_to(ROOT)): n for p, n in lines.items() if n > 400}
    assert lines[PACKAGE / "log_linear.py"] < 150


def test_nothing_is_left_to_do_and_no_path_is_of_one_machine() -> None:
    wrong = re.compile(r"\bTO" r"DO\b|\bFIX" r"ME\b|(?<![\w./:])/(home|work|root|Users|tmp|mnt)/")
    top = [
        p for p in ROOT.iterdir() if p.is_file() and p.suffix in {".md", ".toml", ".txt", ".cff"}
    ]
    found = []
    for path in [*top, ROOT / "Makefile", *files(*TREE)]:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if wrong.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found
