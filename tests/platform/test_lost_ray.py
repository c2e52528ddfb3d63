"""Ray, the terminal or the reader of the output goes away while a run is under way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import optuna
import psutil
import pytest
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import State
from tiny_grid import SUPCLAP, attempts, claimed, environment, start, supclap, write_experiment
from waiting import until

pytestmark = pytest.mark.heavy

LONG = 4_000  # epochs: always stopped before, on a busy machine too
SEARCH = """
search:
  space: {optimizer.lr: {log_uniform: [1.0e-5, 0.01]}}
  trials: 3
"""


def wait_for_checkpoints(process: subprocess.Popen[str], storage: Path) -> None:
    until = time.monotonic() + 240
    while not list((storage / "cells").glob("*/*/checkpoints/latest.json")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)


def nothing_is_left(children: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [p.name() for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("daemon", ["raylet", "gcs_server"])
def test_a_dead_ray_ends_the_run_at_once_and_charges_no_cell(daemon: str, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=LONG, seeds=1)
    storage = tmp_path / "storage"
    process = start("run", path, "--storage", storage, "--cpus", "2")
    try:
        wait_for_checkpoints(process, storage)
        children = psutil.Process(process.pid).children(recursive=True)
        (found,) = (child for child in children if child.name() == daemon)
        killed = time.monotonic()
        found.kill()
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - killed < 40
    assert process.returncode == 1, output
    assert output.count(f"Ray died ({daemon} ended)") == 1
    assert "stopped with 0 of 2 cells done; the same command goes on" in output
    assert "Traceback" not in output
    assert "failed" not in output
    nothing_is_left(children)
    assert claimed(storage) == []
    states = open_ledger(storage).overview().states
    assert State.FAILED not in states.values()
    assert max(attempts(storage).values()) == 1


def test_a_dead_ray_ends_a_search_at_once_and_charges_no_trial(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=LONG, seeds=1, more=SEARCH)
    storage = tmp_path / "storage"

    def killed(daemon: str) -> str:
        process = start("run", path, "--storage", storage, "--cpus", "1")
        try:
            wait_for_checkpoints(process, storage)
            until(lambda: claimed(storage), process)
            children = psutil.Process(process.pid).children(recursive=True)
            (found,) = (child for child in children if child.name() == daemon)
            since = time.monotonic()
            found.kill()
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        assert time.monotonic() - since < 40
        assert process.returncode == 1, output
        assert output.count(f"Ray died ({daemon} ended)") == 1
        assert "stopped with 0 of 3 trials over; the same command goes on" in output
        assert "Traceback" not in output
        assert "failed" not in output
        nothing_is_left(children)
        assert claimed(storage) == []
        assert list(open_ledger(storage).overview().states.values()) == [State.RESUMABLE]
        study = optuna.load_study(
            study_name="tiny", storage=f"sqlite:///{storage}/experiments/tiny/study.db"
        )
        assert [trial.state.name for trial in study.trials] == ["RUNNING"]
        return output

    killed("raylet")
    assert "interrupted trials that go on: 1" in killed("gcs_server")
    assert not (storage / "experiments" / "tiny" / "ray-tune").exists()


def test_a_closed_terminal_ends_a_run_as_an_interrupted_one(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=LONG, seeds=1)
    storage = tmp_path / "storage"
    master, slave = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *SUPCLAP, "run", path, "--storage", storage, "--cpus", "1"],
        stdin=slave, stdout=slave, stderr=slave, text=True, env=environment(),
    )  # fmt: skip
    os.close(slave)
    try:
        wait_for_checkpoints(process, storage)
        children = psutil.Process(process.pid).children(recursive=True)
        driver = children[0]
        os.close(master)  # the window is closed: the kernel sends SIGHUP to all of the session
        nothing_is_left([driver, *children])
        process.wait(timeout=60)
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else ():
            child.kill()
        process.kill()
    assert process.returncode == 130
    assert claimed(storage) == []
    states = list(open_ledger(storage).overview().states.values())
    assert State.FAILED not in states
    assert State.RESUMABLE in states
    (parent,) = (storage / "experiments" / "tiny" / "parents").glob("*/parent.json")
    assert '"status": "KILLED"' in parent.read_text()
    left = [f.name for f in (storage / "experiments").rglob("lease~*")]
    assert left == []


def test_a_closed_pipe_loses_no_result(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=1, seeds=1)
    storage = tmp_path / "storage"
    run = subprocess.Popen(
        [*SUPCLAP, "run", str(path), "--storage", str(storage), "--cpus", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert run.stdout is not None
    assert run.stderr is not None
    assert run.stdout.readline().startswith("tiny, profile laptop")
    run.stdout.close()  # as `| head -1` does
    said = run.stderr.read()
    assert run.wait(timeout=300) == 0, said
    assert "the output cannot be written any more (Broken pipe); going on without" in said
    assert "Traceback" not in said
    own = storage / "experiments" / "tiny"
    assert {"table.txt", "table.csv", "report.html"} <= {file.name for file in own.iterdir()}
    assert set(open_ledger(storage).overview().states.values()) == {State.DONE}
    code, shown = supclap("table", path, "--storage", storage)
    assert code == 0
    assert re.search(r"\n\(?.*InfoNCE", shown)


@pytest.mark.parametrize("command", ["plan", "table", "status", "figures"])
def test_every_command_takes_a_closed_pipe(command: str, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=1, seeds=1, more="figures: [convergence]\n")
    run = subprocess.Popen(
        [*SUPCLAP, command, str(path), "--storage", str(tmp_path / "storage")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
    )  # fmt: skip
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    said = run.stderr.read()
    assert run.wait(timeout=120) == 0, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
