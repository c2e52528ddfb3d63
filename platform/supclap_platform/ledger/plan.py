"""The plan: what an experiment wants against what the ledger has."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.declared import declare
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Known, Result, State
from supclap_platform.ledger.staleness import CodeOf, Stale, stale_cells, today

TRIAL = "trial "  # how the cells of a search are called: "trial 7"


class Status(StrEnum):
    """A cell's state as the plan shows it."""

    DONE = "done"
    STALE = "stale"  # done, by another version of the code
    RUNNING = "running"  # by another process, right now
    FAILED = "failed"
    DAMAGED = "damaged"  # done, and its result is no longer what was written
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
    stale: tuple[Stale, ...]  # the finished cells of other code, by that code

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

    def of(self, signatures: Collection[str]) -> Plan:
        """The plan of some of its cells alone, and of the stages that they start from."""
        kept = {*signatures}
        kept |= {cell.start for cell in self.cells if cell.signature in kept and cell.start}
        stale = (
            replace(o, cells=tuple(c for c in o.cells if c.signature in kept)) for o in self.stale
        )
        return replace(
            self,
            cells=tuple(cell for cell in self.cells if cell.signature in kept),
            statuses={s: status for s, status in self.statuses.items() if s in kept},
            results={s: result for s, result in self.results.items() if s in kept},
            leases={s: lease for s, lease in self.leases.items() if s in kept},
            removed=(),
            stale=tuple(one for one in stale if one.cells),
        )

    def count(self, status: Status) -> int:
        """How many runs have the status; cells that share a run count once."""
        if status is Status.REMOVED:
            return len(self.removed)
        return sum(found is status for found in self.statuses.values())


def make_plan(
    experiment: Experiment,
    ledger: Ledger,
    code_of: CodeOf = today,
    cells: Sequence[Cell] | None = None,
) -> Plan:
    """The plan of an experiment; nothing is started or written.

    Args:
        code_of: the version of the code that would run a cell; by default this process's.
        cells: by default those of the experiment.
    """
    cells = cells_of(experiment) if cells is None else cells
    overview, results = ledger.examine(cell.signature for cell in cells)
    wanted = dict.fromkeys(cell.signature for cell in cells)
    stale = stale_cells(cells, results, ledger, code_of)
    old = {cell.signature for one in stale for cell in one.cells}
    statuses = {s: _status(s in old, overview.of(s), results.get(s)) for s in wanted}
    known = ledger.known(experiment.name, profile_key(experiment))
    removed = tuple(c for c in known if c.signature not in wanted and not _of_search(c, experiment))
    return Plan(experiment, tuple(cells), statuses, results, overview.leases, removed, stale)


def _of_search(cell: Known, experiment: Experiment) -> bool:
    """Whether it is a trial's: asked for by the search, and by no row."""
    return experiment.search is not None and cell.variant.startswith(TRIAL)


def profile_key(experiment: Experiment) -> str:
    """What the ledger files an experiment's cells under: its profile and the changes to it."""
    return key_of(experiment.profile, experiment.changes)


def key_of(profile: str, changes: Mapping[str, Any]) -> str:
    """`profile_key`, where the experiment is not read yet."""
    return " ".join([profile, *(f"{key}={value!r}" for key, value in sorted(changes.items()))])


def remember(plan: Plan, ledger: Ledger) -> None:
    """Notes the plan's cells in the ledger, and what is asked of them: a run calls it before it
    starts any.

    Those of an including experiment are noted for each of its parts too.
    """
    done = {s for s, status in plan.statuses.items() if status in (Status.DONE, Status.STALE)}
    for one in (plan.experiment, *plan.experiment.parts):
        cells = plan.cells if one is plan.experiment else cells_of(one)
        known = [Known(c.variant, c.seed, c.signature, c.shape, c.group) for c in cells]
        ledger.remember(one.name, profile_key(one), known)
        if not one.parts:
            declare(one, cells, done, ledger, round(time.time() * 1000))


def _status(stale: bool, state: State, result: Result | None) -> Status:
    if result is not None:
        return Status.STALE if stale else Status.DONE
    return Status.TO_RUN if state is State.DONE else Status(state.value)
