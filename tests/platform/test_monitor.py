"""The time that is left, against cells of a known length on a clock of our own; what a cell notes
of its steps; the time that `supclap status` shows."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.drivers import announce
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan
from supclap_platform.running import doing as doing_module
from supclap_platform.running.doing import FILE, doing_in, noted, waiting
from supclap_platform.running.ending import Ending
from supclap_platform.running.grid import Grid, Phase
from supclap_platform.running.machine import seats
from supclap_platform.running.monitor import Monitor, watch
from supclap_platform.running.progress import Progress, Reader
from supclap_platform.running.view import line

from supclap.events import EpochEnded, Finished, Started
from supclap.progress import STEPS, Doing, activity
from supclap.run_files import events_file, result_file
from supclap.storage import Folder

EXPERIMENT = """
experiment: small
base: {epochs: 4}
variants:
  A: {}
  B: {loss.svr: {sides: both}}
seeds: 4
"""
STEPS_PER_EPOCH = 10


class Simulated:
    """Cells that take so long: setup, epochs, last measurement, in seconds of a false clock."""

    def __init__(
        self,
        ledger: Ledger,
        setup: float,
        epoch: float,
        end: float,
        places: int,
        measuring: float = 0.0,
    ) -> None:
        self.ledger, self.places, self.now = ledger, places, 0.0
        self.training = 1 - measuring  # the share of an epoch that is steps
        self.setup, self.epoch, self.end = setup, epoch, end
        self.began: dict[str, float] = {}
        self.cells: dict[str, Cell] = {}

    def room_for(self, cell: Cell) -> bool:
        return len(self.began) < self.places

    def submit(self, cell: Cell) -> None:
        self.began[cell.signature], self.cells[cell.signature] = self.now, cell

    def cancel(self) -> None:
        raise AssertionError

    def waiting_for(self, cell: Cell) -> str:
        return ""

    def why_nowhere(self, cell: Cell) -> str:
        return ""

    def wait(self, seconds: float) -> list[tuple[str, Ending]]:
        self.now += max(seconds, self.epoch / 10)
        over = [s for s in self.began if self._report(s, self.now - self.began[s])]
        for signature in over:
            del self.began[signature]
        return [(signature, Ending("done")) for signature in over]

    def _report(self, signature: str, age: float) -> bool:
        """Writes what a cell of that age has reported; whether it is finished."""
        epochs = self.cells[signature].config.epochs
        started = Started({}, "c", "d", 1, epochs, STEPS_PER_EPOCH, 1, setup_seconds=self.setup)
        training = age - self.setup
        folder = self.ledger.folder(signature)
        if training < 0:
            return False
        ended = min(epochs, int(training / self.epoch))
        events = [EpochEnded(e + 1, 0, self.epoch) for e in range(ended)]
        lines = [started, *events]
        folder.write("events.jsonl", events_file(map(_line, lines)))
        part = training - ended * self.epoch
        steps = self.training * self.epoch  # seconds
        if part < steps and ended < epochs:
            step = int(part / steps * STEPS_PER_EPOCH)
            seconds = step * steps / STEPS_PER_EPOCH  # when that step ended
            doing = Doing(f"epoch {ended + 1}/{epochs}", step, STEPS_PER_EPOCH, STEPS, seconds)
        else:
            doing = Doing("measuring", 1, 10, "captions", 0.1)
        folder.write(FILE, json.dumps(asdict(doing)).encode())
        if training < epochs * self.epoch + self.end:
            return False
        finished = Finished(1, 1, epochs * self.epoch + self.end)
        folder.write("result.json", result_file(started, finished))
        return True


def _line(event: Started | EpochEnded) -> str:
    from supclap.events import to_line

    return to_line(event)


def simulate(
    tmp_path: Path,
    text: str,
    setup: float,
    epoch: float,
    end: float,
    places: int,
    measuring: float = 0.0,
) -> Iterator[tuple[float, Progress, Grid]]:
    path = tmp_path / "small.yaml"
    path.write_text(text, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage")
    plan = make_plan(load_experiment(path), ledger, lambda _: "code")
    executor = Simulated(ledger, setup, epoch, end, places, measuring)
    grid = Grid(plan, ledger, executor, clock=lambda: executor.now)
    monitor = Monitor(plan, grid, ledger, places)
    monitor.reader = Reader(ledger, every=0.0, clock=lambda: executor.now)
    for news in grid.run():
        for standing in news:
            if standing.over:
                monitor.over(standing)
        yield executor.now, monitor.progress(), grid


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("setup", "epoch", "end", "places", "measuring"),
    [
        (1.0, 5.0, 2.0, 1, 0.0),
        (1.0, 5.0, 2.0, 2, 0.0),
        (3.0, 1.0, 3.0, 2, 0.0),  # most of a cell is before and after its training
        (0.0, 20.0, 0.0, 3, 0.0),  # 8 cells in three places: 3 + 3 + 2
        (1.0, 5.0, 8.0, 2, 0.5),  # half of an epoch, and a quarter of a cell, is measuring
    ],
)
def test_the_time_left_is_right_within_30_percent_after_the_first_cell(
    tmp_path: Path, setup: float, epoch: float, end: float, places: int, measuring: float
) -> None:
    looks = []
    cells = simulate(tmp_path, EXPERIMENT, setup, epoch, end, places, measuring)
    for now, progress, grid in cells:
        if grid.of(Phase.DONE) and grid.of(Phase.RUNNING):
            looks.append((now, progress.seconds_left))
    total = now
    assert len(looks) > 10
    for at, left in looks:
        assert left is not None
        assert left >= 1.0
        assert left == pytest.approx(total - at, rel=0.3, abs=2.0), at


@pytest.mark.heavy
def test_what_was_spent_and_what_is_to_come_are_the_whole(tmp_path: Path) -> None:
    """One core at 3,600 an hour is 1 a second, so that 8 cells of 23 s cost 184."""
    looks = []
    text = EXPERIMENT + "prices: {cpu: 3600, currency: €}\n"
    for _, progress, grid in simulate(tmp_path, text, 1.0, 5.0, 2.0, 2):
        if grid.of(Phase.DONE) and grid.of(Phase.RUNNING):
            amounts = [float(one) for one in re.findall(r"€([\d.]+)", progress.money)]
            assert progress.money == "€{:.2f} so far, about €{:.2f} to come".format(*amounts)
            looks.append(amounts)
    assert len(looks) > 10
    assert all(before[0] <= after[0] for before, after in pairwise(looks))
    for spent, ahead in looks:
        assert spent + ahead == pytest.approx(184, rel=0.15)
    assert looks[0][0] == pytest.approx(2 * 23, abs=5)


@pytest.mark.heavy
def test_before_the_first_cell_has_ended_its_steps_give_an_estimate(tmp_path: Path) -> None:
    looks = []
    for now, progress, grid in simulate(tmp_path, EXPERIMENT, 1.0, 20.0, 4.0, 2):
        if not grid.of(Phase.DONE):
            looks.append((now, progress.seconds_left))
    total = 4 * (1.0 + 4 * 20.0 + 4.0)
    assert looks[0][1] is None
    timed = [(now, left) for now, left in looks if now > 5.0]
    for now, left in timed:
        assert left == pytest.approx(total - now, rel=0.3)


def test_a_resumed_cell_counts_for_the_epochs_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT.replace("seeds: 4", "seeds: 1"), encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage")
    first, second = make_plan(load_experiment(path), ledger, lambda _: "code").cells
    executor = Simulated(ledger, 0.0, 5.0, 0.0, 1)
    executor.submit(first)
    executor.wait(20.0)
    folder = ledger.folder(second.signature)
    folder.write("checkpoints/latest.json", b"{}")
    folder.write("events.jsonl", events_file([_line(EpochEnded(3, 0, 5.0))]))
    plan = make_plan(load_experiment(path), ledger, lambda _: "code")
    grid = Grid(plan, ledger, executor)
    assert Monitor(plan, grid, ledger, 1).progress().seconds_left == pytest.approx(5.0)


@pytest.mark.heavy
def test_a_cell_notes_its_steps_seldom_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doing_module, "FIRST", {True: 0.2, False: 0.2})
    monkeypatch.setattr(doing_module, "EVERY", {True: 0.4, False: 0.4})
    folder = Folder.at(tmp_path)
    written: list[float] = []
    write = Folder.write

    def counted(self: Folder, name: str, content: bytes) -> None:
        written.append(time.monotonic())
        write(self, name, content)

    monkeypatch.setattr(Folder, "write", counted)
    began = time.monotonic()
    seen: set[str] = set()
    with noted(folder), activity("epoch 1/1", 2000, STEPS) as done:
        for step in range(2000):  # a thousand a second
            done(step)
            time.sleep(0.001)
            found = doing_in(folder)
            seen |= {found.what} if found else set()
    seconds = time.monotonic() - began
    assert seen == {"epoch 1/1"}
    assert 2 <= len(written) <= seconds / 0.4 + 2
    assert not folder.exists(FILE)
    assert doing_in(folder) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"what": 1', b"\xff" * 9, b"null"])
def test_a_damaged_note_is_no_note(tmp_path: Path, content: bytes) -> None:
    folder = Folder.at(tmp_path)
    folder.write(FILE, content)
    assert doing_in(folder) is None


def test_a_note_of_other_kinds_is_no_note(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    good = {"what": "epoch 1/2", "done": 1, "total": 2, "unit": STEPS, "seconds": 0.5}
    folder.write(FILE, json.dumps(good).encode())
    assert doing_in(folder) == Doing("epoch 1/2", 1, 2, STEPS, 0.5)
    folder.write(FILE, json.dumps({**good, "total": "2"}).encode())
    assert doing_in(folder) is None


def test_status_shows_since_when_the_driver_runs(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage", writing=True)

    def status() -> str:
        arguments = ["status", str(path), "--storage", str(tmp_path / "storage")]
        return CliRunner().invoke(main, arguments, catch_exceptions=False).output

    idle = status().splitlines()
    assert idle[0].rstrip() == "small (laptop)"
    assert idle[-1] == "nobody drives it now"
    with announce(ledger, "small") as lease:
        mine = lease.name
    # A driver of another machine that began two minutes ago, and none of this process, whose own
    # start is that of the whole suite.
    began = time.time() - 123
    other = replace(mine, host="elsewhere", born=round(began * 1000))
    ledger.experiment_folder("small").below("drivers").write(str(other), b"{}")
    output = status()
    minutes, seconds = map(int, re.findall(r"   (\d+) min (\d+) s", output.splitlines()[0])[0])
    assert 122 <= 60 * minutes + seconds <= time.time() - began + 1
    assert f"driven by process {os.getpid()} on elsewhere" in output


class Queued(Simulated):
    """Ray has no room for any cell but the first."""

    def waiting_for(self, cell: Cell) -> str:
        return "1 CPU, 1 GPU" if cell.seed else ""


def test_what_waits_for_resources_is_called_waiting_with_what_it_waits_for(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage")
    plan = make_plan(load_experiment(path), ledger, lambda _: "code")
    grid = Grid(plan, ledger, Queued(ledger, 1.0, 1.0, 1.0, places=3), clock=lambda: 0.0)
    next(iter(grid.run()))
    progress = Monitor(plan, grid, ledger, 3).progress()
    assert progress.counts == {"waiting": 7, "running": 1}  # of eight: three were started
    assert [one.state for one in progress.running] == ["starting"] + 2 * [
        "waiting for 1 CPU, 1 GPU"
    ]
    assert "A, seed 1: waiting for 1 CPU, 1 GPU" in line(progress)


def test_workers_that_wait_for_their_seats_are_waiting_from_any_shell(tmp_path: Path) -> None:
    """The trial holds the cell's lease and has begun; its workers have not."""
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT + "resources: {workers: 2, gpu: 1}\n", encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage")
    experiment = load_experiment(path)
    cell = make_plan(experiment, ledger).cells[0]

    def states() -> tuple[dict[str, int], list[str]]:
        plan = make_plan(experiment, ledger, lambda _: "code")
        seen = watch(plan, ledger, Reader(ledger, every=0.0), None)
        return dict(seen.counts), [one.state for one in seen.running]

    with ledger.take(cell.signature):
        with waiting(ledger.folder(cell.signature), seats(cell.resources)):
            assert states() == (
                {"to run": 7, "waiting": 1},
                ["waiting for 2 x (1 CPU, 1 GPU)"],
            )
        assert states() == ({"to run": 7, "running": 1}, ["starting"])
