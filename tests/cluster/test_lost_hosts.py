"""Hosts that vanish: a cut cable, the power gone. Seconds from the loss to the start elsewhere."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import SHARED, Host, experiment, hosts
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.records import State
from waiting import PATIENCE, until

from supclap.events import EpochEnded

pytestmark = pytest.mark.cluster

CUT, KILLED = 90.0, 30.0  # seconds from the loss to the start elsewhere, at most


def start(head: Host, path: Path) -> subprocess.Popen[str]:
    return head.supclap(
        "run", SHARED / path.name, "--storage", SHARED / "storage", "--address", "auto"
    )


def holders(ledger: Ledger) -> dict[str, LeaseName]:
    """Who holds each running cell."""
    return dict(ledger.overview().leases)


def epochs(ledger: Ledger, signature: str) -> int:
    return sum(isinstance(event, EpochEnded) for event in ledger.events(signature))


def seconds_to_move(
    ledger: Ledger, run: subprocess.Popen[str], host: Host, lose: Callable[[], None]
) -> float:
    """From the loss of a host until another one holds the cell that it held."""
    ((signature, before),) = [x for x in holders(ledger).items() if x[1].host == host.name]
    lose()
    lost = time.monotonic()
    until(lambda: holders(ledger).get(signature, before).host != host.name, run)
    return time.monotonic() - lost


def test_what_ran_on_a_host_that_vanishes_starts_elsewhere() -> None:
    with hosts("head", "one", "two") as (head, *others):
        path = experiment(head, epochs=400, seeds=1)
        ledger = open_ledger(head.net.shared / "storage", writing=True)
        run = start(head, path)

        def at_work() -> list[Host]:
            """The hosts beside the head whose cell trains."""
            held = {h.host for s, h in holders(ledger).items() if epochs(ledger, s) >= 2}
            return [host for host in others if host.name in held]

        until(lambda: len(holders(ledger)) == 2 and at_work(), run)
        first = at_work()[0]
        killed = seconds_to_move(ledger, run, first, first.kill)
        print(f"killed: {killed:.1f} s")
        first.up()  # a machine that comes back is used again
        first.join(head)
        first.joined()
        until(lambda: len(holders(ledger)) == 2 and at_work(), run)
        second = at_work()[-1]
        cut = seconds_to_move(ledger, run, second, second.cut)
        print(f"cut off: {cut:.1f} s")
        second.mend()
        output, _ = run.communicate(timeout=PATIENCE)
        print(output)
        assert run.returncode == 0, output
        assert list(ledger.overview().states.values()) == 2 * [State.DONE]
        assert f"{second.name} ({second.address}) has not answered for 15 s: it is lost" in output
        assert killed < KILLED
        assert cut < CUT


def test_data_parallel_workers_on_a_host_that_vanishes_start_elsewhere() -> None:
    with hosts("head", "one", "two") as (head, *others):
        path = experiment(head, epochs=200, seeds=1)
        text = path.read_text().replace("resources: {", "resources: {workers: 2, ")
        path.write_text(text.replace("  bi-Dynamic", "  #"))
        ledger = open_ledger(head.net.shared / "storage", writing=True)
        run = start(head, path)
        until(lambda: any(epochs(ledger, s) >= 3 for s in holders(ledger)), run)
        (signature,) = holders(ledger)
        lost = next(host for host in others if _works(host))
        lost.cut()
        since = time.monotonic()
        seen = epochs(ledger, signature)
        until(lambda: epochs(ledger, signature) > seen + 1, run)
        seconds = time.monotonic() - since
        print(f"data-parallel, cut off: {seconds:.1f} s to the next epoch")
        output, _ = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, output
        print(output)
        assert seconds < CUT


def _works(host: Host) -> bool:
    """Whether a worker of Ray Train runs on a host."""
    return any("RayTrainWorker" in " ".join(p.cmdline()) for p in host.processes())
