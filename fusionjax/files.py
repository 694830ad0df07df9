"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write(path: Path, content: bytes | str) -> None:
    """Write beside `path`, then take its place: a kill or a full disk leaves the old file."""
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(draft, path)
