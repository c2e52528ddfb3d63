"""Leases of other machines: of those that bear this one's host name, and by clocks that differ."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace

import pytest
from supclap_platform.ledger import leases
from supclap_platform.ledger.leases import LeaseName, acquire, leases_in, parse_lease
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import State

from supclap import scratch
from supclap.storage import Folder

A = "a" * 16
AWAY = LeaseName("elsewhere", 7, 1, "0001-0a1b2c3d")
HOLD = """
import sys, time
from supclap.storage import Folder
from supclap_platform.ledger.ledger import Ledger
lease = Ledger(Folder.at(sys.argv[1])).take(sys.argv[2])
print("held" if lease else "refused", flush=True)
time.sleep(600)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder.at(tmp_path))


def left(ledger: Ledger, name: LeaseName, silent: float = 0.0) -> Path:
    """A lease with a heartbeat so many seconds ago, by the clock of the storage."""
    ledger.cell(A).write(str(name), b"{}")
    path = Path(ledger.cell(A).base, str(name))
    beat = time.time() - silent
    os.utime(path, (beat, beat))
    return path


def taken(ledger: Ledger) -> bool:
    """Whether the cell can be taken; it is given back."""
    held = ledger.take(A)
    if held is not None:
        held.release()
    return held is not None


def test_a_lease_names_a_machine_and_people_are_shown_its_host() -> None:
    own = LeaseName.own()
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())
    assert own.host_name == host
    if sys.platform == "linux":
        assert re.fullmatch(rf"{re.escape(host)}\.[0-9a-f]{{8}}", own.host)
    assert LeaseName("node-7.example.org", 1, 1, "0").host_name == "node-7.example.org"
    assert parse_lease(str(own)) == own


@pytest.mark.heavy
def test_a_holder_in_another_container_of_this_host_name_keeps_its_cell(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Its number is another process's here, or nobody's."""
    alone = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if os.getuid() or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("needs the right to make a namespace of processes")
    command = [*alone, sys.executable, "-c", HOLD, str(tmp_path), A]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        (name,) = leases_in(ledger.cell(A))
        assert name.host_name == LeaseName.own().host_name
        assert ledger.state(A) is State.RUNNING
        assert not taken(ledger)
        assert acquire(ledger.cell(A)) is None
        assert list(leases_in(ledger.cell(A))) == [name]
    finally:
        holder.kill()
        holder.wait()
    left(ledger, name, silent=61)
    assert taken(ledger)


def test_a_holder_on_a_copy_of_this_machine_keeps_its_cell(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one name, with tables of processes that look alike; only its kernel was started anew."""
    kernel = tmp_path / "boot_id"
    kernel.write_text("0f5c2c9c-6b7e-4f4c-9a51-9d1c3b7f6a10\n", encoding="ascii")
    with monkeypatch.context() as there:
        there.setattr(scratch, "_KERNEL", kernel)
        copy = LeaseName.own("0001-0a1b2c3d").host
    name = LeaseName(copy, 2**30, 1, "0001-0a1b2c3d")  # a number that nobody has here
    left(ledger, name, silent=59)
    assert not taken(ledger)
    left(ledger, name, silent=61)
    assert taken(ledger)


@pytest.mark.parametrize("pid", [os.getpid(), 2**30], ids=["living", "nobody"])
def test_a_lease_of_an_earlier_version_is_judged_by_its_heartbeat(ledger: Ledger, pid: int) -> None:
    own = LeaseName.own()
    earlier = LeaseName(own.host_name, pid, own.born, "0001-0a1b2c3d")
    left(ledger, earlier, silent=50)
    assert ledger.state(A) is State.RUNNING
    assert not taken(ledger)
    left(ledger, earlier, silent=61)
    assert ledger.state(A) is not State.RUNNING
    assert taken(ledger)


def test_where_a_system_tells_no_machines_apart_the_host_name_does(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, known in ((scratch, "_KERNEL"), (leases, "_PROCESSES")):
        monkeypatch.setattr(module, known, tmp_path / "nowhere")
    own = LeaseName.own()
    assert own.host == own.host_name
    left(ledger, own)
    assert not taken(ledger)
    left(ledger, LeaseName(own.host, own.pid, own.born - 60_000, "0002-0a1b2c3d"))
    ledger.cell(A).delete_file(str(own))
    assert taken(ledger)  # at once: its process is gone


class Clock:
    """The clock of this machine, beside the one of the storage."""

    off = 0.0  # seconds
    watched = 0.0  # seconds that have passed while this process looked on

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) + timedelta(seconds=self.off)

    def monotonic(self) -> float:
        return time.monotonic() + self.watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(leases, "datetime", found)
    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=found.monotonic))
    monkeypatch.setattr(leases, "_SEEN", {})
    return found


@pytest.mark.parametrize("off", [-600.0, -90.0, -40.0, 0.0, 90.0, 600.0])
def test_the_storages_clock_decides_who_is_dead(ledger: Ledger, clock: Clock, off: float) -> None:
    clock.off = off
    path = left(ledger, AWAY, silent=20)
    assert not taken(ledger)
    assert path.exists()
    assert list(leases_in(ledger.cell(A))) == [AWAY]
    left(ledger, AWAY, silent=120)
    assert taken(ledger)
    assert not path.exists()


@pytest.mark.parametrize("off", [-600.0, -90.0])
def test_a_heartbeat_that_seems_new_counts_until_it_has_stood_still(
    ledger: Ledger, clock: Clock, off: float
) -> None:
    """Else whoever only looks, as a driver does, would wait until its clock has caught up."""
    clock.off = off
    left(ledger, AWAY, silent=120)
    assert ledger.state(A) is State.RUNNING
    clock.watched = 59
    assert ledger.state(A) is State.RUNNING
    left(ledger, AWAY, silent=60)  # it lived on after all
    assert ledger.state(A) is State.RUNNING
    clock.watched = 118
    assert ledger.state(A) is State.RUNNING
    clock.watched = 120
    assert ledger.state(A) is not State.RUNNING


def test_a_heartbeat_that_moves_is_a_living_ones_though_this_clock_is_ahead(
    ledger: Ledger, clock: Clock
) -> None:
    clock.off = 600
    left(ledger, AWAY, silent=10)
    assert ledger.state(A) is not State.RUNNING
    left(ledger, AWAY)
    assert ledger.state(A) is State.RUNNING
    clock.watched = 61
    assert ledger.state(A) is not State.RUNNING


def test_a_clock_that_is_right_is_believed_at_once(ledger: Ledger) -> None:
    left(ledger, AWAY, silent=59)
    assert ledger.overview([A]).leases == {A: AWAY}
    left(ledger, AWAY, silent=61)
    assert ledger.overview([A]).leases == {}
    assert datetime.now(UTC) - leases_in(ledger.cell(A))[AWAY] > timedelta(seconds=60)
