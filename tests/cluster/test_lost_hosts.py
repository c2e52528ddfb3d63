"""Hosts that vanish: the power gone, a cut cable, a machine that slept; and a paused process on one
that lives. Seconds to the start elsewhere, on one cluster for all of it: a head and three hosts of
one core.

It prints what it has measured; on a machine that is busy with others each figure is what it is.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hosts import SHARED, Host, experiment, hosts
from supclap_platform.ledger.leases import LeaseName, leases_in
from supclap_platform.ledger.ledger import Ledger, open_ledger
from waiting import PATIENCE, is_over, until

from supclap.errors import INTERRUPTED
from supclap.events import EpochEnded

pytestmark = pytest.mark.cluster

CUT, KILLED = 90.0, 30.0  # seconds from the loss to the start elsewhere, at most
SEARCH = """search:
  space: {optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}}
  objective: val.t2a.R@1
  trials: 2
  pruner: none
"""


@dataclass
class Cluster:
    """The hosts, and what was measured on them."""

    head: Host
    others: list[Host]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def running(self, name: str, more: str = "", resources: str = "") -> Iterator[Run]:
        """A run of the tiny experiment that does not end by itself; in the end it is stopped."""
        path = experiment(self.head, epochs=20_000, seeds=1)
        text = path.read_text().replace("resources: {", f"resources: {{{resources}")
        path.write_text(text.replace("experiment: tiny", f"experiment: {name}") + more)
        line = ("run", SHARED / path.name, "--storage", SHARED / name, "--address", "auto")
        process = self.head.supclap(*line)
        run = Run(self, process, open_ledger(self.head.net.shared / name, writing=True))
        try:
            yield run
            self.head.send(process, signal.SIGTERM)
            run.output, _ = process.communicate(timeout=PATIENCE)
            print(run.output)
            assert process.returncode == INTERRUPTED, run.output
        except BaseException:
            self.head.send(process, signal.SIGKILL)
            print(process.communicate()[0])
            raise
        finally:
            for host in self.others:
                if host.boot.poll() is None:  # it was not killed
                    host.wake()
                    host.mend()


@dataclass
class Run:
    """A run under way."""

    cluster: Cluster
    process: subprocess.Popen[str]
    ledger: Ledger
    output: str = ""

    def holders(self) -> dict[str, LeaseName]:
        """Who holds each running cell."""
        return dict(self.ledger.overview().leases)

    def epochs(self, signature: str) -> list[int]:
        return [e.epoch for e in self.ledger.events(signature) if isinstance(e, EpochEnded)]

    def trains(self, cells: int) -> None:
        """Waits until so many cells train."""

        def so() -> bool:
            held = self.holders()
            return len(held) == cells and all(len(self.epochs(s)) >= 2 for s in held)

        until(so, self.process, 0.2)

    def one_at_work(self) -> tuple[Host, str, LeaseName]:
        """A host that trains a cell, with the cell and the lease on it."""
        signature, lease = next(iter(self.holders().items()))
        return next(h for h in self.cluster.others if h.name == lease.host_name), signature, lease

    def moved(self, signature: str, before: LeaseName, name: str) -> LeaseName:
        """Waits until another process holds a cell, which it returns; notes how long that took."""
        began = time.monotonic()
        until(lambda: before not in leases_in(self.ledger.cell(signature)), self.process)
        noticed = time.monotonic() - began
        held: list[LeaseName] = []

        def again() -> bool:
            held[:] = [lease for each, lease in self.holders().items() if each == signature]
            return bool(held)

        until(again, self.process)
        self.cluster.seconds[name] = time.monotonic() - began
        print(f"{name}: taken from it after {noticed:.1f} s, ", end="")
        print(f"{self.cluster.seconds[name]:.1f} s to the start elsewhere", flush=True)
        return held[0]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with hosts("head", "one", "two", "three", cpus={"head": 0}) as (head, *others):
        found = Cluster(head, others)
        yield found
        print({name: f"{seconds:.1f} s" for name, seconds in found.seconds.items()})


def test_data_parallel_workers_of_a_lost_host_start_elsewhere(cluster: Cluster) -> None:
    with cluster.running("parallel", resources="workers: 2, ") as run:
        until(lambda: any(len(run.epochs(s)) >= 3 for s in run.holders()), run.process, 0.2)
        signature = next(s for s in run.holders() if len(run.epochs(s)) >= 3)
        lost = next(host for host in cluster.others if _works(host))
        lost.cut()
        since = time.monotonic()
        until(lambda: not any(_works(h) for h in cluster.others if h is not lost), run.process)
        seen = len(run.epochs(signature))
        until(lambda: len(run.epochs(signature)) > seen, run.process)
        cluster.seconds["data-parallel, cut off"] = time.monotonic() - since
        lost.mend()
    lost.rejoin(cluster.head)
    assert cluster.seconds["data-parallel, cut off"] < CUT


def test_a_trial_of_a_lost_host_starts_elsewhere(cluster: Cluster) -> None:
    with cluster.running("search", SEARCH) as run:
        run.trains(2)
        host, signature, lease = run.one_at_work()
        host.cut()
        assert run.moved(signature, lease, "trial, cut off").host != lease.host
        host.mend()
    host.rejoin(cluster.head)
    assert "failed" not in run.output
    assert cluster.seconds["trial, cut off"] < CUT


@pytest.mark.parametrize("kind", ["cell", "trial"])
def test_a_paused_process_of_a_node_that_lives_is_ended_and_its_cell_starts_anew(
    cluster: Cluster, kind: str
) -> None:
    """Ray says that it runs; only its lease tells."""
    with cluster.running(f"paused-{kind}", SEARCH if kind == "trial" else "") as run:
        run.trains(2)
        host, signature, lease = run.one_at_work()
        (paused,) = host.named("ray::", but=("Agent", "IDLE", "TuneController"))
        paused.suspend()
        run.moved(signature, lease, f"{kind}, paused")
        until(lambda: is_over(paused.pid))
        seen = len(run.epochs(signature))
        until(lambda: len(run.epochs(signature)) > seen, run.process)
        assert run.epochs(signature) == list(range(1, len(run.epochs(signature)) + 1))
    assert "failed" not in run.output
    assert cluster.seconds[f"{kind}, paused"] < CUT


def test_cells_of_a_lost_host_start_elsewhere_and_one_that_wakes_writes_nothing(
    cluster: Cluster,
) -> None:
    with cluster.running("cells") as run:
        run.trains(2)
        cut, signature, lease = run.one_at_work()
        cut.cut()
        assert run.moved(signature, lease, "cut off").host != lease.host
        cut.mend()
        cut.rejoin(cluster.head)

        run.trains(2)
        host, signature, lease = run.one_at_work()
        host.pause()
        host.cut()  # a machine that sleeps answers nobody
        assert run.moved(signature, lease, "asleep").host != lease.host
        host.wake()
        host.mend()
        since = time.monotonic()
        while time.monotonic() - since < 15:  # longer than a heartbeat
            assert lease not in leases_in(run.ledger.cell(signature))
            time.sleep(0.2)
        host.rejoin(cluster.head)
        for each in run.holders():
            epochs = run.epochs(each)
            assert epochs == list(range(1, len(epochs) + 1))

        run.trains(2)
        host, signature, lease = run.one_at_work()
        host.kill()
        assert run.moved(signature, lease, "killed").host != lease.host
    assert f"{cut.name} ({cut.address}) has not answered for 15 s: it is lost" in run.output
    assert "failed" not in run.output
    assert cluster.seconds["cut off"] < CUT
    assert cluster.seconds["asleep"] < CUT
    assert cluster.seconds["killed"] < KILLED


def _works(host: Host) -> bool:
    """Whether a worker of Ray Train runs on a host."""
    return bool(host.named("RayTrainWorker"))
