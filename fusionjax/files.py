"""Files that are written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path


def write(path: Path, content: bytes | str) -> None:
    """Write beside `path`, then take its place: a kill or a full disk leaves the old file."""
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """Write several files, none of which takes its place before all are on the disk.

    A full disk leaves the old ones. A kill or a power cut does too, unless it falls between two
    renames, which follow the order of `contents`: the files behind are then at `draft_of`.
    """
    drafts = {path: draft_of(path) for path in contents}
    try:
        for path, content in contents.items():
            with drafts[path].open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path, draft in drafts.items():
            os.replace(draft, path)
    except Exception:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise


def draft_of(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(path.name + ".draft")
