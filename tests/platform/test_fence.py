"""The fence: a process that was paused within a write, and has lost its cell meanwhile, changes
nothing of it when it goes on. Each kind of write, on a local disk and on a store of objects.

The other process is a true one, stopped by SIGSTOP where the last step of the write would begin:
after every look that its code could take before. By construction, not by luck: the files that it
may still write are those of its own term, and its term has ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from s3_server import s3_server
from supclap_platform.ledger import leases
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import State

from supclap.storage import Folder

pytestmark = pytest.mark.heavy

HOLDER = """
import os, signal, sys
from contextlib import suppress
from supclap import s3
from supclap.errors import TakenOver
from supclap.run_files import publish
from supclap.storage import Folder
from supclap_platform.ledger import leases, logs
from supclap_platform.ledger.ledger import Ledger

armed = False

def paused(work):
    def stopping(*given, **more):
        global armed
        if armed:
            armed = False
            os.kill(os.getpid(), signal.SIGSTOP)
        return work(*given, **more)
    return stopping

ledger = Ledger(Folder.at(sys.argv[1]))
if ledger.storage.local is None:  # the last moment before the request
    s3.Bucket._put_if = paused(s3.Bucket._put_if)
    Folder.write = paused(Folder.write)
    Folder.delete_file = paused(Folder.delete_file)
else:  # a whole file waits for its name
    os.replace, os.link, os.utime = paused(os.replace), paused(os.link), paused(os.utime)
    Folder.delete_file = paused(Folder.delete_file)
logs.EVERY = 3600.0  # only the last storing of a log is watched


def log(lease):
    global armed
    with logs.captured(lease.folder, "a cell"):
        armed = ledger.storage.local is None
        if not armed:
            os.kill(os.getpid(), signal.SIGSTOP)  # its file is open
        os.write(1, b"of the one that was paused\\n")


def pause_in(work):
    def run(lease):
        global armed
        armed = True
        work(lease)
    return run


def written(name):
    return pause_in(lambda lease: lease.folder.write(name, b"of the one that was paused"))


KINDS = {
    **{name: written(name) for name in (
        "config.json", "events.jsonl", "checkpoints/00000002.pt", "checkpoints/latest.json",
        "ranks.npz", "model/weights.safetensors", "doing.json", "own/notes.csv",
    )},
    "result.json": pause_in(lambda lease: publish(lease.folder, b"of the one that was paused")),
    "removal": pause_in(lambda lease: lease.folder.delete_file("checkpoints/00000001.pt")),
    "heartbeat": pause_in(
        lambda lease: lease._cell.renew(str(lease.name), leases._content(lease.name))
    ),
    "release": pause_in(lambda lease: lease.release()),
    "log.txt": log,
}
for cell, kind in enumerate(sys.argv[2].split(",")):
    lease = ledger.take(f"{cell:016x}")
    assert lease is not None
    lease.folder.write("config.json", b"{}")
    lease.folder.write("events.jsonl", b"")
    lease.folder.write("checkpoints/00000001.pt", b"weights")
    lease.folder.write("checkpoints/latest.json", b'{"file": "00000001.pt"}')
    try:
        KINDS[kind](lease)
        print(f"{kind}: went on", flush=True)
    except TakenOver:
        print(f"{kind}: taken over", flush=True)
    except OSError as error:  # who took over has cleared the unfinished file away
        print(f"{kind}: {type(error).__name__}", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    assert lease.over() or kind == "release"
    with suppress(OSError):
        lease.release()
"""
KINDS = (
    "config.json", "events.jsonl", "checkpoints/00000002.pt", "checkpoints/latest.json",
    "ranks.npz", "model/weights.safetensors", "doing.json", "own/notes.csv", "result.json",
    "removal", "heartbeat", "release", "log.txt",
)  # fmt: skip


@contextmanager
def place(kind: str, tmp_path: Path) -> Iterator[str]:
    if kind == "local":
        yield str(tmp_path / "storage")
        return
    with s3_server() as server:
        yield server.place()


def contents(cell: Folder, but: str) -> dict[str, bytes]:
    """All files of a cell outside a term."""
    names = [name for name, _ in cell.files()]
    return {name: cell.read(name) for name in names if not name.startswith(f"{but}/")}


def stopped(process: subprocess.Popen[str]) -> None:
    """Returns when the process has stopped itself."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status


@pytest.mark.parametrize("where", ["local", "s3"])
def test_who_was_paused_within_a_write_changes_nothing_of_a_cell_that_it_has_lost(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place(where, tmp_path) as storage:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, storage, ",".join(KINDS)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            # Here is another host, on which whoever is elsewhere counts as silent for too long.
            monkeypatch.setattr(leases, "_host", lambda: "elsewhere")
            ledger = Ledger(Folder.at(storage))
            for number, kind in enumerate(KINDS):
                stopped(holder)
                signature = f"{number:016x}"
                cell = ledger.cell(signature)
                (lost,) = leases.leases_in(cell)
                monkeypatch.setattr(leases, "STALE_AFTER", -1.0)
                held = ledger.take(signature)
                monkeypatch.setattr(leases, "STALE_AFTER", 60.0)
                assert held is not None, kind
                # It goes on from what the other had saved, and nothing of the other's is there.
                assert held.folder.read("checkpoints/00000001.pt") == b"weights"
                held.folder.write("events.jsonl", b"of the present holder")
                before = contents(cell, but=lost.nonce)
                holder.send_signal(signal.SIGCONT)
                stopped(holder)
                assert contents(cell, but=lost.nonce) == before, kind
                assert list(leases.leases_in(cell)) == [held.name], kind
                assert ledger.state(signature) is State.RUNNING
                assert ledger.folder(signature).base == held.folder.base
                assert cell.read(f"{lost.nonce}/result.json") == b"", kind
                result = b"of the present holder"
                assert held.folder.first("result.json", result) == result
                held.release(published=True)
                assert ledger.state(signature) is State.DONE
                assert ledger.folder(signature).read("result.json") == result
                holder.send_signal(signal.SIGCONT)
            assert holder.wait(timeout=60) == 0
        finally:
            holder.kill()
            assert holder.stdout is not None
            said = holder.stdout.read().splitlines()
            holder.wait()
    assert [line.partition(": ")[0] for line in said] == list(KINDS)
    assert [line for line in said if "taken over" in line] == ["result.json: taken over"]
