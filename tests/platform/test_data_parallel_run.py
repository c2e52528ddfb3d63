"""A cell with two workers under Ray Train: the metrics of one worker, also after one was killed."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan
from supclap_platform.running.group import ask_workers_to_end
from tiny_grid import attempts, claimed, start, supclap, write_experiment
from tiny_run import everything
from waiting import PATIENCE, until

from supclap.events import EpochEnded

pytestmark = pytest.mark.heavy

EPOCHS = 30
VARIANTS = """variants:
  one: {loss.svr: {sides: both, radius: dynamic}}
  two: {loss.svr: {sides: both, radius: dynamic}, resources.workers: 2}
"""


def workers_of(cell: Path) -> list[int]:
    """The processes under Ray Train that write a cell's log, without the trial that waits."""
    trial = {int(lease.name.split("~")[2]) for lease in cell.glob("lease~*")}
    found = []
    for process in psutil.process_iter():
        try:
            names = {Path(file.path) for file in process.open_files()}
        except (psutil.Error, OSError):
            continue
        logs = {name for name in names if name.match(f"{cell}/*/log*.txt")}
        if logs and process.pid not in trial:
            found.append(process.pid)
    return found


@pytest.mark.long  # a minute: Ray Train takes half of it to end a worker that does not answer
def test_a_worker_that_hangs_is_named_and_the_cell_goes_on_with_another(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=EPOCHS, seeds=1)
    text = path.read_text()
    row = "{loss.svr: {sides: both}, resources.workers: 2, resources.timeout: 15}"
    rows = f"variants:\n  two: {row}\n"
    path.write_text(text[: text.index("variants:")] + rows + text[text.index("seeds:") :])
    storage = tmp_path / "storage"
    ledger = open_ledger(storage)
    (two,) = (cell.signature for cell in make_plan(load_experiment(path), ledger).cells)
    process = start("run", path, "--storage", storage, "--cpus", "2")
    try:
        until(lambda: sum(isinstance(e, EpochEnded) for e in ledger.events(two)) >= 3, process)
        stopped = workers_of(storage / "cells" / two)[-1]
        os.kill(stopped, signal.SIGSTOP)
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, output
    log = "".join(one.read_text() for one in (storage / "cells" / two).glob("*/log*.txt"))
    named = re.search(r"WorkerMissing: rank [01] \(.*, process (\d+), cpu\) has not come to", log)
    assert named is not None, log
    assert int(named[1]) == stopped
    assert not psutil.pid_exists(stopped)


def test_two_workers_give_one_workers_metrics_although_one_is_killed(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=EPOCHS, seeds=1)
    text = path.read_text()
    # Chunks as the workers divide the batch, so that dropout draws the same masks. A small
    # step keeps what sums in another order change from growing over the epochs.
    exact = "  chunk: 4\n  optimizer: {lr: 1.0e-4}\n  select: {split: last}\n"
    path.write_text(
        text[: text.index("variants:")] + exact + VARIANTS + text[text.index("seeds:") :]
    )
    storage = tmp_path / "storage"
    ledger = open_ledger(storage)
    plan = make_plan(load_experiment(path), ledger)
    one, two = (cell.signature for cell in plan.cells)
    process = start("run", path, "--storage", storage, "--cpus", "2")
    try:
        end = time.monotonic() + PATIENCE
        killed = False
        while not killed and process.poll() is None and time.monotonic() < end:
            if sum(isinstance(event, EpochEnded) for event in ledger.events(two)) >= 3:
                os.kill(workers_of(storage / "cells" / two)[-1], signal.SIGKILL)
                killed = True
            time.sleep(0.05)
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert killed
    assert process.returncode == 0, output
    # The trial, two workers, and the two that Ray Train started in their place.
    assert attempts(storage)[two] == 5
    mine, theirs = ledger.result(one), ledger.result(two)
    assert mine is not None
    assert theirs is not None
    assert (mine.workers, theirs.workers) == (1, 2)
    assert theirs.metrics == pytest.approx(mine.metrics, rel=1e-3, abs=1e-3)
    assert claimed(storage) == []
    assert not list((storage / "cells" / two).glob("*/ray-train"))


def test_under_ray_train_a_relative_folder_and_an_old_wish_to_stop_keep_no_cell_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_experiment(tmp_path, seeds=1)
    text = path.read_text().replace(str(tmp_path / "tones"), "tones")
    head, _, rest = text.partition("variants:")
    rows = "variants: {A: {resources.ray_train: true}}\n" + rest[rest.index("seeds:") :]
    path.write_text(head + rows.replace(", radius.text.mean", ""))
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger(tmp_path / "storage", writing=True)
    (cell,) = make_plan(load_experiment(path), ledger).cells
    held = ledger.take(cell.signature)
    assert held is not None
    ask_workers_to_end(ledger, cell.signature)  # as a search's driver leaves it that is killed then
    held.release()
    code, output = supclap("run", path, "--storage", tmp_path / "storage", "--cpus", "1")
    assert code == 0, output
    assert ledger.result(cell.signature) is not None


def test_one_worker_under_ray_train_trains_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, seeds=1)
    text = path.read_text()
    head, _, rest = text.partition("variants:")
    row = "variants: {A: {loss.svr: {sides: both, radius: dynamic}}}\n"
    path.write_text(head + row + rest[rest.index("seeds:") :])
    found = []
    for storage, more in (("here", ""), ("under", "true")):
        arguments = ["--set", f"resources.ray_train={more}"] if more else []
        code, output = supclap(
            "run", path, "--storage", tmp_path / storage, "--cpus", "1", *arguments
        )
        assert code == 0, output
        (cell,) = (tmp_path / storage / "cells").iterdir()
        found.append((cell.name, everything(open_ledger(cell.parents[1]).folder(cell.name))))
    (one, mine), (same, theirs) = found
    # Under Ray Train both the trial and its worker open the log.
    assert [attempts(tmp_path / storage)[one] for storage in ("here", "under")] == [1, 2]
    assert one == same  # a signature
    del mine["log.txt"], theirs["log.txt"], theirs["holder"]  # whose group of workers it was
    assert "model/weights.safetensors" in mine
    assert theirs == mine
