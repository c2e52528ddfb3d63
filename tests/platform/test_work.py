"""`supclap work`: processes that share an experiment's cells by their leases, without Ray."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from click.testing import CliRunner, Result
from own_loop import write_loop
from supclap_platform.cli import main
from supclap_platform.commands import work as command
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.ledger.records import State
from supclap_platform.running import without_ray as module
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.ending import Ending
from supclap_platform.running.task import Task, task_of
from supclap_platform.running.without_ray import WithoutRay
from supclap_platform.testing import fail, finish
from tiny_grid import attempts, claimed, environment, start, supclap, write_experiment
from waiting import is_over, until

from supclap.errors import INTERRUPTED, InputError

STAGE = "init: {base: {epochs: 1}}\n"
FILE = """
experiment: shared
base: {epochs: 1}
variants: {A: {}, B: {loss.name: siglip}}
seeds: 2
table: {columns: [t2a.R@1]}
"""
# The command, and then what it has imported: neither what trains on Ray nor what shows it.
WATCHED = """
import sys
from supclap_platform.cli import main
try:
    main()
finally:
    found = [name for name in ("ray", "mlflow", "optuna") if name in sys.modules]
    print("imported:", *found)
"""


def metrics(ledger: Ledger, cell: Cell) -> dict[str, float]:
    result = ledger.result(cell.signature)
    assert result is not None
    return dict(result.metrics)


@pytest.mark.heavy
def test_two_at_once_share_the_cells_and_give_the_numbers_of_any_other_run(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=1, seeds=2, more=STAGE)
    storage = tmp_path / "storage"
    words = [sys.executable, "-c", WATCHED, "work", str(path), "--storage", str(storage)]
    both = [
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        )
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert all(output.splitlines()[-1] == "imported:" for output in outputs), outputs
    cells = cells_of(load_experiment(path))
    assert attempts(storage) == dict.fromkeys((cell.signature for cell in cells), 1)
    assert claimed(storage) == []
    ledger, alone = open_ledger(storage), open_ledger(tmp_path / "alone")
    remember(make_plan(load_experiment(path), alone), alone)
    for cell in sorted(cells, key=lambda cell: cell.start is not None)[:2]:  # a stage and a cell
        assert run_cell(task_of(cell, alone, "tiny")).kind == "done"
        assert metrics(ledger, cell) == metrics(alone, cell)
    code, output = supclap("work", path, "--storage", storage)
    assert code == 0
    assert "5 cells, 5 done, 0 to run" in output
    assert f"nothing is left to take; `supclap run {path}` prints the table" in output


@pytest.mark.heavy
def test_a_killed_process_is_replaced_and_a_killed_command_taken_over(
    tmp_path: Path,
) -> None:
    path = write_experiment(tmp_path, epochs=4000, seeds=1)
    storage = tmp_path / "storage"
    ledger = open_ledger(storage)

    def held() -> dict[str, int]:
        return {s: name.pid for s, name in ledger.overview().leases.items()}

    def resumable() -> bool:
        return any(any((storage / "cells" / s).glob("*/checkpoints")) for s in held())

    first = start("work", path, "--storage", storage)
    until(resumable, first)
    (pid,) = held().values()
    assert pid != first.pid
    psutil.Process(pid).kill()  # the cell's process: another is begun, for the next cell first
    until(lambda: {*held().values()} - {pid}, first)
    (pid,) = held().values()
    first.kill()  # the command: its cell's process ends by itself
    first.communicate()
    until(lambda: is_over(pid))
    second = start("work", path, "--storage", storage)
    until(resumable, second)
    (pid,) = held().values()
    second.terminate()  # as a scheduler does at the end of the time
    output = second.communicate()[0]
    assert second.returncode == INTERRUPTED, output
    assert "stopping: running cells keep their last checkpoint" in output
    assert claimed(storage) == []
    assert is_over(pid)
    assert not list(storage.glob("cells/*/failure.json"))


@pytest.mark.heavy
def test_a_loop_of_ones_own_reaches_the_process(tmp_path: Path) -> None:
    path = write_loop(tmp_path)
    code, output = supclap("work", path, "--storage", tmp_path / "storage", "--seed", "0")
    assert code == 0, output
    assert "runs your code: " in output
    states = open_ledger(tmp_path / "storage").overview().states
    assert set(states.values()) == {State.DONE}


def experiment(folder: Path, more: str = "", text: str = FILE) -> tuple[list[Cell], Ledger, Path]:
    path = folder / "e.yaml"
    path.write_text(text + more, encoding="utf-8")
    ledger = open_ledger(folder / "storage")
    remember(make_plan(load_experiment(path), ledger), ledger)
    return cells_of(load_experiment(path)), ledger, path


def tried(cell: Cell, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ending | None:
    """How the attempt ends that is over before a process begins; None where one would."""
    executor = WithoutRay(ledger, "shared")
    monkeypatch.setattr(executor, "_begin", lambda kind: setattr(executor, "_pipe", Silent()))
    executor.submit(cell)
    if executor._known is None:
        return None
    ((signature, ending),) = executor.wait(0)
    assert signature == cell.signature
    assert executor.room_for(cell)
    return ending


class Silent:
    def send(self, task: Task) -> None:
        assert task.resources.ray_train is False

    def close(self) -> None: ...


def test_what_others_did_since_the_plan_is_seen_before_a_cell_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, ledger, _ = experiment(tmp_path, "resources: {ray_train: true}\n")
    done, held, given_up, failed_long_ago = cells
    finish(ledger, done, {})
    lease = ledger.take(held.signature)
    assert lease is not None
    for cell, age in ((given_up, -1), (failed_long_ago, 3600)):
        fail(ledger, cell, "the loss is not finite")
        when = time.time() - age
        os.utime(tmp_path / "storage/cells" / cell.signature / "failure.json", (when, when))
    with lease:
        kinds = [tried(cell, ledger, monkeypatch) for cell in cells]
    assert [one and one.kind for one in kinds] == ["done", "busy", "busy", None]
    assert ledger.state(given_up.signature) is State.FAILED
    assert ledger.failure(failed_long_ago.signature) is None  # tried again, as by a run


class Stubborn:
    """A process that Ctrl-C does not end, as `multiprocessing` has one."""

    def __init__(self) -> None:
        self._own = subprocess.Popen(["sh", "-c", "trap '' INT; echo; exec sleep 60"], stdout=-1)
        assert self._own.stdout is not None
        self._own.stdout.read(1)
        self.pid = self._own.pid

    def join(self, seconds: float | None = None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._own.wait(seconds)

    def kill(self) -> None:
        self._own.kill()


@pytest.mark.heavy
def test_a_process_that_has_to_be_killed_leaves_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another host nobody could know for a minute that it is dead."""
    monkeypatch.setattr(module, "GRACE", 0.2)
    cells, ledger, _ = experiment(tmp_path)
    executor = WithoutRay(ledger, "shared")
    process = Stubborn()
    folder = ledger.cell(cells[0].signature)
    try:
        folder.write(str(LeaseName(LeaseName.own().host, process.pid, 1, "0")), b"{}")
        executor._process, executor._cell = process, cells[0]
        executor.cancel()
        assert is_over(process.pid)
    finally:
        process.kill()
    assert folder.names() == []


class Hanging:
    """A process that says nothing, and its pipe."""

    pid = 7

    def __init__(self) -> None:
        self.killed = False

    def poll(self, seconds: float) -> bool:
        return False

    def join(self, seconds: float | None = None) -> None:
        assert self.killed  # else the join would be waited for

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None: ...


@pytest.mark.parametrize("theirs", ["lease", "result"])
def test_a_process_that_hangs_is_not_waited_for_once_others_have_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.0)
    cells, ledger, _ = experiment(tmp_path)
    executor, process = WithoutRay(ledger, "shared"), Hanging()
    executor._process, executor._cell = process, cells[0]
    executor._pipe = cast(Any, process)
    folder = ledger.cell(cells[0].signature)
    own = LeaseName(LeaseName.own().host, process.pid, 1, "0001-00000000")
    monkeypatch.setattr(LeaseName, "gone", lambda lease: False)  # it is paused, no more
    folder.write(str(own), b"{}")
    assert [executor.wait(0) for _ in range(3)] == [[], [], []]  # it may be at work
    folder.delete_file(str(own))
    if theirs == "result":
        finish(ledger, cells[0], {})
    else:
        folder.write(str(LeaseName("elsewhere", 7, 1, "0002-00000000")), b"{}")
    assert executor.wait(0) == []
    assert not process.killed
    assert executor.wait(0) == [(cells[0].signature, Ending("busy"))]
    assert process.killed
    assert executor.room_for(cells[0])


def test_a_machine_that_lacks_what_every_cell_needs_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is quick: such a machine would else be through with all cells, as failed."""
    cells, ledger, _ = experiment(tmp_path)
    executor = WithoutRay(ledger, "shared")
    unfit = Ending("failed", "this node sees no storage", configuration=True, unfit=True)
    monkeypatch.setattr(executor, "_elsewhere", lambda signature: unfit)
    executor.submit(cells[0])
    with pytest.raises(InputError, match="this node sees no storage"):
        executor.wait(0)
    assert executor.room_for(cells[0])
    assert ledger.failure(cells[0].signature) is None


class AtOnce:
    """In the place of the process: each cell ends at once, as ``kinds`` says by row and seed."""

    def __init__(self, ledger: Ledger, experiment: str) -> None:
        self.ledger = ledger
        self.cell: Cell | None = None

    def room_for(self, cell: Cell) -> bool:
        return self.cell is None

    def places(self, cell: Cell) -> int:
        return 1

    def want(self, cells: list[Cell]) -> None: ...

    def why_nowhere(self, cell: Cell) -> str:
        return ""

    def waiting_for(self, cell: Cell) -> str:
        return ""

    def news(self) -> list[str]:
        return []

    def submit(self, cell: Cell) -> None:
        self.cell = cell

    def wait(self, seconds: float) -> list[tuple[str, Ending]]:
        cell, self.cell = self.cell, None
        if cell is None:
            return []
        RAN.append((cell.variant, cell.seed))
        if (cell.variant, cell.seed) in FAILING:
            return [(cell.signature, Ending("failed", "the loss is not finite"))]
        finish(
            self.ledger, cell, {"test.t2a.R@1": 40.0 + 5 * (cell.variant == "B") + cell.seed / 8}
        )
        return [(cell.signature, Ending("done"))]

    def cancel(self) -> None: ...

    def close(self) -> None: ...


RAN: list[tuple[str, int]] = []
FAILING: set[tuple[str, int]] = set()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "WithoutRay", AtOnce)
    RAN.clear()
    FAILING.clear()


def work(path: Path, *more: str) -> Result:
    words = ["work", str(path), "--storage", str(path.parent / "storage"), *more]
    return CliRunner().invoke(main, words)


@pytest.mark.usefixtures("at_once")
def test_seeds_are_added_look_by_look(tmp_path: Path) -> None:
    text = FILE.replace("seeds: 2", "seeds: {until: decided, looks: [3, 4, 5]}")
    *_, path = experiment(tmp_path, "claims: [B > A on t2a.R@1, A > B on t2a.mAP10]\n", text)
    done = work(path)
    assert done.exit_code == 0, done.output
    looks = [line for line in done.output.splitlines() if line.startswith("look ")]
    assert len(looks) >= 2, done.output
    assert looks[0] == "look 1 of 3: 0 of 2 claims decided, 6 cells to this look"
    assert sorted(RAN)[0] == ("A", 0)
    assert len(RAN) == len(set(RAN)) == 10


@pytest.mark.usefixtures("at_once")
def test_a_failed_cell_is_exit_code_1_and_no_other_is_lost(tmp_path: Path) -> None:
    *_, path = experiment(tmp_path)
    FAILING.add(("A", 1))
    done = work(path)
    assert done.exit_code == 1
    assert "failed: A, seed 1: the loss is not finite" in done.output
    assert sorted(RAN) == [("A", 0), ("A", 1), ("B", 0), ("B", 1)]
    RAN.clear()
    FAILING.clear()
    assert work(path).exit_code == 0
    assert RAN == [("A", 1)]


@pytest.mark.usefixtures("at_once")
def test_what_is_stale_is_left_and_said_as_a_run_does(tmp_path: Path) -> None:
    cells, ledger, path = experiment(tmp_path)
    for cell in cells:
        finish(ledger, cell, {"test.t2a.R@1": 40.0}, code="another")
    done = work(path)
    assert (done.exit_code, RAN) == (3, [])
    assert "stale: 4 of the 4 results are of earlier code" in done.output
    assert work(path, "--mixed").exit_code == 0


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "resources: {workers: 2}\n",
            "A, seed 0: its 2 data-parallel workers are started by",
        ),
        ("resources: {cpu: 4000}\n", "A, seed 0: its resources ask for 4000 CPU"),
        (
            "search: {space: {epochs: {integer: [1, 3]}}, objective: val.t2a.R@1, trials: 2}\n",
            "e.yaml: its search has not ended, and Ray Tune runs its trials",
        ),
    ],
)
def test_what_cannot_run_without_ray_is_one_line(tmp_path: Path, more: str, message: str) -> None:
    *_, path = experiment(tmp_path, more)
    done = work(path)
    assert (done.exit_code, RAN) == (2, [])
    (line,) = done.output.splitlines()
    assert message in line
