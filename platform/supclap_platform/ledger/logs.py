"""The log of a cell: whatever its process prints while it trains, in the cell's folder."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from supclap.storage import Folder

LOG = "log.txt"
LINES = 20  # of the log, that a failure quotes


@contextlib.contextmanager
def captured(cell: Folder, label: str) -> Iterator[Path]:
    """Sends this process's output, also that of C libraries, to the cell's log; yields its path.

    Where the storage is not on this machine, the log is written here and stored at the end; then
    a process that is killed takes its log with it.
    """
    local = cell.local
    if local is not None:
        local.mkdir(parents=True, exist_ok=True)
        with _redirected(local / LOG, label):
            yield local / LOG
        return
    with tempfile.TemporaryDirectory(prefix="supclap-log-") as scratch:
        path = Path(scratch, LOG)
        try:
            with _redirected(path, label):
                yield path
        finally:
            with contextlib.suppress(OSError):
                before = cell.read(LOG) if cell.exists(LOG) else b""
                cell.write(LOG, before + path.read_bytes())


def last_lines(path: Path, count: int = LINES) -> tuple[str, ...]:
    """The last lines of a log; none where there is no log."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return tail(path.read_text(encoding="utf-8", errors="replace"), count) if path.exists() else ()


def stored_lines(cell: Folder, count: int = LINES) -> tuple[str, ...]:
    """The last lines of the log in a cell's folder; none where there is no log."""
    try:
        return tail(cell.read(LOG).decode("utf-8", errors="replace"), count)
    except OSError:
        return ()


def tail(text: str, count: int = LINES) -> tuple[str, ...]:
    """The last lines of a text, without empty ones."""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-count:]


@contextlib.contextmanager
def _redirected(path: Path, label: str) -> Iterator[None]:
    # Appending: the log of an attempt that was killed stays, and workers of one cell share it.
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {label}, process {os.getpid()}"
    os.write(log, f"--- {head} ---\n".encode())
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(log, number)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        os.close(log)
