"""Progress of a run that this process drives, and of one that is watched from another shell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from supclap.progress import Doing
from supclap.wording import counted
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.bill import Costs
from supclap_platform.ledger.forecast import remaining
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status
from supclap_platform.ledger.records import Result
from supclap_platform.running.doing import WAITING
from supclap_platform.running.grid import Grid, Phase, Standing
from supclap_platform.running.progress import Progress, Reader, Running, running, seconds_left
from supclap_platform.running.progress import seconds_per_epoch as timed
from supclap_platform.running.spending import seconds_ahead, seconds_worked, spending
from supclap_platform.running.task import nested

LINES = 12  # running cells shown; more are counted
ENOUGH = 3  # finished cells of a shape that are timed


class Monitor:
    """Turns a grid's standings and the ledger's events into Progress."""

    def __init__(
        self, plan: Plan, grid: Grid, ledger: Ledger, at_once: int, claims: str = ""
    ) -> None:
        self.reader = Reader(ledger)
        self._grid = grid
        self._plan = plan
        self._costs = Costs(plan.experiment)
        self._title = title(plan.experiment)
        self._claims = claims  # how far they are, in words
        self._at_once = at_once
        self._began = time.monotonic()
        self._ledger = ledger
        self._shapes = {cell.signature: cell.shape for cell in plan.cells}
        self._epochs = _epochs_left(plan, ledger)
        self._finished = _finished(plan.cells, plan.results.values())
        self._timed: dict[str, float] = {}  # by shape, from cells at work

    def over(self, standing: Standing) -> None:
        """Notes a cell that has ended: the first ones of a shape say how long it takes."""
        cell = standing.cell
        self.reader.forget(cell.signature)
        known = self._finished.setdefault(self._shapes[cell.signature], [])
        if standing.phase is not Phase.DONE or len(known) >= ENOUGH:
            return
        whole = self._epochs.get(cell.signature) == cell.config.epochs
        if nested(cell.resources) and whole and standing.seconds:
            # Ray Train starts processes for every cell, which no event of it counts.
            known.append(standing.seconds / cell.config.epochs)
            return
        result = self._ledger.result(cell.signature)
        if result is not None:
            known.append(_per_epoch(result))

    def progress(self) -> Progress:
        """As it is now."""
        grid = self._grid
        active = [*grid.of(Phase.RUNNING), *grid.of(Phase.ELSEWHERE)]
        lines = [self._running(s, place < LINES) for place, s in enumerate(active)]
        to_come = [
            (s.cell, self._shapes[s.cell.signature], self._epochs[s.cell.signature])
            for s in grid.of(Phase.WAITING)
        ]
        waiting = [(form, epochs) for _, form, epochs in to_come]
        counts = Counter(str(standing.phase) for standing in grid.standings.values())
        _count_waiting(counts, lines)
        left = sum(not standing.over for standing in grid.standings.values())
        return Progress(
            title=self._title,
            look=look_line(self._claims, left),
            counts={phase: counts[phase] for phase in Phase if counts[phase]},
            running=tuple(lines),
            troubles=tuple(self._troubles()),
            seconds=time.monotonic() - self._began,
            seconds_left=seconds_left(waiting, lines, self._known, self._at_once),
            money=self._money(
                [(s.cell, one) for s, one in zip(active, lines, strict=True)], to_come
            ),
        )

    def _money(
        self,
        at_work: Sequence[tuple[Cell, Running]],
        waiting: Sequence[tuple[Cell, str, float]],
    ) -> str:
        """What the experiment has cost, and will; a cell that has ended here by its attempt."""
        if not self._costs:
            return ""
        ended = [(s.cell, s.seconds) for s in self._grid.of(Phase.DONE)]
        worked = [(cell, t) for cell, t in ended if cell.signature not in self._plan.results]
        worked += [(s.cell, self._grid.elapsed(s)) for s in self._grid.of(Phase.RUNNING)]
        ahead = seconds_ahead(at_work, waiting, self._known)
        return spending(self._costs, self._plan.cells, self._plan.results, worked, ahead)

    @property
    def _known(self) -> dict[str, float]:
        """Seconds per epoch by shape: as cells that have finished took, else as running ones do."""
        return self._timed | {s: sum(t) / len(t) for s, t in self._finished.items() if t}

    def _running(self, standing: Standing, shown: bool) -> Running:
        """A cell at work; what it is busy with is read only of those that are shown."""
        cell = standing.cell
        form = self._shapes[cell.signature]
        events = self.reader.events(cell.signature)
        waits = self._grid.waiting_for(standing)
        doing = Doing(waits, unit=WAITING) if waits else None
        if not waits and (shown or nested(cell.resources)):
            doing = self.reader.doing(cell.signature)
        pace = timed(events, doing)
        if pace is not None:
            self._timed[form] = pace
        times = self._finished.get(form)
        whole = sum(times) / len(times) * cell.config.epochs if times else None
        spent = self._grid.elapsed(standing)
        age = self.reader.age(cell.signature)
        metric = cell.method.shown(cell.config)
        return running(cell.label, events, metric, doing, whole, spent, age)

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


def _count_waiting(counts: Counter[str], lines: Iterable[Running]) -> None:
    """What was started and has nothing to run on yet is waiting, and not running."""
    waiting = sum(one.waits for one in lines)
    counts[Phase.RUNNING] -= waiting
    counts[Phase.WAITING] += waiting


def look_line(claims: str, left: int) -> str:
    """How far the claims are, and how many cells the look still lacks; empty without claims."""
    return f"{claims}, {counted(left, 'cell')} to this look" if claims else ""


def watch(
    plan: Plan, ledger: Ledger, reader: Reader, since: float | None, claims: str = ""
) -> Progress:
    """The progress of an experiment as the ledger alone shows it.

    Args:
        since: seconds since its driver began, None where it has none.
        claims: how far they are, where seeds are added until they are decided.
    """
    cells = list({cell.signature: cell for cell in reversed(plan.cells)}.values())[::-1]
    finished = _finished(plan.cells, plan.results.values())
    known: dict[str, float] = {}
    lines: list[Running] = []
    at_work: list[tuple[Cell, float]] = []
    for cell in cells:
        if plan.status(cell) is Status.RUNNING:
            form, events = cell.shape, reader.events(cell.signature)
            shown = len(lines) < LINES or nested(cell.resources)
            doing = reader.doing(cell.signature) if shown else None
            pace = timed(events, doing)
            if pace is not None:
                known[form] = pace
            times = finished.get(form)
            whole = sum(times) / len(times) * cell.config.epochs if times else None
            metric, age = cell.method.shown(cell.config), reader.age(cell.signature)
            lines.append(running(cell.label, events, metric, doing, whole, age=age))
            at_work.append((cell, seconds_worked(events) + age))
    known |= {form: sum(times) / len(times) for form, times in finished.items()}
    open_ = (Status.TO_RUN, Status.RESUMABLE)
    left = _epochs_left(plan, ledger)
    to_come = [(c, c.shape, left[c.signature]) for c in cells if plan.status(c) in open_]
    waiting = [(form, epochs) for _, form, epochs in to_come]
    active = [(cell, one) for (cell, _), one in zip(at_work, lines, strict=True)]
    ahead = seconds_ahead(active, to_come, known)
    troubles = []
    for cell in cells:
        failure = ledger.failure(cell.signature) if plan.status(cell) is Status.FAILED else None
        if failure is not None:
            troubles.append(f"failed: {cell.label}: {failure.error}")
    counts = Counter({str(status): plan.count(status) for status in Status})
    _count_waiting(counts, lines)
    left_over = sum(plan.count(status) for status in (*open_, Status.RUNNING, Status.FAILED))
    return Progress(
        title=title(plan.experiment),
        look=look_line(claims, left_over),
        counts={state: count for state, count in counts.items() if count},
        running=tuple(lines),
        troubles=tuple(troubles),
        seconds=since,
        seconds_left=seconds_left(waiting, lines, known, len(lines)) if lines else None,
        money=spending(Costs(plan.experiment), plan.cells, plan.results, at_work, ahead),
    )


def title(experiment: Experiment) -> str:
    """How an experiment under a profile is called in one line."""
    return f"{experiment.name} ({experiment.profile})"


def _finished(cells: Iterable[Cell], results: Iterable[Result]) -> dict[str, list[float]]:
    """Seconds per epoch of the finished cells, by shape."""
    found = {result.signature: result for result in results}
    times: dict[str, dict[str, float]] = {}
    for cell in cells:
        if cell.signature in found:
            one = times.setdefault(cell.shape, {})
            one[cell.signature] = _per_epoch(found[cell.signature])
    return {form: list(each.values()) for form, each in times.items()}


def _per_epoch(result: Result) -> float:
    return (result.setup_seconds + result.seconds) / result.epochs


def _epochs_left(plan: Plan, ledger: Ledger) -> dict[str, float]:
    """Epochs that each run of the plan still lacks; all of them but where it is resumable."""
    once = {cell.signature: cell for cell in plan.cells}
    return {s: c.config.epochs * remaining(plan, c, ledger) for s, c in once.items()}
