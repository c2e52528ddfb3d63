"""How long the rest of a plan takes, from finished cells of the same shape."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from supclap.events import EpochEnded
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.ledger import Ledger, Result
from supclap_platform.ledger.plan import Plan, Status, shape


@dataclass(frozen=True)
class Forecast:
    """How long the rest takes, from finished cells of the same shape."""

    cells: int  # still to run
    unknown: int  # of them without any finished cell of their shape
    basis: int  # finished cells that it rests on
    worker_hours: float
    wall_seconds: float
    at_once: int  # cells side by side


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
            times.append((cell, sum(known) / len(known) * remaining(plan, cell, ledger)))
    return Forecast(
        cells=len(left),
        unknown=len(left) - len(times),
        basis=sum(len(seconds[form]) for form in used),
        worker_hours=sum(time * cell.resources.workers for cell, time in times) / 3600,
        wall_seconds=_wall(times, at_once),
        at_once=at_once,
    )


def _elsewhere(ledger: Ledger, shapes: set[str]) -> dict[str, list[Result]]:
    if not shapes:
        return {}
    found = {form: s for form, s in ledger.shapes().items() if form in shapes}
    results = {form: list(ledger.results(sorted(s)).values()) for form, s in found.items()}
    return {form: some for form, some in results.items() if some}


def remaining(plan: Plan, cell: Cell, ledger: Ledger) -> float:
    """The share of a cell's epochs that it still lacks, 0 to 1."""
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
