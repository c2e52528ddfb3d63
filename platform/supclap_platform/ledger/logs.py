"""The log of an attempt: whatever its process prints while it trains, in its term of the cell.

    <storage>/cells/<signature>/<term>/log.txt         of the process that trains
    <storage>/cells/<signature>/<term>/log-1.txt       of the second worker of a group
    <storage>/cells/<signature>/<term>/log-0002.txt    on a store of objects: how log.txt goes on

Each names the time, the host, the device and the process first. A store of objects cannot append:
there the log is written on this machine, and what is new is stored every `EVERY` seconds, so that a
process that is killed leaves it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from supclap.scratch import scratch_folder
from supclap.storage import Folder

LOG = "log.txt"
LINES = 20  # of the log, that a failure quotes
EVERY = 8.0  # seconds; with the time that storing takes at most ten
PIECE = 2**20  # bytes of a log that a store of objects keeps in one object
_NAME = re.compile(r"log(?:-(\d{1,3}))?(?:-(\d{4,}))?\.txt")


def log_name(rank: int = 0, piece: int = 1) -> str:
    """The name of a log: of which worker, and which piece of it."""
    of = f"-{rank}" if rank else ""
    return f"log{of}{f'-{piece:04d}' if piece > 1 else ''}.txt"


def is_log(name: str) -> bool:
    """Whether a file of a term is a log or a piece of one."""
    return _NAME.fullmatch(name) is not None


def by_rank(name: str) -> tuple[int, int]:
    """Sorts the logs of a term: the first worker's first, of each its last piece first."""
    found = _NAME.fullmatch(name)
    assert found is not None
    return int(found[1] or 0), -int(found[2] or 1)


@contextlib.contextmanager
def captured(term: Folder, label: str, rank: int = 0) -> Iterator[Path]:
    """Sends this process's output, also that of C libraries, to its log in a term's folder; yields
    the path of the log on this machine.

    Args:
        rank: of this worker in its group.
    """
    local = term.local
    if local is not None:
        local.mkdir(parents=True, exist_ok=True)
        with _redirected(local / log_name(rank), label):
            yield local / log_name(rank)
        return
    with scratch_folder("log") as scratch:
        path = scratch / LOG
        with _stored(path, term, rank), _redirected(path, label):
            yield path


@contextlib.contextmanager
def _stored(path: Path, term: Folder, rank: int) -> Iterator[None]:
    """Stores what a log holds, again and again while it grows and at the end."""
    over = threading.Event()
    log = _Stored(path, term, rank)

    def follow() -> None:
        while not over.wait(EVERY):
            log.store()

    thread = threading.Thread(target=follow, name="log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        log.store()


class _Stored:
    """A log on this machine and its pieces in a store of objects."""

    def __init__(self, path: Path, term: Folder, rank: int) -> None:
        self._path, self._term, self._rank = path, term, rank
        self._piece, self._start, self._size = 1, 0, 0  # of the piece that grows; of the whole

    def store(self) -> None:
        """Stores what is new. Where the storage is away, the next call tries again."""
        with contextlib.suppress(OSError):
            while self._path.exists() and self._path.stat().st_size > self._size:
                with open(self._path, "rb") as file:
                    file.seek(self._start)
                    content = file.read(PIECE)
                self._term.write(log_name(self._rank, self._piece), content)
                self._size = self._start + len(content)
                if len(content) == PIECE:
                    self._piece, self._start = self._piece + 1, self._size


def last_lines(path: Path, count: int = LINES) -> tuple[str, ...]:
    """The last lines of a log; none where there is no log."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return tail(path.read_text(encoding="utf-8", errors="replace"), count) if path.exists() else ()


def tail(text: str, count: int = LINES) -> tuple[str, ...]:
    """The last lines of a text, without empty ones."""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-count:]


@contextlib.contextmanager
def _redirected(path: Path, label: str) -> Iterator[None]:
    # Appending: what another process has written in the same term stays.
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    where = f"host {socket.gethostname()}, {device_given()}, process {os.getpid()}"
    os.write(log, f"--- {moment}, {label}, {where} ---\n".encode())
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


def device_given() -> str:
    """What this process may compute on, before PyTorch is there to name it."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return f"GPU {gpus}" if gpus else "CPU"
