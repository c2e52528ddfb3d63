"""kill -9 at random moments: of cells, of the driver with all its Ray, and of MLflow's server. The
long form keeps its results on S3, which stops answering for a while, and kills parts of Ray too.

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
from s3_process import S3Process, s3_process
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import open_ledger
from tiny_grid import claimed, start, supclap, write_experiment
from waiting import PATIENCE

pytestmark = pytest.mark.heavy

ROUNDS = int(os.environ.get("SUPCLAP_CHAOS_ROUNDS", "4"))
FAR_ROUNDS = int(os.environ.get("SUPCLAP_CHAOS_ROUNDS", "16"))  # of the long form
SEED = int(os.environ.get("SUPCLAP_CHAOS_SEED", "0"))
EPOCHS = 40
CELLS = 4
SILENT = 25.0  # seconds for which S3 does not answer


class OwnRay(Chaos):
    """Kills what works on a storage with a Ray of its own."""

    def __init__(
        self, path: Path, storage: str | Path, server: Server, store: S3Process | None = None
    ) -> None:
        super().__init__(storage, CELLS, SEED)
        self.path = path
        self.server = server
        self.store = store
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
            held: list[LeaseName] = []
            with suppress(OSError):
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
            elif whom == "store":
                assert self.store is not None
                self.store.freeze()
                time.sleep(SILENT)
                self.store.thaw()
            elif whom in ("raylet", "gcs_server"):
                for process in psutil.Process(self.driver.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if process.name() == whom:
                            process.kill()
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
    chaos = OwnRay(path, tmp_path / "storm", server)
    drivers, servers = ROUNDS // 4, ROUNDS // 3
    cells = ROUNDS - drivers - servers
    survive(chaos, {"cell": cells, "driver": drivers, "server": servers}, tmp_path)
    assert sum(chaos.kills.values()) >= min(ROUNDS, 10), chaos.kills


@pytest.mark.long
def test_on_s3_that_stops_answering_it_ends_with_the_same_table_and_runs(
    tmp_path: Path, server: Server
) -> None:
    path = write_experiment(tmp_path, epochs=10 * EPOCHS, max_failures=FAR_ROUNDS)
    each = FAR_ROUNDS // 8
    counts = {"store": 2 * each, "driver": each, "server": each, "raylet": each, "gcs_server": each}
    counts["cell"] = FAR_ROUNDS - sum(counts.values())
    with s3_process() as store:
        chaos = OwnRay(path, store.place(), server, store)
        survive(chaos, counts, tmp_path)
    assert sum(chaos.kills.values()) >= FAR_ROUNDS - 2, chaos.kills


def survive(chaos: OwnRay, counts: dict[str, int], scratch: Path) -> None:
    """Runs undisturbed, then with so many kills of each kind: what comes out is the same."""
    code, output = supclap("run", chaos.path, "--storage", scratch / "calm", "--cpus", "2")
    assert code == 0, output
    with chaos.watched(every=0.1 if chaos.folder.local else 1.0):
        try:
            for whom in chaos.shuffled(counts):
                chaos.kill(whom)
        finally:
            if chaos.driver is not None and chaos.driver.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    chaos.driver.communicate(timeout=PATIENCE)
                chaos.driver.kill()
        wait_for(chaos.server.uri)
        last = ("--storage", chaos.storage, "--cpus", "2", "--tracking-uri", chaos.server.uri)
        code, output = supclap("run", chaos.path, *last)
        assert code == 0, output
    print(dict(chaos.kills), {name: len(begun) for name, (*_, begun) in chaos.finished.items()})
    chaos.check(scratch / "calm", "tiny")
    assert claimed(chaos.storage) == []
    all_is_shown(chaos.path, chaos.storage, chaos.server, scratch)


def all_is_shown(path: Path, storage: str | Path, server: Server, scratch: Path) -> None:
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
