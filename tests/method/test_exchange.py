"""Workers that hang are named by those who wait for them: stopped processes, over gloo."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE, until

pytestmark = pytest.mark.heavy

TIMEOUT = 3.0  # seconds, of the workers
WORKER = """
import sys, time
from datetime import timedelta
from pathlib import Path
import torch
from supclap import exchange
from supclap.exchange import WorkerMissing
from supclap.workers import Workers, join

exchange.ASKED = 2.0
rank, size, meeting, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
join(init_method=meeting, rank=rank, world_size=size)
workers = Workers.current(timedelta(seconds={timeout}))
if "late" in sys.argv and rank == 0:
    time.sleep({timeout} * 0.7)
weight = torch.nn.Parameter(torch.ones(3))
weight.grad = torch.full((3,), float(rank))
workers.average_gradients([weight])
assert weight.grad.tolist() == [(size - 1) / 2] * 3
workers = Workers.current(timedelta(seconds={timeout}))
(folder / f"ready-{{rank}}").touch()
while not (folder / f"go-{{rank}}").exists():
    time.sleep(0.01)
try:
    workers.average_gradients([weight])
    print("over")
except WorkerMissing as error:
    print(error)
sys.stdout.flush()
import os
os._exit(0)
"""


class Group:
    """Processes of a run that have made one exchange, and wait to be let to the next one."""

    def __init__(self, folder: Path, meeting: str, size: int = 3, *more: str) -> None:
        self.folder, self.size = folder, size
        code = WORKER.format(timeout=TIMEOUT)
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(rank), str(size), meeting, str(folder), *more],
                stdout=subprocess.PIPE, text=True,
            )
            for rank in range(size)
        ]  # fmt: skip
        until(lambda: all((folder / f"ready-{rank}").exists() for rank in range(size)))

    def go(self, stopped: int) -> list[str]:
        """What each says but for one, which is stopped before the others go on."""
        os.kill(self.processes[stopped].pid, signal.SIGSTOP)
        others = [rank for rank in range(self.size) if rank != stopped]
        for rank in others:
            (self.folder / f"go-{rank}").touch()
        return [self.processes[rank].communicate(timeout=PATIENCE)[0] for rank in others]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


def test_all_who_wait_name_the_one_that_hangs(tmp_path: Path) -> None:
    # Rank 0 was late before, so that the one that hangs has noted an earlier exchange.
    group = Group(tmp_path, (tmp_path / "meeting").as_uri(), 3, "late")
    try:
        said = group.go(stopped=1)
    finally:
        group.end()
    host = re.escape(os.uname().nodename)
    wanted = (
        rf"rank 1 \({host}, process {group.processes[1].pid}, cpu\) has not come to the mean of "
        r"the gradients for 3 s: it hangs, or .* `resources.timeout` allows"
    )
    for one in said:
        assert re.fullmatch(wanted, one.strip()), one


def test_where_it_is_the_one_that_keeps_the_list_it_is_still_named(tmp_path: Path) -> None:
    """Over TCP the list is in rank 0's own process, and no question to it ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    group = Group(tmp_path, meeting, size=2)
    try:
        (said,) = group.go(stopped=0)
    finally:
        group.end()
    assert said.startswith("no end of the mean of the gradients for 3 s: rank 0, which keeps")


def test_exchanges_that_end_cost_no_note_and_one_that_is_slow_is_no_fault(tmp_path: Path) -> None:
    group = Group(tmp_path, (tmp_path / "meeting").as_uri(), size=2)
    try:
        (tmp_path / "go-0").touch()
        with pytest.raises(subprocess.TimeoutExpired):
            group.processes[0].communicate(timeout=TIMEOUT * 0.7)
        (tmp_path / "go-1").touch()
        said = [process.communicate(timeout=PATIENCE)[0] for process in group.processes]
    finally:
        group.end()
    assert said == ["over\n", "over\n"]
