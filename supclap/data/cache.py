"""Where made data are kept, and how they get there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from supclap.errors import InputError
from supclap.progress import activity

# Seconds that this process has given to what is made once and then kept, the wait for another
# process that makes it included: they say nothing of how long the next run takes.
spent = [0.0]
# As a path it would be folders that are called like it, wherever a process happens to stand.
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def cache_folder() -> Path:
    """$SUPCLAP_CACHE, else $XDG_CACHE_HOME/supclap, else ~/.cache/supclap; it may not exist yet.

    Raises:
        InputError: $SUPCLAP_CACHE is an address: the folder has to be one of this machine.
    """
    own = os.environ.get("SUPCLAP_CACHE", "")
    if ADDRESS.match(own) and not Path(own).exists():
        raise InputError(f"SUPCLAP_CACHE {own}: expected a folder of this machine")
    return cache_named_by(os.environ) or Path.home() / ".cache" / "supclap"


def cache_named_by(environment: Mapping[str, str]) -> Path | None:
    """The cache that a process with these variables uses; None where they name none."""
    if own := environment.get("SUPCLAP_CACHE"):
        return Path(own).expanduser()
    shared = environment.get("XDG_CACHE_HOME")
    return Path(shared).expanduser() / "supclap" if shared else None


def free_bytes(folder: Path | None = None) -> int:
    """Of the disk that a folder is on, or will be; by default the cache."""
    folder = (folder or cache_folder()).absolute()
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def build_once(target: Path, build: Callable[[Path], None], does: str = "") -> Path:
    """The folder ``target``, made by ``build(scratch folder)`` where it is not there yet.

    Of several processes that ask at once, one builds and the others wait for it. The folder gets
    its name only when it is whole and on disk. A build that fails leaves nothing; what a killed
    one left is removed by the next.

    Args:
        does: what the process does that others wait for, as "makes the scenes".

    Raises:
        InputError: the cache's folder cannot be written to, or its disk is full.
    """
    if target.is_dir():
        return target
    with alone_at(target, does):
        if not target.is_dir():
            _build(target, build)
    return target


@contextmanager
def alone_at(target: Path, does: str = "") -> Iterator[None]:
    """As long as the context is open, no other process has made or makes ``target``.

    Raises:
        InputError: the cache's folder cannot be written to, or its disk is full; within too.
    """
    began = time.monotonic()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.parent / f".{target.name}.lock", "w") as lock:
            # the kernel frees it however this process ends
            _wait_for(lock, does or f"makes {target.name}")
            yield
    except OSError as error:
        raise InputError(
            f"{target.parent}: cannot keep made data here: {error.strerror or error}; "
            "make room, or set SUPCLAP_CACHE to another folder"
        ) from error
    finally:
        spent[0] += time.monotonic() - began


def _wait_for(lock: IO[str], does: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with activity(f"waiting for the process that {does}"):
            fcntl.flock(lock, fcntl.LOCK_EX)


def _build(target: Path, build: Callable[[Path], None]) -> None:
    for left in target.parent.glob(f".{target.name}.building-*"):
        shutil.rmtree(left, ignore_errors=True)
    # A random name: where a network file system ignores locks, two builds still do not meet.
    scratch = target.parent / f".{target.name}.building-{uuid4().hex[:8]}"
    scratch.mkdir()
    try:
        build(scratch)
        _flush(scratch)
        try:
            os.rename(scratch, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _flush(folder: Path) -> None:
    """A power cut must not leave a folder whose name promises content that never reached disk."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
