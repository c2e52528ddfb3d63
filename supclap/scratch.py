"""Folders for temporary files of this machine, and whose they are.

A process holds a lock on a file in its folder. The kernel frees it however the process ends, and
keeps it across containers that share the place but do not see each other's processes. So a folder
whose lock can be taken is nobody's any more, and whoever comes next may remove it. Of a folder
without such a file, or of another kernel (another machine, or this one before it was started anew),
nobody can know, and it stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

START = "supclap-"  # how the name of each folder begins
LOCK = "driver.lock"  # earlier versions had it in the folders of drivers, which are swept alike
FILES = "files"
_KERNEL = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """A new empty folder for temporary files, held until the context ends; then it is removed.

    Args:
        kind: a word for its name.
    """
    with held_folder(kind, Path(tempfile.gettempdir())) as held:
        folder = held / FILES
        folder.mkdir()
        yield folder


@contextlib.contextmanager
def held_folder(kind: str, parent: Path) -> Iterator[Path]:
    """As `scratch_folder`, in a given place; the file with the lock lies in the folder itself."""
    folder = Path(tempfile.mkdtemp(prefix=f"{START}{kind}-{os.getpid()}-", dir=parent))
    lock = os.open(folder / LOCK, os.O_WRONLY | os.O_CREAT, 0o600)  # no other program inherits it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, kernel().encode())  # only now: without it nobody takes the lock for free
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parents: Iterable[Path] | None = None) -> None:
    """Removes the folders of processes that are known to be dead.

    Args:
        parents: where to look; by default where this process would have its own.
    """
    for parent in {Path(tempfile.gettempdir())} if parents is None else set(parents):
        for left in parent.glob(f"{START}*"):
            with contextlib.suppress(OSError):  # another user's, or gone meanwhile
                _remove_where_dead(left)


def _remove_where_dead(folder: Path) -> None:
    lock = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        named = os.read(lock, 100).decode(errors="replace")
        if not named or named != kernel():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def kernel() -> str:
    """What this start of this machine's kernel is called; empty where the system does not say."""
    try:
        return _KERNEL.read_text(encoding="ascii").strip()
    except OSError:
        return ""
