"""Reading what must be a regular file: a device has no end, and a pipe may never begin."""

from __future__ import annotations

import stat
from pathlib import Path


class NotAFile(OSError):
    """A device, a FIFO, a folder or something far too large stands where a file should."""


def read_regular(path: Path, most: int | None = None) -> bytes:
    """A regular file's content. Raises as `Folder.read` does, and OSError where it may not be
    read. A FIFO would be waited for, and a device may have no end."""
    check_regular(path, most)
    return path.read_bytes()


def check_regular(path: Path, most: int | None = None) -> None:
    """Raises as `read_regular` does, and opens nothing."""
    try:
        status = path.stat()
    except NotADirectoryError as error:  # a file stands on the way: there is none below it
        raise FileNotFoundError(*error.args, str(path)) from None
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile("not a regular file")
    if most is not None and status.st_size > most:
        raise NotAFile(f"{status.st_size:,} bytes")
