"""What an experiment has cost so far and will cost yet, as the live view and `status` show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from supclap.events import EpochEnded, Event, Started
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.bill import Bill, Costs
from supclap_platform.ledger.records import Result
from supclap_platform.running.progress import Running

Times = Iterable[tuple[Cell, float]]  # seconds of cells


def spending(
    costs: Costs,
    cells: Iterable[Cell],
    results: Mapping[str, Result],
    worked: Times,
    left: Sequence[tuple[Cell, float]] | None,
) -> str:
    """``€1.20 so far, about €3.40 to come``; empty where nothing has a price.

    Args:
        cells: with ``results``: those whose results say what they took.
        worked: what others have taken so far.
        left: what is still to come; None where that is not known.
    """
    if not costs:
        return ""
    spent, ahead = costs.bill(cells, results), Bill()
    for cell, seconds in worked:
        spent.add(costs.of(cell), cell.resources, seconds)
    for cell, seconds in left or ():
        ahead.add(costs.of(cell), cell.resources, seconds)
    parts = [f"{spent.text} so far"] if spent.text else []
    parts += [f"about {ahead.text} to come"] if ahead.text else []
    return ", ".join(parts)


def seconds_ahead(
    at_work: Sequence[tuple[Cell, Running]],
    waiting: Sequence[tuple[Cell, str, float]],
    known: Mapping[str, float],
) -> list[tuple[Cell, float]] | None:
    """Seconds that each cell still takes; None where no epoch of any was timed yet.

    Args:
        waiting: cell, shape and epochs of each that has not begun.
        known: seconds per epoch by shape; another shape is taken for their mean.
    """
    if not known:
        return None
    typical = sum(known.values()) / len(known)
    found = [(cell, one.seconds_left or typical * (one.epochs or 1)) for cell, one in at_work]
    return found + [(cell, known.get(form, typical) * epochs) for cell, form, epochs in waiting]


def seconds_worked(events: Iterable[Event]) -> float:
    """What a run has taken so far, by what it has reported."""
    setup = sum(event.setup_seconds for event in events if isinstance(event, Started))
    return setup + sum(event.seconds for event in events if isinstance(event, EpochEnded))
