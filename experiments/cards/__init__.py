"""A dataset card and a converter for each named data set.

Every module has `convert(source, folder) -> Path`: it reads the files as they are published from
`source`, writes a folder that `dataset.toml` describes, and returns the path of that card. The
module's docstring says where the data set is published and under which licence.
"""

import os
import shutil
from pathlib import Path


def published(name: str) -> Path:
    """The folder of a data set below FUSIONJAX_DATA; raises FileNotFoundError where it is not."""
    root = os.environ.get("FUSIONJAX_DATA")
    if not root or not (Path(root) / name).is_dir():
        raise FileNotFoundError(
            f"the data set {name!r} is not at hand: set FUSIONJAX_DATA to a folder that holds "
            f"{name}/, laid out as experiments/cards/{name}.py says"
        )
    return Path(root) / name


def place_card(name: str, folder: Path) -> Path:
    """Put the card of a data set beside its records."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(Path(__file__).with_name(f"{name}.toml"), folder / "dataset.toml"))
