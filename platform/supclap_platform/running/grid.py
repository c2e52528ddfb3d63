"""The driver's loop over the cells of a plan: start what is ready, retry what crashed, go on.

It knows nothing of Ray: an executor runs the cells, the ledger says what is finished. A failed
cell never stops the others; a cell that another process works on is waited for, and taken over
when that process is gone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status
from supclap_platform.ledger.records import State
from supclap_platform.running.ending import Ending

TICK = 0.5  # seconds without news after which the view is shown anew
LOOK_ELSEWHERE = 5.0  # seconds between looks at cells that other processes run
BACK_OFF = (1.0, 60.0)  # seconds before the first retry, doubled for each further one; at most


class Executor(Protocol):
    """What runs cells."""

    def room_for(self, cell: Cell) -> bool:
        """Whether a cell's resources are free now."""

    def why_nowhere(self, cell: Cell) -> str:
        """Why no machine can run a cell, each having been tried; empty where one may."""

    def submit(self, cell: Cell) -> None: ...

    def waiting_for(self, cell: Cell) -> str:
        """What a submitted cell waits for, in words; empty once a process works on it."""

    def wait(self, seconds: float) -> list[tuple[str, Ending]]:
        """Attempts that have ended, by signature; waits so long for the first."""

    def cancel(self) -> None:
        """Stops every running cell in a way that it can go on from."""


class Phase(StrEnum):
    """Where a cell stands in this run."""

    WAITING = "waiting"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"  # another process works on it
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"  # the stage that it starts from failed


@dataclass
class Standing:
    """One run of the grid and how it fares. Cells with equal signatures share it."""

    cell: Cell
    phase: Phase
    attempts: int = 0  # that ended without a result
    not_before: float = 0.0  # on the grid's clock
    since: float = 0.0  # when its attempt began
    seconds: float = 0.0  # that its last attempt took
    reported: int = 0  # events, when a machine was lost last
    error: str = ""
    log: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        return self.phase in (Phase.DONE, Phase.FAILED, Phase.BLOCKED)


class Grid:
    """The cells of a plan on their way."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.standings = {
            cell.signature: Standing(cell, _phase(plan.status(cell)))
            for cell in reversed(plan.cells)  # of cells that share a run the first gives its name
        }
        for signature, status in plan.statuses.items():
            if status is Status.DAMAGED:
                self.standings[signature].error = str(ledger.damage_of(signature))
        self._ledger = ledger
        self._executor = executor
        self._clock = clock
        self._looked = -LOOK_ELSEWHERE
        each = dict.fromkeys(cell.signature for cell in plan.cells)
        self._order = _in_order(self.standings[signature].cell for signature in each)
        self._failed_before = {s for s, status in plan.statuses.items() if status is Status.FAILED}

    def run(self) -> Iterator[list[Standing]]:
        """Runs the grid; yields what has changed, at least every `TICK`, until all is over.

        The caller may stop at any point; `stop` then ends what still runs.
        """
        while True:
            news = [*self._look_elsewhere(), *self._block(), *self._start()]
            yield news
            if all(standing.over for standing in self.standings.values()):
                return
            ended = self._executor.wait(TICK)
            news = [self._end(self.standings[s], ending) for s, ending in ended]
            if news:
                yield news

    def stop(self) -> None:
        """Ends what still runs; every cell can go on later from its last checkpoint."""
        self._executor.cancel()

    def of(self, phase: Phase) -> list[Standing]:
        """The runs in a phase, in the plan's order."""
        return [s for s in (self.standings[name] for name in self._order) if s.phase is phase]

    def waiting_for(self, standing: Standing) -> str:
        """What a cell that was started here waits for, in words; empty once it is at work."""
        if standing.phase is not Phase.RUNNING:
            return ""
        return self._executor.waiting_for(standing.cell)

    def elapsed(self, standing: Standing) -> float:
        """Seconds since a running cell's attempt began here; 0 of any other cell."""
        return self._clock() - standing.since if standing.phase is Phase.RUNNING else 0.0

    def _start(self) -> list[Standing]:
        now = self._clock()
        started = []
        for signature in self._order:
            standing = self.standings[signature]
            if standing.phase is not Phase.WAITING or standing.not_before > now:
                continue
            stage = self.standings.get(standing.cell.start or "")
            if stage is not None and stage.phase is not Phase.DONE:
                continue
            why = self._executor.why_nowhere(standing.cell)
            if why:
                self._end(standing, Ending("failed", why, configuration=True))
                started.append(standing)
                continue
            # In order: a cell that needs much room would else wait as long as small ones come.
            if not self._executor.room_for(standing.cell):
                break
            if signature in self._failed_before:
                self._ledger.clear_failure(signature)
                self._failed_before.discard(signature)
            self._executor.submit(standing.cell)
            standing.phase, standing.since = Phase.RUNNING, now
            started.append(standing)
        return started

    def _end(self, standing: Standing, ending: Ending) -> Standing:
        signature = standing.cell.signature
        standing.seconds = self._clock() - standing.since
        if ending.kind in ("crashed", "lost") and self._ledger.state(signature) is State.DONE:
            ending = Ending("done")  # it died after its result was written
        if ending.kind == "done":
            standing.phase, standing.error = Phase.DONE, ""
            return standing
        if ending.kind == "busy":
            standing.phase = Phase.ELSEWHERE
            return standing
        if ending.kind == "moved" or (ending.kind == "lost" and self._came_further(standing)):
            standing.phase = Phase.WAITING  # it is not to blame, and another machine may run it
            return standing
        standing.attempts += 1
        standing.error = ending.error
        # A process that was killed could not say what its log ends with.
        standing.log = ending.log or self._ledger.last_log(signature)
        again = ending.kind in ("crashed", "lost")
        allowed = standing.cell.resources.max_failures if again else 0
        if standing.attempts <= allowed:
            first, most = BACK_OFF
            standing.phase = Phase.WAITING
            standing.not_before = self._clock() + min(first * 2 ** (standing.attempts - 1), most)
            return standing
        # Noted only now: another driver must not take a cell for given up that is to be retried.
        standing.phase = Phase.FAILED
        with contextlib.suppress(OSError):  # of a full disk: it is shown, if not kept
            self._ledger.record_failure(
                signature, standing.error, standing.log, ending.configuration, standing.attempts
            )
        return standing

    def _came_further(self, standing: Standing) -> bool:
        """Whether a cell has reported more than when its last attempt ended: then the loss of a
        machine is not held against it, as a cell that ends its machines would have no more."""
        signature = standing.cell.signature
        with contextlib.suppress(OSError):
            found = self._ledger.spared(lambda: self._ledger.events(signature)) or []
            before, standing.reported = standing.reported, len(found)
            return standing.reported > before
        return False

    def _block(self) -> list[Standing]:
        blocked = []
        for standing in self.standings.values():
            stage = self.standings.get(standing.cell.start or "")
            if standing.phase is Phase.WAITING and stage and stage.phase is Phase.FAILED:
                standing.phase = Phase.BLOCKED
                standing.error = (
                    f"not run: the stage that it starts from ({stage.cell.label}) failed"
                )
                blocked.append(standing)
        return blocked

    def _look_elsewhere(self) -> list[Standing]:
        """Cells of other processes: finished, given up, or free again."""
        away = self.of(Phase.ELSEWHERE)
        now = self._clock()
        if not away or now - self._looked < LOOK_ELSEWHERE:
            return []
        self._looked = now
        overview = self._ledger.overview(standing.cell.signature for standing in away)
        changed = []
        for standing in away:
            state = overview.of(standing.cell.signature)
            if state is State.RUNNING:
                continue
            if state is State.FAILED:
                failure = self._ledger.failure(standing.cell.signature)
                standing.phase = Phase.FAILED
                if failure is not None:
                    standing.error, standing.log = failure.error, failure.log
            else:
                standing.phase = Phase.DONE if state is State.DONE else Phase.WAITING
            changed.append(standing)
        return changed


def _in_order(cells: Iterable[Cell]) -> list[str]:
    """Signatures of cells in the order in which they start: a stage before the cells that start
    from it, and cells of the same data one after the other, as a process that has opened data keeps
    them; else as they come."""
    places: dict[str, int] = {}
    order = []
    for place, cell in enumerate(cells):
        order.append((cell.start is not None, places.setdefault(cell.data, place), cell.signature))
    return [signature for *_, signature in sorted(order, key=lambda one: one[:2])]


def _phase(status: Status) -> Phase:
    if status in (Status.DONE, Status.STALE):
        return Phase.DONE
    if status is Status.DAMAGED:
        return Phase.FAILED
    return Phase.ELSEWHERE if status is Status.RUNNING else Phase.WAITING
