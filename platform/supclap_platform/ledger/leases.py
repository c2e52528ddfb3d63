"""Leases: who works on a cell, so that two runs at once share the work and never a cell.

A lease is a small file in the cell's folder whose name says who holds it; its modification time is
the heartbeat, and no heartbeat brings back a lease that was taken away. It needs no more than a
file system that lists what was just written (local disks, S3, GCS): whoever wants a cell writes a
lease, then lists. Of two who write at the same time at least one sees the other, and whoever sees a
live lease of another withdraws. Both may withdraw, never may both stay.

A holder that is dead is taken over: on this machine, at once when its process is gone (a machine
that slept has old heartbeats and living processes); on another one, when its heartbeat is older
than ``STALE_AFTER`` seconds of the storage's own clock: whoever takes it over has just written a
file there, and compares the two. What a holder that is only paused then writes is shut out by
`terms`.

Many machines have one host name (`localhost`, copies of one image, containers on their host's
network), and a container has its own table of processes. So a lease names the machine too, by the
start of its kernel and that table. The leases of earlier versions do not: they are judged by their
heartbeats alone, which a living holder keeps fresh, while a number of a process proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType

import pyarrow.fs as pafs

from supclap.scratch import kernel
from supclap.storage import Folder

PREFIX = "lease~"
HEARTBEAT = 10.0  # seconds
STALE_AFTER = 60.0  # seconds
_NAME = re.compile(r"^lease~([A-Za-z0-9._-]+)~(\d+)~(\d+)~([0-9a-f-]+)$")
# Milliseconds by which two looks at a process's start may differ: the system has it in ticks since
# boot, and the moment of boot moves when the system's clock is set. A live holder must never look
# dead.
CLOCK_TOLERANCE = 5_000
# The table that a process's number is one of. It tells one machine from another of its name, with
# the start of the kernel, on Linux: other systems have neither.
_PROCESSES = Path("/proc/self/ns/pid")
_MACHINE = re.compile(r"\.[0-9a-f]{8}$")


@dataclass(frozen=True)
class LeaseName:
    """The holder of a lease: a process on a machine. ``born``: when it started, against pid reuse.

    ``host``: the machine, as `_host` names it. ``nonce``: of a cell's lease the name of its term.
    """

    host: str
    pid: int
    born: int
    nonce: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.host}~{self.pid}~{self.born}~{self.nonce}"

    @property
    def host_name(self) -> str:
        """The name of its host, for people: other machines may have it too."""
        return _MACHINE.sub("", self.host)

    @classmethod
    def own(cls, nonce: str | None = None) -> LeaseName:
        """A new name for this process."""
        nonce = nonce or secrets.token_hex(4)
        return cls(_host(), os.getpid(), _born(os.getpid()) or 0, nonce)

    def dead(self, silent: float) -> bool:
        """Whether the holder is to be taken for dead, its last heartbeat ``silent`` seconds ago."""
        return self.gone() if self.host == _host() else silent > STALE_AFTER

    def gone(self) -> bool:
        """Whether it was a process of this machine that no longer runs."""
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
        self.released = False
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
        self.released = True
        with contextlib.suppress(OSError):
            self._cell.delete_file(str(self.name))

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
                if not self._cell.renew(str(self.name), _content(self.name)):
                    self.lost = True
                    return


def acquire(
    cell: Folder,
    heartbeat: float = HEARTBEAT,
    end: Callable[[LeaseName], object] = lambda other: None,
) -> Lease | None:
    """A lease on a folder, or None where a live process holds or is taking one.

    Leases of dead holders are removed on the way, each after ``end`` was called with it. Raises
    OSError where the storage is away.
    """
    name = LeaseName.own()
    taken = take(cell, name, lambda: leases_in(cell), end)
    return Lease(cell, name, heartbeat) if taken else None


def take(
    cell: Folder,
    name: LeaseName,
    look: Callable[[], dict[LeaseName, datetime]],
    end: Callable[[LeaseName], object],
) -> bool:
    """Whether a lease of this name holds the folder now; else nothing of it is left there.

    Args:
        look: the leases that are in the folder now.
        end: is called with each holder that is dead, before its lease is removed.
    """
    try:
        _write(cell, name)
    except FileNotFoundError:  # who works there has swept the unfinished file away
        return False
    try:
        present = look()
        now = present.get(name)
        live = [o for o, beat in present.items() if o != name and not _silent(o, now, beat)]
        if live or now is None:  # without its own, it was itself taken for dead in between
            cell.delete_file(str(name))
            return False
        for other in present:
            if other != name:
                end(other)
                cell.delete_file(str(other))
    except BaseException:
        with contextlib.suppress(OSError):
            cell.delete_file(str(name))
        raise
    return True


def _silent(other: LeaseName, now: datetime | None, beat: datetime) -> bool:
    return other.dead((now - beat).total_seconds() if now is not None else 0.0)


def hold(place: Folder, heartbeat: float = HEARTBEAT) -> Lease:
    """A lease that shuts nobody out: it only shows that this process is at work."""
    name = LeaseName.own()
    _write(place, name)
    _clear(place, name)
    return Lease(place, name, heartbeat)


def _clear(place: Folder, own: LeaseName) -> None:
    """Removes what dead holders have left, once they have been silent for long: where a system does
    not tell machines of one name apart, a process that cannot be seen here may live on another."""
    present = leases_in(place)
    now = present.get(own)
    for other, beat in present.items():
        silent = (now - beat).total_seconds() if now is not None else 0.0
        if other != own and silent > STALE_AFTER and other.dead(silent):
            place.delete_file(str(other))


def leases_in(cell: Folder) -> dict[LeaseName, datetime]:
    """Every lease in a cell's folder, with its last heartbeat on the storage's clock."""
    selector = pafs.FileSelector(cell.base, allow_not_found=True)
    return leases_of((i.base_name, i.mtime) for i in cell.filesystem.get_file_info(selector))


def leases_of(files: Iterable[tuple[str, datetime | None]]) -> dict[LeaseName, datetime]:
    """The leases among files, given by name and time of change; each with its last heartbeat."""
    found = ((parse_lease(name), beat) for name, beat in files)
    return {name: beat or datetime.now(UTC) for name, beat in found if name is not None}


def alive(name: LeaseName, beat: datetime | None) -> bool:
    """Whether a listed lease seems to be held: who takes it over asks the storage's clock.

    This machine's clock may be apart from the storage's. So of another machine's holder counts too
    what this process has seen: a heartbeat that has stood still for `STALE_AFTER` seconds is a dead
    one's, however new it seems, and one that moves is a living one's, however old it seems.
    """
    if beat is None or name.host == _host():
        return not name.dead(0.0)
    now, old = time.monotonic(), _silence(beat) > STALE_AFTER
    seen = _SEEN.setdefault(name, _Seen(beat, now))
    if beat != seen.beat:
        seen = _SEEN[name] = _Seen(beat, now, moved=old and beat > seen.beat)
    return now - seen.since <= STALE_AFTER and (seen.moved or not old)


def surely_alive(name: LeaseName, beat: datetime) -> bool:
    """Whether a listed lease is held, however far clocks are apart: so fresh a heartbeat is a dead
    one's for a moment only."""
    return not name.gone() if name.host == _host() else abs(_silence(beat)) <= STALE_AFTER / 3


def _silence(beat: datetime) -> float:
    """Seconds since a heartbeat, by this machine's clock."""
    return (datetime.now(UTC) - beat).total_seconds()


@dataclass(frozen=True)
class _Seen:
    """A heartbeat, since when this process knows it, and whether it seemed old though it had just
    moved."""

    beat: datetime
    since: float
    moved: bool = False


_SEEN: dict[LeaseName, _Seen] = {}  # of other machines


def _write(cell: Folder, name: LeaseName) -> None:
    cell.write(str(name), _content(name))


def _content(name: LeaseName) -> bytes:
    return json.dumps({"host": name.host_name, "pid": name.pid}).encode()


def _host() -> str:
    """This machine as its leases name it: the host's name, and what tells it from others of that
    name where the system says it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"
    told = [start] if (start := kernel()) else []
    with contextlib.suppress(OSError):
        told.append(str(_PROCESSES.readlink()))
    return f"{name}.{sha256(' '.join(told).encode()).hexdigest()[:8]}" if told else name


def _born(pid: int) -> int | None:
    """When a process of this machine started, in milliseconds; None where there is no such one."""
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
