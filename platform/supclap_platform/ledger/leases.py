"""Leases: who works on a cell, so that two runs at once share the work and never a cell.

A lease is a small file in the cell's folder whose name says who holds it; its modification time is
the heartbeat. It needs no more than a file system that lists what was just written (local disks,
S3, GCS): whoever wants a cell writes a lease, then lists. Of two who write at the same time at
least one sees the other, and whoever sees a live lease of another withdraws. Both may withdraw,
never may both stay.

A holder that is dead is taken over: on this host, at once when its process is gone (a machine that
slept has old heartbeats and living processes); on another host, when its heartbeat is older than
``STALE_AFTER`` seconds of the storage's own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType

import pyarrow.fs as pafs

from supclap.storage import Folder

PREFIX = "lease~"
HEARTBEAT = 10.0  # seconds
STALE_AFTER = 60.0  # seconds
_NAME = re.compile(r"^lease~([A-Za-z0-9._-]+)~(\d+)~(\d+)~([0-9a-f]+)$")
# Milliseconds by which two looks at a process's start may differ: the system has it in ticks since
# boot, and the moment of boot moves when the system's clock is set. A live holder must never look
# dead.
CLOCK_TOLERANCE = 5_000


@dataclass(frozen=True)
class LeaseName:
    """The holder of a lease: a process on a host. ``born``: when it started, against pid reuse."""

    host: str
    pid: int
    born: int
    nonce: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.host}~{self.pid}~{self.born}~{self.nonce}"

    @classmethod
    def own(cls) -> LeaseName:
        """A new name for this process."""
        return cls(_host(), os.getpid(), _born(os.getpid()) or 0, secrets.token_hex(4))

    def dead(self, silent: float) -> bool:
        """Whether the holder is to be taken for dead, its last heartbeat ``silent`` seconds ago."""
        return self.gone() if self.host == _host() else silent > STALE_AFTER

    def gone(self) -> bool:
        """Whether it was a process of this host that no longer runs."""
        if self.host != _host():
            return False
        born = _born(self.pid)
        return born is None or abs(born - self.born) > CLOCK_TOLERANCE


def parse_lease(name: str) -> LeaseName | None:
    """The holder that a file's name names, or None where it is no lease."""
    match = _NAME.match(name)
    return LeaseName(match[1], int(match[2]), int(match[3]), match[4]) if match else None


class Lease:
    """A held lease; a thread renews it until `release`. Use it as a context manager."""

    def __init__(self, cell: Folder, name: LeaseName, heartbeat: float = HEARTBEAT) -> None:
        self.name = name
        self.lost = False  # another process has taken it over: stop writing to the cell's folder
        self._cell = cell
        self._heartbeat = heartbeat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Gives the cell back. Nothing happens where it is released already.

        Where the storage is away, the lease ends with this process.
        """
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._cell.delete(str(self.name))

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._stopped.wait(self._heartbeat):
            # A storage that is away for a moment is no reason to stop: the next beat tries again.
            with contextlib.suppress(OSError):
                if not self._cell.exists(str(self.name)):
                    self.lost = True
                    return
                _write(self._cell, self.name)


def acquire(cell: Folder, heartbeat: float = HEARTBEAT) -> Lease | None:
    """A lease on a cell's folder, or None where a live process holds or is taking one.

    Leases of dead holders are removed on the way. Raises OSError where the storage is away.
    """
    name = LeaseName.own()
    try:
        _write(cell, name)
    except FileNotFoundError:  # who works there has swept the unfinished file away
        return None
    try:
        present = leases_in(cell)
        now = present.get(name)
        for other, beat in present.items():
            if other == name:
                continue
            if other.dead((now - beat).total_seconds() if now is not None else 0.0):
                cell.delete(str(other))
                continue
            cell.delete(str(name))
            return None
    except BaseException:
        with contextlib.suppress(OSError):
            cell.delete(str(name))
        raise
    return Lease(cell, name, heartbeat)


def hold(place: Folder, heartbeat: float = HEARTBEAT) -> Lease:
    """A lease that shuts nobody out: it only shows that this process is at work."""
    name = LeaseName.own()
    _write(place, name)
    _clear(place, name)
    return Lease(place, name, heartbeat)


def _clear(place: Folder, own: LeaseName) -> None:
    """Removes what dead holders have left, once they have been silent for long: where their process
    cannot be seen, as in another container of this name, they are not taken for dead."""
    present = leases_in(place)
    now = present.get(own)
    for other, beat in present.items():
        silent = (now - beat).total_seconds() if now is not None else 0.0
        if other != own and silent > STALE_AFTER and other.dead(silent):
            place.delete(str(other))


def leases_in(cell: Folder) -> dict[LeaseName, datetime]:
    """Every lease in a cell's folder, with its last heartbeat on the storage's clock."""
    selector = pafs.FileSelector(cell.base, allow_not_found=True)
    found = ((parse_lease(i.base_name), i.mtime) for i in cell.filesystem.get_file_info(selector))
    return {name: beat or datetime.now(UTC) for name, beat in found if name is not None}


def alive(name: LeaseName, beat: datetime | None) -> bool:
    """Whether a listed lease is still held, by this machine's clock."""
    return not name.dead((datetime.now(UTC) - beat).total_seconds() if beat is not None else 0.0)


def _write(cell: Folder, name: LeaseName) -> None:
    content = {"host": name.host, "pid": name.pid}
    cell.write(str(name), json.dumps(content).encode())


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"


def _born(pid: int) -> int | None:
    """When a process of this host started, in milliseconds; None where there is no such process."""
    import psutil

    if pid >= 2**31:  # no process's: the name of a file that nobody here wrote
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return int(process.create_time() * 1000)
    except psutil.Error:
        return None
