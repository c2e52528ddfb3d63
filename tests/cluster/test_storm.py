"""Kills on a cluster of simulated hosts, under a search, a grid and data-parallel workers.

`SUPCLAP_STORM_ROUNDS` and `SUPCLAP_STORM_SEED` ask for fewer, or for other, rounds.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
import pytest
from chaos import Chaos
from hosts import SHARED, Host, experiment, hosts
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.mirror.store import default_store
from tiny_grid import claimed
from waiting import PATIENCE, until

pytestmark = [pytest.mark.cluster, pytest.mark.long]

ROUNDS = int(os.environ.get("SUPCLAP_STORM_ROUNDS", "50"))
SEED = int(os.environ.get("SUPCLAP_STORM_SEED", "0"))
DISK = 256  # MB of the shared disk
PORT = 5000  # of MLflow's server on the head
SILENT = 25.0  # seconds for which a host is cut off, paused or asleep, and the disk full at most
WORKER_COMES = 60.0  # seconds: such cells wait for two cores, and are over some time
# Of a hundred kills, how many of each kind.
KINDS = {
    "cell": 24, "worker": 14, "driver": 14, "mlflow": 14, "raylet": 8, "cut": 10, "sleep": 4,
    "pause": 4, "disk": 6, "gcs": 2,
}  # fmt: skip
WORK = """variants:
  InfoNCE: {}
  bi-DynamicSVR: {loss.svr: {sides: both, radius: dynamic}, resources.workers: 2}
seeds: 2
resources: {max_failures: 100}
search:
  space: {optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}}
  objective: val.t2a.R@1
  trials: 2
  pruner: none
  seeds: 1
table: {columns: [t2a.R@1]}
"""
SERVE = """
import os, sys
from pathlib import Path
from supclap_platform.commands.ui import server_arguments
from supclap_platform.mirror.store import default_store
store = default_store(Path(sys.argv[1]))
store.connect()
words = [sys.executable, "-m", "mlflow", *server_arguments(store, int(sys.argv[2]))]
os.execv(sys.executable, words)
"""
GROUPS = """
import json, ray
from ray.util import placement_group_table
ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
print(json.dumps([g["state"] for g in placement_group_table().values()]))
"""


class Storm(Chaos):
    """Kills all that a run on a cluster consists of, one thing at a time."""

    def __init__(self, head: Host, others: list[Host], path: Path, cells: int) -> None:
        super().__init__(head.net.shared / "storm", cells, SEED)
        self.head, self.others, self.path = head, others, path
        self.log = (head.net.scratch / "storm.log").open("a+")  # of all drivers and servers
        self.driver: subprocess.Popen[str] | None = None
        self.server: subprocess.Popen[str] | None = None

    # -- what works -----------------------------------------------------------------------------

    def begin(self) -> None:
        """A driver and MLflow's server, where none is at work."""
        if self.server is None or self.server.poll() is not None:
            self.server = self.head.start(
                *(sys.executable, "-c", SERVE, SHARED / "mlflow", str(PORT)),
                out=self.log,
                MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            )
        if self.driver is None or self.driver.poll() is not None:
            place, tracking = "storm", f"http://127.0.0.1:{PORT}"
            self.driver = run_on(self.head, self.path, place, tracking, self.log)

    def said(self) -> str:
        """The end of what drivers and servers have printed."""
        self.log.seek(0)
        return self.log.read()[-20_000:]

    def trains(self) -> bool:
        """Waits until a cell trains; False where all are done."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.all_done():
                return False
            self.restore()
            self.begin()
            if self.leases():
                return True
            time.sleep(0.5)
        raise AssertionError(f"no cell began to train\n{self.said()}")

    # -- kills ----------------------------------------------------------------------------------

    def kill(self, whom: str) -> bool:
        """Kills once, at a random moment while a cell trains; False where none is left to.

        A cell is killed instead of a data-parallel worker where none comes for a while.
        """
        found: list[psutil.Process] = []
        end = time.monotonic() + WORKER_COMES
        while not found:
            if not self.trains():
                return False
            time.sleep(self.random.uniform(0.0, 3.0))
            if whom == "worker":
                found = self.processes("RayTrainWorker")
                whom = "worker" if found or time.monotonic() < end else "cell"
            if whom == "cell":
                found = self.processes("ray::", but=("RayTrainWorker", "Agent", "IDLE"))
            if whom not in ("cell", "worker"):
                break
        host = self.random.choice(self.others)
        began = time.monotonic()
        {
            "cell": lambda: self.end_one(found),
            "worker": lambda: self.end_one(found),
            "driver": self.kill_driver,
            "mlflow": lambda: self.head.end("mlflow"),
            "raylet": lambda: self.kill_raylet(host),
            "gcs": self.kill_gcs,
            "cut": lambda: self.silence(host, host.cut),
            "pause": lambda: self.silence(host, host.pause),
            "sleep": lambda: self.silence(host, host.pause, host.cut),  # it answers nobody
            "disk": self.fill_disk,
        }[whom]()
        self.kills[whom] += 1
        print(f"{sum(self.kills.values())}: {whom}, {time.monotonic() - began:.0f} s", flush=True)
        return True

    def processes(self, name: str, but: tuple[str, ...] = ()) -> list[psutil.Process]:
        """Those of this name, on all hosts."""
        return [one for host in (self.head, *self.others) for one in host.named(name, but)]

    def end_one(self, processes: list[psutil.Process]) -> None:
        """kill -9 of one of them."""
        with suppress(psutil.NoSuchProcess):
            self.random.choice(processes).kill()

    def kill_driver(self) -> None:
        assert self.driver is not None
        for process in psutil.Process(self.driver.pid).children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
        self.driver.kill()
        self.driver.wait()

    def kill_raylet(self, host: Host) -> None:
        """Its workers end with it. The node is started again."""
        host.end("raylet/raylet")
        self.rejoin(host)

    def kill_gcs(self) -> None:
        """The whole cluster ends with it. It is started again, and so is the run."""
        self.head.end("gcs_server")
        self.kill_driver()
        for host in (self.head, *self.others):
            self.rejoin(host)

    def rejoin(self, host: Host) -> None:
        head = host is self.head
        host.rejoin(None if head else self.head, 0 if head else 1)

    def restore(self) -> None:
        """Ray calls a silent host dead after about as long as it is silent here, and its raylet may
        learn that some seconds after it is back; then it ends, and the node is started again."""
        for host in self.others:
            if not host.named("raylet/raylet"):
                self.rejoin(host)

    def silence(self, host: Host, *how: Callable[[], None]) -> None:
        for each in how:
            each()
        time.sleep(SILENT)
        host.wake()
        host.mend()
        self.restore()

    def fill_disk(self) -> None:
        """Nobody can write to the shared disk for some seconds."""
        ballast = self.storage.parent / "ballast"
        end = time.monotonic() + self.random.uniform(1.0, SILENT)
        with open(ballast, "wb", buffering=0) as file:
            while time.monotonic() < end:
                with suppress(OSError):
                    file.write(b"x" * 65536)
                    continue
                time.sleep(0.05)
        ballast.unlink()


def run_on(
    head: Host, path: Path, place: str, tracking: str, out: IO[str] | None = None
) -> subprocess.Popen[str]:
    words = ("run", SHARED / path.name, "--storage", SHARED / place, "--address", "auto")
    return head.supclap(*words, "--tracking-uri", tracking, out=out)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def world() -> Iterator[list[Host]]:
    with hosts("head", "one", "two", "three", cpus={"head": 0}, disk=DISK) as found:
        yield found


def test_after_any_kills_all_is_as_without_them(world: list[Host]) -> None:
    head, *others = world
    path = experiment(head, epochs=int(os.environ.get("SUPCLAP_STORM_EPOCHS", "300")))
    path.write_text(path.read_text().partition("variants:")[0] + WORK)
    calm = head.net.shared / "calm"
    first = run_on(head, path, "calm", f"sqlite:///{SHARED}/calm.db")
    output, _ = first.communicate(timeout=3 * PATIENCE)
    assert first.returncode == 0, output
    cells = len(open_ledger(calm).overview().states)

    storm = Storm(head, others, path, cells)
    assert sum(KINDS.values()) == 100
    counts = {kind: math.ceil(share * ROUNDS / 100) for kind, share in KINDS.items()}
    with storm.watched():
        for whom in storm.shuffled(counts):
            if not storm.kill(whom):
                break
        storm.begin()
        assert storm.driver is not None
        storm.driver.wait(3 * PATIENCE)
        last = run_on(head, path, "storm", f"http://127.0.0.1:{PORT}")
        output, _ = last.communicate(timeout=PATIENCE)
    print(dict(storm.kills), {n: len(begun) for n, (*_, begun) in storm.finished.items()})
    assert last.returncode == 0, output
    assert sum(storm.kills.values()) >= ROUNDS, storm.kills
    storm.check(calm, "tiny")
    assert claimed(storm.storage) == []
    left = [p for p in storm.storage.rglob("*") if p.name in ("ray-train", "ray-tune", "ballast")]
    assert left == []
    assert size(storm.storage) < 2 * size(calm)
    nothing_is_left(storm, head, others)


def nothing_is_left(storm: Storm, head: Host, others: list[Host]) -> None:
    """No run RUNNING, no placement group, no process at work, no temp folder of a run."""

    def groups() -> set[str]:
        output, _ = head.start(sys.executable, "-c", GROUPS).communicate(timeout=PATIENCE)
        return set(json.loads(output.splitlines()[-1]))

    def at_work() -> list[psutil.Process]:
        names = ("RayTrainWorker", "supclap_platform.cli")
        return [one for name in names for one in storm.processes(name)]

    # What a run that has ended leaves to Ray to end is over some moments later.
    until(lambda: groups() <= {"REMOVED"}, pause=2.0)
    until(lambda: not at_work(), pause=1.0)
    assert list((head.net.scratch / "head.tmp").glob("supclap*")) == []
    head.end("mlflow")
    client = default_store(head.net.shared / "mlflow").connect()
    runs = [
        run
        for one in client.search_experiments()
        for run in client.search_runs([one.experiment_id])
    ]
    assert runs
    assert {run.info.status for run in runs} == {"FINISHED"}
