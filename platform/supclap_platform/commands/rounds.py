"""Rounds of a run: a plan is run, and where seeds are added until the claims are decided, what is
then known makes the next one. What it is depends on the file and the ledger alone."""

from __future__ import annotations

from dataclasses import dataclass

from supclap_platform.commands.now import as_of_now
from supclap_platform.commands.only import EVERYTHING, Only
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status, make_plan

GIVEN_UP = (Status.FAILED, Status.DAMAGED)


@dataclass(frozen=True)
class Round:
    """A plan, and how far the claims are, in words: empty where the number of seeds is fixed."""

    plan: Plan
    claims: str

    @property
    def open(self) -> bool:
        """Whether anything is to be run or waited for."""
        return bool(self.plan.to_run or self.plan.count(Status.RUNNING))


def first_round(experiment: Experiment, ledger: Ledger) -> Round:
    """What an experiment lacks now."""
    now, claims = as_of_now(experiment, ledger)
    return Round(make_plan(now, ledger), claims)


def next_round(experiment: Experiment, ledger: Ledger, only: Only = EVERYTHING) -> Round | None:
    """What it lacks after a round: cells of the next look. None where there are none, or none of
    the part that is run: another process may run the rest.

    Cells that have failed are left to the next run, as in any grid, and with them those that start
    from them.
    """
    if not experiment.sequential:
        return None
    now, claims = as_of_now(experiment, ledger)
    cells = cells_of(now)
    plan = make_plan(now, ledger, cells=cells)
    lost = {signature for signature, status in plan.statuses.items() if status in GIVEN_UP}
    kept = [cell for cell in cells if not {cell.signature, cell.start} & lost]
    found = Round(make_plan(now, ledger, cells=kept), claims)
    return found if Round(only.of(found.plan), claims).open else None
