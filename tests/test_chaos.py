"""kill -9 at random moments: of processes that train, and of the driver with all its Ray.

`SUPCLAP_CHAOS_ROUNDS` and `SUPCLAP_CHAOS_SEED` ask for more, or for other, rounds.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from supclap_platform.ledger import State, open_ledger
from tiny_grid import claimed, start, supclap, write_experiment

pytestmark = pytest.mark.heavy

ROUNDS = int(os.environ.get("SUPCLAP_CHAOS_ROUNDS", "10"))
SEED = int(os.environ.get("SUPCLAP_CHAOS_SEED", "0"))
EPOCHS = 40
PATIENCE = 240.0
TABLES = ("table.txt", "table.md", "table.csv", "table.tex")


class Chaos:
    """Kills what works on a storage, and watches that nothing finished is touched again."""

    def __init__(self, path: Path, storage: Path, seed: int) -> None:
        self.path = path
        self.storage = storage
        self.random = random.Random(seed)
        self.driver: subprocess.Popen[str] | None = None
        self.finished: dict[str, tuple[bytes, int, int]] = {}
        self.kills = {"worker": 0, "driver": 0}

    def begin(self) -> None:
        """A driver, where none is at work."""
        if self.driver is None or self.driver.poll() is not None:
            self.driver = start("run", self.path, "--storage", self.storage, "--cpus", "2")

    def kill(self, whom: str) -> None:
        """Kills once, at a random moment after a cell has begun to train."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            self.begin()
            held = list(open_ledger(self.storage).overview().leases.values())
            if not held:
                self.watch()
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
            else:
                with suppress(ProcessLookupError):
                    os.kill(self.random.choice(held).pid, signal.SIGKILL)
            self.kills[whom] += 1
            self.watch()
            return
        raise AssertionError("no cell began to train")

    def watch(self) -> None:
        """What is finished must stay as it is: its result, and the log of its attempts."""
        for result in sorted((self.storage / "cells").glob("*/result.json")):
            log = result.with_name("log.txt").read_text()
            now = (result.read_bytes(), result.stat().st_mtime_ns, log.count("UTC, "))
            assert self.finished.setdefault(result.parent.name, now) == now

    def all_done(self) -> bool:
        states = open_ledger(self.storage).overview().states
        return len(states) == 4 and set(states.values()) == {State.DONE}


def gone(pids: list[int]) -> None:
    """What trained must not outlive its driver: it would go on to write. (Ray's agents stay for
    a minute, trying to report to a driver that is dead.)"""
    left = {psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)}
    _, left = psutil.wait_procs(left, timeout=60)
    assert not left, [process.cmdline() for process in left]


def test_killed_at_random_moments_it_ends_with_the_same_table(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=EPOCHS, max_failures=ROUNDS)
    code, output = supclap("run", path, "--storage", tmp_path / "calm", "--cpus", "2")
    assert code == 0, output

    storage = tmp_path / "storm"
    chaos = Chaos(path, storage, SEED)
    whom = ["worker"] * (ROUNDS - ROUNDS // 4) + ["driver"] * (ROUNDS // 4)
    chaos.random.shuffle(whom)
    try:
        for each in whom:
            chaos.kill(each)
    finally:
        if chaos.driver is not None and chaos.driver.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                chaos.driver.communicate(timeout=PATIENCE)
            chaos.driver.kill()
    code, output = supclap("run", path, "--storage", storage, "--cpus", "2")

    assert code == 0, output
    chaos.watch()
    assert len(chaos.finished) == 4
    for name in TABLES:
        calm = (tmp_path / "calm" / "experiments" / "tiny" / name).read_bytes()
        assert (storage / "experiments" / "tiny" / name).read_bytes() == calm
    assert claimed(storage) == []
    assert sum(chaos.kills.values()) >= min(ROUNDS, 10), chaos.kills
    assert runs_by_status(storage) == {"FINISHED": 4}


def runs_by_status(storage: Path) -> dict[str, int]:
    """The cells' runs in the storage's MLflow store, counted by status."""
    from supclap_platform.store import choose_store

    store = choose_store(None, open_ledger(storage).storage)
    assert store is not None
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    found: dict[str, int] = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            if "mlflow.parentRunId" in run.data.tags:
                found[run.info.status] = found.get(run.info.status, 0) + 1
            else:
                assert run.info.status != "RUNNING"
    return found
