"""The folder of an own Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from supclap.scratch import START, held_folder

# Sockets lie below Ray's folder, and the path of one may not exceed 107 bytes: /tmp, not $TMPDIR.
PARENT = Path("/tmp")
PREFIX = f"{START}ray-"


@contextlib.contextmanager
def ray_folder() -> Iterator[str]:
    """A new folder, held by this process until the context ends; then it is removed."""
    with held_folder("ray", PARENT) as folder:
        yield str(folder)
