"""The folder in /tmp of an own Ray, and whose it is.

A driver holds a lock on a file in its folder. The kernel frees it however the driver ends, and
keeps it across containers that share /tmp but do not see each other's processes. So a folder whose
lock can be taken has no driver any more. Of a folder without such a file, or of another kernel
(another machine, or this one before it was started anew), nobody can know, and it stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Sockets lie below Ray's folder, and the path of one may not exceed 107 bytes: /tmp, not $TMPDIR.
PARENT = Path("/tmp")
PREFIX = "supclap-ray-"
LOCK = "driver.lock"
_KERNEL = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def ray_folder() -> Iterator[str]:
    """A new folder, held by this process until the context ends; then it is removed."""
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=PARENT)
    lock = os.open(Path(folder, LOCK), os.O_WRONLY | os.O_CREAT, 0o600)  # no child inherits it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, _kernel().encode())  # only now: without it nobody takes the lock for free
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Removes the folders of drivers that are known to be dead."""
    for left in PARENT.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            _remove_where_dead(left)


def _remove_where_dead(folder: Path) -> None:
    lock = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        kernel = os.read(lock, 100).decode(errors="replace")
        if not kernel or kernel != _kernel():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _kernel() -> str:
    """What this start of this kernel is called; empty where the system does not say."""
    try:
        return _KERNEL.read_text(encoding="ascii").strip()
    except OSError:
        return ""
