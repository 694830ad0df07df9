"""Strict settings for every test: shapes and types checked, implicit broadcasts refused."""

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

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
