"""The plan: what an experiment wants against what the ledger has, and how long the rest takes."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from supclap.events import EpochEnded
from supclap_platform.experiment.cells import Cell, cells_of, digest
from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Known, Ledger, Result, State

TRIAL = "trial "  # how the cells of a search are called: "trial 7"


class Status(StrEnum):
    """A cell's state as the plan shows it."""

    DONE = "done"
    STALE = "stale"  # done, by another version of the code
    RUNNING = "running"  # by another process, right now
    FAILED = "failed"
    RESUMABLE = "resumable"
    TO_RUN = "to run"
    REMOVED = "removed"  # an earlier run asked for it, the file no longer does


@dataclass(frozen=True)
class Plan:
    """The cells of an experiment and where each of them stands."""

    experiment: Experiment
    cells: tuple[Cell, ...]
    statuses: Mapping[str, Status]  # by signature
    results: Mapping[str, Result]  # of those that are done or stale
    leases: Mapping[str, LeaseName]  # of those that run elsewhere
    removed: tuple[Known, ...]
    code: str  # version of the code that would run

    def status(self, cell: Cell) -> Status:
        return self.statuses[cell.signature]

    @property
    def to_run(self) -> list[Cell]:
        """What is left, each run once, a stage before the cells that start from it.

        Failed cells are among them; those that run elsewhere and stale ones are not.
        """
        left = (Status.TO_RUN, Status.RESUMABLE, Status.FAILED)
        once = {cell.signature: cell for cell in reversed(self.cells) if self.status(cell) in left}
        cells = [cell for cell in self.cells if once.get(cell.signature) is cell]
        return sorted(cells, key=lambda cell: cell.start is not None)

    def count(self, status: Status) -> int:
        """How many runs have the status; cells that share a run count once."""
        if status is Status.REMOVED:
            return len(self.removed)
        return sum(found is status for found in self.statuses.values())


@dataclass(frozen=True)
class Forecast:
    """How long the rest takes, from finished cells of the same shape."""

    cells: int  # still to run
    unknown: int  # of them without any finished cell of their shape
    basis: int  # finished cells that it rests on
    worker_hours: float
    wall_seconds: float
    at_once: int  # cells side by side


def make_plan(
    experiment: Experiment,
    ledger: Ledger,
    code: str | None = None,
    cells: Sequence[Cell] | None = None,
) -> Plan:
    """The plan of an experiment; nothing is started or written.

    Args:
        code: the version of the code that would run; by default that of this process.
        cells: by default those of the experiment.
    """
    from supclap.version import code_version

    code = code or code_version()
    cells = cells_of(experiment) if cells is None else cells
    overview = ledger.overview(cell.signature for cell in cells)
    wanted = dict.fromkeys(cell.signature for cell in cells)
    results = ledger.results(s for s in wanted if overview.of(s) is State.DONE)
    statuses = {s: _status(overview.of(s), results.get(s), code) for s in wanted}
    known = ledger.known(experiment.name, profile_key(experiment))
    removed = tuple(c for c in known if c.signature not in wanted and not _of_search(c, experiment))
    return Plan(experiment, tuple(cells), statuses, results, overview.leases, removed, code)


def _of_search(cell: Known, experiment: Experiment) -> bool:
    """Whether it is a trial's: asked for by the search, and by no row."""
    return experiment.search is not None and cell.variant.startswith(TRIAL)


def profile_key(experiment: Experiment) -> str:
    """What the ledger files an experiment's cells under: its profile and the changes to it."""
    changes = [f"{key}={value!r}" for key, value in sorted(experiment.changes.items())]
    return " ".join([experiment.profile, *changes])


def remember(plan: Plan, ledger: Ledger) -> None:
    """Notes the plan's cells in the ledger: a run calls it before it starts any.

    Those of a gathering experiment are noted for each of its parts too.
    """
    for one in (plan.experiment, *plan.experiment.parts):
        cells = plan.cells if one is plan.experiment else cells_of(one)
        known = [Known(c.variant, c.seed, c.signature, shape(c), c.group) for c in cells]
        ledger.remember(one.name, profile_key(one), known)


def forecast(plan: Plan, ledger: Ledger, at_once: int = 1) -> Forecast:
    """How long the rest of a plan takes with ``at_once`` cells side by side.

    A shape is a configuration without its loss and seed, on the same workers: what decides how long
    a run takes. Finished cells of other experiments in the ledger serve too. A resumable cell
    counts for the epochs that it still lacks.
    """
    left = plan.to_run
    seconds: dict[str, list[float]] = {}
    for cell in plan.cells:
        if cell.signature in plan.results:
            seconds.setdefault(shape(cell), []).append(plan.results[cell.signature].seconds)
    missing = {shape(cell) for cell in left} - set(seconds)
    for form, results in _elsewhere(ledger, missing).items():
        seconds[form] = [result.seconds for result in results]
    used = {shape(cell) for cell in left} & set(seconds)
    times: list[tuple[Cell, float]] = []
    for cell in left:
        known = seconds.get(shape(cell))
        if known:
            times.append((cell, sum(known) / len(known) * _remaining(plan, cell, ledger)))
    return Forecast(
        cells=len(left),
        unknown=len(left) - len(times),
        basis=sum(len(seconds[form]) for form in used),
        worker_hours=sum(time * cell.resources.workers for cell, time in times) / 3600,
        wall_seconds=_wall(times, at_once),
        at_once=at_once,
    )


def shape(cell: Cell) -> str:
    """What decides how long a cell takes, hashed."""
    values = cell.config.model_dump(mode="json", exclude={"loss", "seed"})
    values["model"].pop("start")
    given = cell.resources
    return digest({"run": values, "workers": [given.workers, given.cpu, given.gpu]})


def _status(state: State, result: Result | None, code: str) -> Status:
    if result is not None:
        return Status.DONE if result.code == code else Status.STALE
    return Status.TO_RUN if state is State.DONE else Status(state.value)


def _elsewhere(ledger: Ledger, shapes: set[str]) -> dict[str, list[Result]]:
    if not shapes:
        return {}
    found = {form: s for form, s in ledger.shapes().items() if form in shapes}
    results = {form: list(ledger.results(sorted(s)).values()) for form, s in found.items()}
    return {form: some for form, some in results.items() if some}


def _remaining(plan: Plan, cell: Cell, ledger: Ledger) -> float:
    if plan.status(cell) is not Status.RESUMABLE:
        return 1.0
    ended = [e.epoch for e in ledger.events(cell.signature) if isinstance(e, EpochEnded)]
    return 1.0 - min(max(ended, default=0), cell.config.epochs) / cell.config.epochs


def _wall(times: list[tuple[Cell, float]], at_once: int) -> float:
    """Cells start in the plan's order as places fall free; a cell waits for its stage."""
    free = [0.0] * max(1, at_once)
    ended: dict[str, float] = {}
    for cell, seconds in times:
        begin = max(heapq.heappop(free), ended.get(cell.start or "", 0.0))
        ended[cell.signature] = begin + seconds
        heapq.heappush(free, begin + seconds)
    return max(free)
