"""The log of an attempt: where it is, whoever dies, and what it names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server, s3_server
from supclap_platform.ledger import logs
from supclap_platform.ledger.ledger import Ledger
from waiting import until

from supclap.scratch import sweep
from supclap.storage import Folder

A = "a" * 16
PRINTS = """
import os, sys, time
from supclap.storage import Folder
from supclap_platform.ledger import logs
from supclap_platform.ledger.ledger import Ledger
logs.EVERY = 0.2
held = Ledger(Folder.at(sys.argv[1])).take(sys.argv[2])
with logs.captured(held.folder, "InfoNCE, seed 0"):
    os.system("echo of a C library")
    print("the last words", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.mark.heavy
@pytest.mark.parametrize("where", ["local", "s3"])
def test_the_log_of_a_killed_attempt_is_there(where: str, tmp_path: Path, server: S3Server) -> None:
    place = str(tmp_path) if where == "local" else server.place("bucket/killed")
    ledger = Ledger(Folder.at(place))
    process = subprocess.Popen([sys.executable, "-c", PRINTS, place, A])
    try:
        until(lambda: "the last words" in ledger.last_log(A), process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    head, *rest = ledger.last_log(A)
    assert rest == ["of a C library", "the last words"]
    where_it_ran = f", InfoNCE, seed 0, host {socket.gethostname()}, CPU, process {process.pid} ---"
    assert head.endswith(where_it_ran)
    again = ledger.take(A)  # who takes the cell over has a log of its own, and leaves this one
    assert again is not None
    with logs.captured(again.folder, "InfoNCE, seed 0"):
        pass
    again.release()
    found = [name for name in ledger.cell(A).names() if not name.startswith("lease")]
    assert len(found) == 2
    texts = [ledger.cell(A).read(f"{term}/log.txt").decode() for term in found]
    assert ["the last words" in text for text in texts] == [True, False]


@pytest.mark.heavy
def test_a_long_log_is_stored_in_pieces_each_once(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PIECE", 1000)
    monkeypatch.setattr(logs, "EVERY", 3600.0)
    held = Ledger(Folder.at(server.place("bucket/long"))).take(A)
    assert held is not None
    lines = "".join(f"line {number}\n" for number in range(400))
    server.take()
    with logs.captured(held.folder, "a cell"):
        os.write(1, lines.encode())
    names = [logs.log_name(piece=number) for number in range(1, 5)]
    assert sorted(held.folder.names()) == sorted(names)
    assert server.take()["PUT"] == 4
    whole = b"".join(held.folder.read(name) for name in names).decode()
    assert Ledger(Folder.at(server.place("bucket/long"))).last_log(A)[-1] == "line 399"
    assert whole.partition("---\n")[2] == lines
    held.release()


HELD = """
import sys, time
from datetime import UTC, datetime
import pyarrow.fs as pafs
from supclap.storage import Folder
from supclap_platform.ledger import logs
far = pafs._MockFileSystem(datetime.now(UTC))  # cannot append: the log grows on this machine
with logs.captured(Folder(far, "bucket/term", "mock://bucket/term"), "InfoNCE, seed 0") as path:
    print("a word", flush=True)
    with open(sys.argv[1], "w") as said:
        print(path, file=said)
    time.sleep(600)
"""


@pytest.mark.heavy
def test_the_next_attempt_removes_the_temporary_log_of_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supclap_platform.running.attempt import run_cell
    from supclap_platform.running.task import Task

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = tmp_path / "said"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", HELD, str(said)], env=environment)
    try:
        until(lambda: said.exists() and said.read_text().endswith("\n"), process)
        path = Path(said.read_text().strip())
        sweep()
        assert "a word" in path.read_text()  # it lives
    finally:
        process.kill()
        process.wait()
    assert path.exists()

    class Begun(Exception):
        """The attempt goes on from here."""

    def begun(task: Task) -> Ledger:
        raise Begun

    monkeypatch.setattr("supclap_platform.running.attempt.checked_ledger", begun)
    task: Any = None  # that is not asked for yet
    with pytest.raises(Begun):
        run_cell(task)
    assert [one.name for one in tmp_path.iterdir()] == ["said"]
