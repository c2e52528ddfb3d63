"""Keys that stand twice in a JSON file that a user gives: Python takes the last one silently.

The readers of sources are part of the version of runs on recorded clips, which this leaves alone:
it looks at the same files before them, and changes nothing that they read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supclap.data.sources.files import Files, no_file
from supclap.data.sources.wavcaps import SOURCES as WAVCAPS
from supclap.errors import InputError
from supclap.wording import one_line

_INDEXES = {"captions": ("captions.json",), "wavcaps": tuple(WAVCAPS.values())}


def check_keys(path: Path) -> None:
    """Raises InputError where a key stands twice in an object of a JSON file. What is no JSON, or
    cannot be read, is for the file's reader to refuse."""

    def object_of(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InputError(
                    f"{path}: the key '{one_line(key, 60)}' stands twice in one object; keep one, "
                    "with all that belongs to it"
                )
            seen.add(key)

    if no_file(path):  # a device has no end
        return
    try:
        json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=object_of)
    except InputError:
        raise
    except (ValueError, RecursionError, OSError):
        return


def check_index(name: str, folder: Path) -> None:
    """`check_keys` of the JSON files that list a collection's clips, where it has such.

    Args:
        name: the collection's, as `supclap prepare` takes it.
        folder: where it lies.
    """
    if name not in _INDEXES or not folder.is_dir():
        return
    files = Files(folder)
    for file in _INDEXES[name]:
        if path := files.locate(file):
            check_keys(path)
