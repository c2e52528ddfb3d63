"""kill -9 at random moments: of cells, of the driver with all its Ray, and of MLflow's server. The
long form keeps its results on S3, which stops answering for a while, and kills parts of Ray too;
or it is a job on a cluster, whose driver is killed.

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
from chaos import TABLES, Chaos
from mlflow_content import content_of
from mlflow_server import Server, wait_for
from ray_head import Head
from reported_runs import histories
from s3_process import S3Process, s3_process
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from tiny_grid import claimed, start, supclap, write_experiment
from waiting import PATIENCE, until

from supclap.storage import Folder

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
        self.log = path.with_suffix(".log").open("a+")  # of all drivers
        self.server = server
        self.store = store
        self.driver: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """A driver and MLflow's server, where none is at work."""
        self.server.ensure()
        if self.driver is None or self.driver.poll() is not None:
            places = ("--storage", self.storage, "--tracking-uri", self.server.uri)
            self.driver = self.started(self.path, *places)

    def started(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return start("run", *arguments, "--cpus", "2", out=self.log)

    def kill_driver(self) -> None:
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()

    def said(self) -> str:
        """The end of what drivers have printed."""
        self.log.seek(0)
        return self.log.read()[-20_000:]

    def kill(self, whom: str) -> None:
        """Kills once, at a random moment after a cell has begun to train."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.begin()
            held = self.leases()
            if not held:
                if self.all_done():
                    return
                time.sleep(0.05)
                continue
            time.sleep(self.random.uniform(0.0, 1.5))
            assert self.driver is not None
            if whom == "driver":
                self.kill_driver()
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
        raise AssertionError(f"no cell began to train\n{self.said()}")


class AsJob(OwnRay):
    """The same as a job of a cluster, which is submitted again when its driver was killed."""

    def __init__(self, path: Path, storage: Path, server: Server, head: Head) -> None:
        super().__init__(path, storage, server)
        self.head = head

    def started(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return self.head.start("submit", *arguments, "--address", self.head.url, out=self.log)

    def kill_driver(self) -> None:
        def over() -> bool:
            """Kills it, where it has begun, and says whether `submit` has seen that."""
            for process in psutil.Process(self.head.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if "-m supclap_platform run" in " ".join(process.cmdline()):
                        process.kill()
            assert self.driver is not None
            return self.driver.poll() is not None

        until(over, pause=0.2)


def gone(pids: list[int]) -> None:
    """What trained must not outlive its driver: it would go on to write. (Ray's agents stay for
    a minute, trying to report to a driver that is dead.)"""
    left = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            left.append(psutil.Process(pid))
    _, left = psutil.wait_procs(left, timeout=60)
    assert not left, left


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


def test_a_log_that_comes_after_its_result_is_no_second_attempt(tmp_path: Path) -> None:
    """As on S3, where a log is stored every few seconds and at its end."""
    chaos = Chaos(tmp_path / "storm", 1, SEED)
    table = chaos.folder.below("experiments/e")
    for name in TABLES:
        table.write(name, b"")
        Folder.at(tmp_path / "calm").write(f"experiments/e/{name}", b"")
    chaos.folder.write("cells/a/0001-0/result.json", b"")  # an attempt that was killed
    chaos.folder.write("cells/a/0002-0/result.json", b"{}")
    with chaos.watched():
        chaos.look()
        chaos.check(tmp_path / "calm", "e")  # its process was killed before it stored its log
        for term in ("0001-0", "0002-0"):
            log = b"--- 2000-01-01 08:00:00 UTC, a, host h, CPU, process 1 ---\n"
            chaos.folder.write(f"cells/a/{term}/log.txt", log)
    chaos.check(tmp_path / "calm", "e")
    assert [len(begun) for *_, begun in chaos.finished.values()] == [2]
    chaos.folder.write("cells/a/0003-0/log.txt", log.replace(b"2000-", b"2900-"))
    chaos.look()
    with pytest.raises(AssertionError, match="a was begun again"):
        chaos.check(tmp_path / "calm", "e")


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


@pytest.mark.long
def test_a_job_whose_driver_is_killed_is_submitted_again_and_ends_with_the_same(
    tmp_path: Path, server: Server
) -> None:
    path = write_experiment(tmp_path, epochs=10 * EPOCHS, max_failures=FAR_ROUNDS)
    half = FAR_ROUNDS // 4
    head = Head()
    try:
        head.wait()
        chaos = AsJob(path, tmp_path / "storm", server, head)
        survive(chaos, {"cell": half, "driver": half}, tmp_path)
    finally:
        head.stop()
    assert sum(chaos.kills.values()) >= 2 * half - 1, chaos.kills


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
                    chaos.driver.wait(PATIENCE)
                chaos.driver.kill()
        chaos.server.ensure()
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
