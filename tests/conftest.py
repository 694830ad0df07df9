"""Strict settings for every test: shapes and types checked, implicit broadcasts refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import jax
import jaxtyping
import pytest

if TYPE_CHECKING:
    from tests.small_study import Small

# Here, before any test imports fusionjax: its functions are then checked at every call.
jaxtyping.install_import_hook("fusionjax", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile(
    "fusionjax", deadline=None, max_examples=25, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("fusionjax")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> "Small":
    """A study of a note and labs with a diagnosis of two members; read it, change nothing."""
    from tests import small_study

    return small_study.make(tmp_path_factory.mktemp("small"))


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """`real_data("heart")` is a folder of real records; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        root = os.environ.get("FUSIONJAX_DATA")
        if root is None:
            pytest.skip("real data: set FUSIONJAX_DATA to the folder that holds it")
        if not (folder := Path(root) / name).is_dir():
            pytest.skip(f"real data: no folder {name!r} in FUSIONJAX_DATA={root}")
        return folder

    return find
