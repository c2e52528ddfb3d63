"""What `gpu: auto` will give the cells of a plan, as far as that is known before it runs."""

from __future__ import annotations

from collections.abc import Iterator

from supclap.device_share import MB
from supclap.wording import counted, size
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.device_memory import MARGIN, Taken, form, measured, taken
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan


def share_lines(plan: Plan, ledger: Ledger, card: float | None) -> Iterator[str]:
    """A line for each form of cells that are left and may share a device.

    Args:
        card: the memory of this machine's smallest device, in MB; None where it has none.
    """
    left: dict[str, list[Cell]] = {}
    for cell in plan.to_run:
        if cell.resources.auto:
            left.setdefault(form(cell), []).append(cell)
    known = measured(plan.cells, plan.results) if left else {}
    for name, cells in left.items():
        found = known.get(name, Taken()).and_(taken(ledger, name))
        rows = list(dict.fromkeys(cell.variant for cell in cells))
        more = f" and {counted(len(rows) - 1, 'more row')}" if len(rows) > 1 else ""
        yield f"gpu: auto: {rows[0]}{more}, {counted(len(cells), 'cell')}: {_words(found, card)}"


def _words(found: Taken, card: float | None) -> str:
    if not found.reserved:
        return "not measured yet; until the first has finished, each has a whole device"
    text = (
        f"{size(round(found.needed * MB))} of a device each ({size(round(found.reserved * MB))} "
        f"measured in {counted(found.cells, 'finished cell')}, {MARGIN:.0%} more, and what a "
        "process takes besides)"
    )
    if found.short:
        text += f"; {size(round(found.short * MB))} was too little"
    if card is None:
        return f"{text}; how many share one depends on its memory, and there is none here"
    parts = found.parts(card)
    on = f"of {size(round(card * MB))}"
    return f"{text}: {parts} share one {on}" if parts > 1 else f"{text}: a whole one {on}"
