"""The driver's loop, without Ray: an executor that does what each case tells it to."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Plan, make_plan
from supclap_platform.ledger.records import State
from supclap_platform.running.ending import Ending
from supclap_platform.running.grid import BACK_OFF, Grid, Phase
from supclap_platform.testing import finish

from supclap.events import EpochEnded, to_line
from supclap.run_files import events_file

CODE = "code-a"
FILE = """
experiment: small
base: {epochs: 2}
variants:
  A: {}
  B: {loss.svr: {sides: both}}
seeds: 2
"""
STAGED = FILE + "init: {base: {epochs: 1}}\n"

Act = Callable[[Cell, int], Ending]  # a cell and the number of its attempt


class Fake:
    """Runs each cell the moment it is waited for; ``act`` says how the attempt ends."""

    def __init__(self, ledger: Ledger, act: Act, places: int = 2) -> None:
        self.ledger = ledger
        self.act = act
        self.places = places
        self.now = 0.0
        self.running: list[Cell] = []
        self.attempts: list[tuple[str, float]] = []  # signature, when
        self.most = 0
        self.cancelled = False

    def room_for(self, cell: Cell) -> bool:
        return len(self.running) < self.places

    def submit(self, cell: Cell) -> None:
        self.running.append(cell)
        self.most = max(self.most, len(self.running))
        self.attempts.append((cell.signature, self.now))

    def waiting_for(self, cell: Cell) -> str:
        return ""

    def why_nowhere(self, cell: Cell) -> str:
        return ""

    def wait(self, seconds: float) -> list[tuple[str, Ending]]:
        self.now += seconds
        if not self.running:
            return []
        cell = self.running.pop(0)
        number = sum(signature == cell.signature for signature, _ in self.attempts)
        ending = self.act(cell, number)
        if ending.kind == "done" and self.ledger.state(cell.signature) is not State.DONE:
            finish(self.ledger, cell, {}, code=CODE)
        return [(cell.signature, ending)]

    def cancel(self) -> None:
        self.cancelled = True


def done(cell: Cell, number: int) -> Ending:
    return Ending("done")


def planned(tmp_path: Path, text: str = FILE) -> tuple[Plan, Ledger]:
    path = tmp_path / "small.yaml"
    path.write_text(text, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage")
    return make_plan(load_experiment(path), ledger, lambda _: CODE), ledger


def finished(plan: Plan, ledger: Ledger, fake: Fake) -> Grid:
    grid = Grid(plan, ledger, fake, clock=lambda: fake.now)
    for _ in grid.run():
        pass
    return grid


def test_every_cell_runs_once_and_no_more_at_once_than_there_is_room(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path)
    fake = Fake(ledger, done)
    grid = finished(plan, ledger, fake)
    assert [signature for signature, _ in fake.attempts] == [c.signature for c in plan.cells]
    assert fake.most == 2
    assert len(grid.of(Phase.DONE)) == 4


def test_cells_of_one_world_run_one_after_the_other_and_each_after_its_stage(
    tmp_path: Path,
) -> None:
    seeds = "{until: decided, looks: [2], vary: [stage, world]}\nclaims: [A > B on t2a.R@1]"
    plan, ledger = planned(tmp_path, STAGED.replace("seeds: 2", f"seeds: {seeds}"))
    fake = Fake(ledger, done, places=1)
    finished(plan, ledger, fake)
    cells = {cell.signature: cell for cell in plan.cells}
    ran = [(cells[s].variant, cells[s].seed) for s, _ in fake.attempts]
    assert ran == [("init", 0), ("init", 1), ("A", 0), ("B", 0), ("A", 1), ("B", 1)]
    assert [(c.variant, c.seed) for c in plan.cells] != ran  # row by row, as the plan shows them


def test_only_what_is_not_finished_is_run(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path)
    for cell in plan.cells[1:3]:
        finish(ledger, cell, {}, code=CODE)
    plan, ledger = planned(tmp_path)
    fake = Fake(ledger, done)
    finished(plan, ledger, fake)
    left = (plan.cells[0], plan.cells[3])
    assert [signature for signature, _ in fake.attempts] == [cell.signature for cell in left]


def test_a_crash_is_retried_after_growing_pauses_and_forgotten_when_it_works(
    tmp_path: Path,
) -> None:
    plan, ledger = planned(tmp_path)
    unlucky = plan.cells[0].signature

    def act(cell: Cell, number: int) -> Ending:
        crash = cell.signature == unlucky and number <= 2
        return Ending("crashed", "killed") if crash else Ending("done")

    fake = Fake(ledger, act)
    grid = finished(plan, ledger, fake)
    times = [when for signature, when in fake.attempts if signature == unlucky]
    pauses = [after - before for before, after in pairwise(times)]
    assert len(times) == 3
    assert pauses[0] >= BACK_OFF[0]
    assert pauses[1] >= 2 * BACK_OFF[0]
    assert len(grid.of(Phase.DONE)) == 4
    assert ledger.failure(unlucky) is None


def test_a_cell_that_always_crashes_fails_after_max_failures_and_stops_no_other(
    tmp_path: Path,
) -> None:
    plan, ledger = planned(tmp_path)
    unlucky = plan.cells[0]

    def act(cell: Cell, number: int) -> Ending:
        if cell is unlucky:
            ledger.folder(cell.signature).write("log.txt", b"first line\nlast line\n")
            return Ending("crashed", "the process of the cell ended")
        return Ending("done")

    fake = Fake(ledger, act)
    grid = finished(plan, ledger, fake)
    attempts = sum(signature == unlucky.signature for signature, _ in fake.attempts)
    failure = ledger.failure(unlucky.signature)
    assert attempts == 1 + unlucky.resources.max_failures
    assert failure is not None
    assert failure.attempts == attempts
    assert failure.log == ("first line", "last line")
    assert [s.cell for s in grid.of(Phase.FAILED)] == [unlucky]
    assert len(grid.of(Phase.DONE)) == 3


def test_a_mistake_in_the_configuration_is_not_tried_again(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path)

    def act(cell: Cell, number: int) -> Ending:
        if cell is plan.cells[0]:
            return Ending("failed", "data.folder: no such folder", configuration=True)
        return Ending("done")

    fake = Fake(ledger, act)
    finished(plan, ledger, fake)
    failure = ledger.failure(plan.cells[0].signature)
    assert len(fake.attempts) == 4
    assert failure is not None
    assert failure.configuration


def test_what_is_stale_is_kept_until_it_can_be_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage", writing=True)
    cells = make_plan(load_experiment(path), ledger).cells
    finish(ledger, cells[0], {"test.t2a.R@1": 1.0}, code="an older one")
    options = ["--storage", str(tmp_path / "storage"), "--rerun-stale"]
    ran = CliRunner().invoke(main, ["run", str(path), *options, "--address", "127.0.0.1:1"])
    assert ran.exit_code == 2
    assert "nothing answers there" in ran.output
    assert ledger.result(cells[0].signature) is not None


def test_a_failed_cell_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path)
    ledger.record_failure(plan.cells[0].signature, "diverged")
    plan, ledger = planned(tmp_path)
    grid = finished(plan, ledger, Fake(ledger, done))
    assert len(grid.of(Phase.DONE)) == 4
    assert ledger.failure(plan.cells[0].signature) is None


def test_a_crash_after_the_result_was_written_is_no_crash(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path)

    def act(cell: Cell, number: int) -> Ending:
        finish(ledger, cell, {}, code=CODE)
        return Ending("crashed", "killed")

    fake = Fake(ledger, act)
    grid = finished(plan, ledger, fake)
    assert len(fake.attempts) == 4
    assert len(grid.of(Phase.DONE)) == 4


def test_cells_wait_for_their_stage_and_are_not_run_when_it_fails(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path, STAGED)
    fake = Fake(ledger, done, places=9)
    finished(plan, ledger, fake)
    stage = next(cell for cell in plan.cells if cell.start is None)
    times = dict(fake.attempts)
    assert fake.attempts[0][0] == stage.signature
    assert all(times[c.signature] > times[stage.signature] for c in plan.cells if c.start)

    ledger.discard(stage.signature)
    for cell in plan.cells:
        ledger.discard(cell.signature)
    fake = Fake(ledger, lambda cell, number: Ending("failed", "diverged"))
    grid = finished(plan, ledger, fake)
    assert [signature for signature, _ in fake.attempts] == [stage.signature]
    assert len(grid.of(Phase.BLOCKED)) == 4


def test_a_cell_of_another_process_is_waited_for_and_taken_over_when_that_is_gone(
    tmp_path: Path,
) -> None:
    plan, ledger = planned(tmp_path)
    theirs, abandoned = plan.cells[:2]
    lease = ledger.take(theirs.signature)
    other = ledger.take(abandoned.signature)
    assert lease is not None
    assert other is not None

    def act(cell: Cell, number: int) -> Ending:
        if cell is plan.cells[3]:  # meanwhile the other process finishes one and leaves the other
            finish(ledger, theirs, {}, code=CODE)
            lease.release()
            other.release()
        return Ending("done")

    plan, ledger = planned(tmp_path)
    theirs, abandoned = plan.cells[:2]
    fake = Fake(ledger, act)
    grid = finished(plan, ledger, fake)
    ran = [signature for signature, _ in fake.attempts]
    assert theirs.signature not in ran
    assert ran[-1] == abandoned.signature
    assert len(grid.of(Phase.DONE)) == 4


def test_a_cell_that_turns_out_to_be_taken_is_left_to_the_other(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path)

    def act(cell: Cell, number: int) -> Ending:
        if cell is plan.cells[0]:
            finish(ledger, cell, {}, code=CODE)
            return Ending("busy")
        return Ending("done")

    fake = Fake(ledger, act)
    grid = finished(plan, ledger, fake)
    assert len(fake.attempts) == 4
    assert len(grid.of(Phase.DONE)) == 4


def test_stopping_ends_what_runs(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path)
    fake = Fake(ledger, done)
    grid = Grid(plan, ledger, fake, clock=lambda: fake.now)
    next(grid.run())
    grid.stop()
    assert fake.cancelled


def test_the_loss_of_a_machine_counts_only_where_the_cell_has_not_come_further(
    tmp_path: Path,
) -> None:
    plan, ledger = planned(tmp_path, FILE.replace("seeds: 2", "seeds: 1"))
    first = plan.cells[0].signature

    def act(cell: Cell, number: int) -> Ending:
        if cell.signature != first:  # it ends every machine at the same place
            return Ending("lost", "its machine is gone")
        if number > 6:
            return Ending("done")
        ended = [EpochEnded(epoch + 1, 1, 1.0) for epoch in range(number)]
        content = events_file(map(to_line, ended))
        ledger.folder(cell.signature).write("events.jsonl", content)
        return Ending("lost", "its machine is gone")

    fake = Fake(ledger, act)
    grid = finished(plan, ledger, fake)
    (done,), (failed,) = grid.of(Phase.DONE), grid.of(Phase.FAILED)
    assert (done.cell.signature, done.attempts) == (first, 0)
    assert failed.attempts == failed.cell.resources.max_failures + 1
    assert failed.error == "its machine is gone"


def test_a_cell_that_is_moved_is_tried_again_at_once_and_charged_nothing(tmp_path: Path) -> None:
    plan, ledger = planned(tmp_path, FILE.replace("seeds: 2", "seeds: 1"))
    fake = Fake(ledger, lambda _, number: Ending("moved" if number < 9 else "done", "no storage"))
    grid = finished(plan, ledger, fake)
    assert [(s.attempts, s.error) for s in grid.of(Phase.DONE)] == [(0, ""), (0, "")]
    assert fake.now < BACK_OFF[0] * 20


def test_a_cell_that_no_machine_can_run_fails_with_every_reason_and_stops_no_other(
    tmp_path: Path,
) -> None:
    plan, ledger = planned(tmp_path)

    class Picky(Fake):
        def why_nowhere(self, cell: Cell) -> str:
            return "no node can run it: one: no data" if cell.variant == "A" else ""

    fake = Picky(ledger, done)
    grid = finished(plan, ledger, fake)
    assert {s.cell.variant for s in grid.of(Phase.DONE)} == {"B"}
    assert [s.error for s in grid.of(Phase.FAILED)] == 2 * ["no node can run it: one: no data"]
    assert ledger.failure(plan.cells[0].signature).configuration
