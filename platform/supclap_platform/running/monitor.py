"""Progress of a run that this process drives, and of one that is watched from another shell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from supclap.config import RunConfig
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.ledger import Ledger, Result
from supclap_platform.ledger.plan import Plan, Status, shape
from supclap_platform.running.grid import Grid, Phase
from supclap_platform.running.progress import Progress, Reader, Running, running, seconds_left
from supclap_platform.running.progress import seconds_per_epoch as timed


class Monitor:
    """Turns a grid's standings and the ledger's events into Progress."""

    def __init__(self, plan: Plan, grid: Grid, ledger: Ledger, at_once: int) -> None:
        self.reader = Reader(ledger)
        self._grid = grid
        self._title = title(plan.experiment)
        self._at_once = at_once
        self._began = time.monotonic()
        self._known = _known(plan.cells, plan.results.values())
        self._shapes = {cell.signature: shape(cell) for cell in plan.cells}

    def progress(self) -> Progress:
        """As it is now."""
        grid = self._grid
        active = [*grid.of(Phase.RUNNING), *grid.of(Phase.ELSEWHERE)]
        lines = [self._running(standing.cell) for standing in active]
        waiting = [
            (self._shapes[s.cell.signature], s.cell.config.epochs) for s in grid.of(Phase.WAITING)
        ]
        counts = Counter(standing.phase for standing in grid.standings.values())
        return Progress(
            title=self._title,
            counts={str(phase): counts[phase] for phase in Phase if counts[phase]},
            running=tuple(lines),
            troubles=tuple(self._troubles()),
            seconds=time.monotonic() - self._began,
            seconds_left=seconds_left(waiting, lines, self._known, self._at_once),
        )

    def _running(self, cell: Cell) -> Running:
        events = self.reader.events(cell.signature)
        pace = timed(events)
        if pace is not None:
            self._known[self._shapes[cell.signature]] = pace
        return running(cell.label, events, watched_metric(cell.config))

    def _troubles(self) -> Iterable[str]:
        for standing in self._grid.of(Phase.WAITING):
            if standing.attempts:
                allowed = standing.cell.resources.max_failures
                yield (
                    f"{standing.cell.label}: {standing.error}; trying again "
                    f"({standing.attempts} of {allowed})"
                )
        for phase in (Phase.FAILED, Phase.BLOCKED):
            for standing in self._grid.of(phase):
                yield f"failed: {standing.cell.label}: {standing.error}"


def watch(plan: Plan, ledger: Ledger, reader: Reader, since: float) -> Progress:
    """The progress of an experiment as the ledger alone tells it."""
    cells = list({cell.signature: cell for cell in reversed(plan.cells)}.values())[::-1]
    known = _known(plan.cells, plan.results.values())
    lines = []
    for cell in cells:
        if plan.status(cell) is Status.RUNNING:
            events = reader.events(cell.signature)
            pace = timed(events)
            if pace is not None:
                known[shape(cell)] = pace
            lines.append(running(cell.label, events, watched_metric(cell.config)))
    open_ = (Status.TO_RUN, Status.RESUMABLE)
    waiting = [(shape(c), c.config.epochs) for c in cells if plan.status(c) in open_]
    troubles = []
    for cell in cells:
        failure = ledger.failure(cell.signature) if plan.status(cell) is Status.FAILED else None
        if failure is not None:
            troubles.append(f"failed: {cell.label}: {failure.error}")
    return Progress(
        title=title(plan.experiment),
        counts={str(status): plan.count(status) for status in Status if plan.count(status)},
        running=tuple(lines),
        troubles=tuple(troubles),
        seconds=since,
        seconds_left=seconds_left(waiting, lines, known, len(lines)) if lines else None,
    )


def title(experiment: Experiment) -> str:
    """How an experiment under a profile is called in one line."""
    return f"{experiment.name} ({experiment.profile})"


def watched_metric(config: RunConfig) -> str:
    """The metric shown while a cell runs: the one that its best epoch is chosen by."""
    split = config.select.split
    if split == "last":
        return "train.loss"
    return f"{split}.{config.select.metric}"


def _known(cells: Iterable[Cell], results: Iterable[Result]) -> dict[str, float]:
    found = {result.signature: result for result in results}
    return {
        shape(cell): found[cell.signature].seconds / found[cell.signature].epochs
        for cell in cells
        if cell.signature in found
    }
