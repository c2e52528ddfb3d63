"""kill -9 at random moments: of cells, of the driver with all its Ray, and of MLflow's server.

`SUPCLAP_CHAOS_ROUNDS` and `SUPCLAP_CHAOS_SEED` ask for more, or for other, rounds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from chaos import Chaos
from mlflow_content import content_of
from mlflow_server import Server, wait_for
from reported_runs import histories
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from tiny_grid import claimed, start, supclap, write_experiment
from waiting import PATIENCE

pytestmark = pytest.mark.heavy

ROUNDS = int(os.environ.get("SUPCLAP_CHAOS_ROUNDS", "4"))
SEED = int(os.environ.get("SUPCLAP_CHAOS_SEED", "0"))
EPOCHS = 40
CELLS = 4


class OwnRay(Chaos):
    """Kills what works on a storage with a Ray of its own."""

    def __init__(self, path: Path, storage: Path, server: Server, seed: int) -> None:
        super().__init__(storage, CELLS, seed)
        self.path = path
        self.server = server
        self.driver: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """A driver, where none is at work."""
        if self.driver is None or self.driver.poll() is not None:
            self.driver = start(
                "run", self.path, "--storage", self.storage, "--cpus", "2",
                "--tracking-uri", self.server.uri,
            )  # fmt: skip

    def kill(self, whom: str) -> None:
        """Kills once, at a random moment after a cell has begun to train."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            self.begin()
            held = list(open_ledger(self.storage).overview().leases.values())
            if not held:
                if self.all_done():
                    return
                time.sleep(0.05)
                continue
            time.sleep(self.random.uniform(0.0, 1.5))
            assert self.driver is not None
            if whom == "driver":
                self.driver.kill()
                self.driver.communicate()
                gone([lease.pid for lease in held])
            elif whom == "server":
                self.server.kill()
                time.sleep(self.random.uniform(0.0, 1.5))
                self.server.start()
            else:
                with suppress(ProcessLookupError):
                    os.kill(self.random.choice(held).pid, signal.SIGKILL)
            self.kills[whom] += 1
            return
        raise AssertionError("no cell began to train")


def gone(pids: list[int]) -> None:
    """What trained must not outlive its driver: it would go on to write. (Ray's agents stay for
    a minute, trying to report to a driver that is dead.)"""
    left = {psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)}
    _, left = psutil.wait_procs(left, timeout=60)
    assert not left, [process.cmdline() for process in left]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


def test_killed_at_random_moments_it_ends_with_the_same_table_and_runs(
    tmp_path: Path, server: Server
) -> None:
    path = write_experiment(tmp_path, epochs=EPOCHS, max_failures=ROUNDS)
    code, output = supclap("run", path, "--storage", tmp_path / "calm", "--cpus", "2")
    assert code == 0, output

    storage = tmp_path / "storm"
    chaos = OwnRay(path, storage, server, SEED)
    drivers, servers = ROUNDS // 4, ROUNDS // 3
    cells = ROUNDS - drivers - servers
    whom = chaos.shuffled({"cell": cells, "driver": drivers, "server": servers})
    with chaos.watched():
        try:
            for each in whom:
                chaos.kill(each)
        finally:
            if chaos.driver is not None and chaos.driver.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    chaos.driver.communicate(timeout=PATIENCE)
                chaos.driver.kill()
        wait_for(server.uri)
        last = ("--storage", storage, "--cpus", "2", "--tracking-uri", server.uri)
        code, output = supclap("run", path, *last)
        assert code == 0, output

    print(dict(chaos.kills), {name: len(begun) for name, (*_, begun) in chaos.finished.items()})
    assert sum(chaos.kills.values()) >= min(ROUNDS, 10), chaos.kills
    chaos.check(tmp_path / "calm", "tiny")
    assert claimed(storage) == []
    all_is_shown(path, storage, server, tmp_path)


def all_is_shown(path: Path, storage: Path, server: Server, scratch: Path) -> None:
    """After `sync` MLflow has each cell once, whole, and as in a store that was never killed."""
    new = f"sqlite:///{scratch}/new/mlflow.db"
    for uri in (server.uri, new):
        code, output = supclap("sync", "--storage", storage, "--tracking-uri", uri)
        assert code == 0, output
    shown = content_of(server.uri, scratch / "shown")
    assert shown == content_of(new, scratch / "wanted")
    ledger = open_ledger(storage)
    cells = cells_of(load_experiment(path))
    columns = [column.short_name for column in load_experiment(path).columns]
    wanted = {
        f"seed {cell.seed}, {cell.variant}": histories(ledger, cell.signature, columns)
        for cell in cells
    }
    runs = {name: run for (*_, name), run in shown.items() if run["tags"]["kind"] == "cell"}
    assert {name: run["histories"] for name, run in runs.items()} == {
        name: repr(sorted(points.items())) for name, points in wanted.items()
    }
    assert {run["status"] for run in shown.values()} == {"FINISHED"}
