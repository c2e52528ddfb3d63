"""The driver's loop over a grid: cells under the live view, MLflow kept up to date beside it."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console

from supclap.errors import INTERRUPTED
from supclap.interruption import asked_to_end
from supclap.wording import counted
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.drivers import announce, drivers_of
from supclap_platform.ledger.kept_models import Freeing
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan
from supclap_platform.mirror.tracking import Tracker
from supclap_platform.running.cluster import RayLost
from supclap_platform.running.grid import Executor, Grid, Phase
from supclap_platform.running.monitor import Monitor
from supclap_platform.running.view import View

LOST = 1  # exit code of a run whose own Ray has died
SHOWN = 3  # other processes that are named; more are counted


class Runner(Executor, Protocol):
    """An executor that a loop can be driven with."""

    def places(self, cell: Cell) -> int:
        """How many cells like this one are worked on at once."""

    def want(self, cells: list[Cell]) -> None:
        """Says which cells wait or run, for a cluster that can grow."""

    def news(self) -> list[str]:
        """Lines on the machines that nobody has been given yet."""


def drive(
    plan: Plan,
    ledger: Ledger,
    executor: Runner,
    tracker: Tracker | None,
    console: Console,
    claims: str = "",
) -> int:
    """Runs what a plan has left under the live view; the exit code. ``claims``: how far they are,
    where seeds are added until they are decided. ``tracker``: None where MLflow is left to another.

    Ctrl-C, SIGTERM, SIGHUP and a request to stop end it with INTERRUPTED, an own Ray that has died
    with LOST: running cells keep their last checkpoint, and the same plan goes on from there.
    """
    name = plan.experiment.name
    others = drivers_of(ledger, name)
    grid = Grid(plan, ledger, executor)
    at_once = executor.places(plan.to_run[0]) if plan.to_run else 1
    monitor = Monitor(plan, grid, ledger, at_once, claims)
    models = Freeing(plan.experiment, ledger)
    with announce(ledger, name) as driver, View(console) as view:
        for text in _sharing(others):
            view.say(text)
        try:
            for news in grid.run():
                executor.want(_open(grid))
                for text in executor.news():
                    view.say(text, "yellow")
                for standing in news:
                    if standing.over:
                        monitor.over(standing)
                models.step(any(standing.over for standing in news))
                if view.due():
                    view.show(monitor.progress())
                if tracker is not None:
                    tracker.catch_up()
                if driver.lost or asked_to_end():
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            view.say("stopping: running cells keep their last checkpoint", "yellow")
            grid.stop()
            return _stopped(grid, console)
        except RayLost as lost:
            view.say(f"{lost}; running cells keep their last checkpoint", "bold red")
            _stopped(grid, console)
            return LOST
        finally:
            executor.want([])
    return _failures(grid, console)


def _sharing(others: list[LeaseName]) -> list[str]:
    """Who else runs it, in lines."""
    if len(others) > SHOWN:
        hosts = counted(len({other.host for other in others}), "host")
        return [f"{len(others)} processes on {hosts} run it too: sharing the cells"]
    return [f"process {o.pid} on {o.host_name} runs it too: sharing the cells" for o in others]


def say_unwritten(place: str, error: OSError, rest: str, console: Console) -> None:
    """Says that a run could not write down what it ends with; that needs no room itself.

    Args:
        rest: what is kept all the same, and what to do.
    """
    console.print(
        f"{place}: cannot be written: {error.strerror or error}; {rest}",
        style="bold red",
        markup=False,
        soft_wrap=True,
    )


def _open(grid: Grid) -> list[Cell]:
    return [s.cell for phase in (Phase.RUNNING, Phase.WAITING) for s in grid.of(phase)]


def _stopped(grid: Grid, console: Console) -> int:
    done = len(grid.of(Phase.DONE))
    console.print(
        f"stopped with {done} of {counted(len(grid.standings), 'cell')} done; the same command "
        "goes on",
        soft_wrap=True,
        markup=False,
    )
    return INTERRUPTED


def _failures(grid: Grid, console: Console) -> int:
    """Reports each cell that failed, with the end of its log; the exit code."""
    for standing in grid.of(Phase.FAILED):
        text = f"failed: {standing.cell.label}: {standing.error}"
        console.print()
        console.print(text, style="bold red", markup=False, soft_wrap=True)
        for line in standing.log:
            console.print(f"  | {line}", style="dim", markup=False, soft_wrap=True)
    for standing in grid.of(Phase.BLOCKED):
        text = f"{standing.cell.label}: {standing.error}"
        console.print(text, style="red", markup=False, soft_wrap=True)
    return 1 if grid.of(Phase.FAILED) or grid.of(Phase.BLOCKED) else 0
