"""Which share of a device each cell with `gpu: auto` is given.

The first of a form has a whole device, and so has every other one until one of them has finished.
Then the measured need and the memory of the smallest device say how many share one. A cell that
runs out of memory in its share is given the next larger one, a whole device at last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from supclap.device_share import MB
from supclap.wording import counted, size
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.device_memory import Taken, form, measured, note, share, taken
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Result
from supclap_platform.running.ending import Ending

LOOK = 5.0  # seconds between looks at what other drivers have noted of a form


class Shares:
    """The shares of one driver's cells.

    Args:
        card: the memory of the smallest device that a cell may be given, in MB; None where that is
            not known.
    """

    def __init__(
        self,
        ledger: Ledger,
        card: Callable[[Cell], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._card = card
        self._clock = clock
        self._known: dict[str, Taken] = {}  # by form
        self._looked: dict[str, float] = {}
        self._given: dict[str, tuple[int, float]] = {}  # by signature: parts, and the device's MB
        self._most: dict[str, int] = {}  # by signature: parts of a device that may still do
        self._said: dict[str, int] = {}  # by form
        self._lines: list[str] = []

    def learn(self, cells: Iterable[Cell], results: Mapping[str, Result]) -> None:
        """Takes in what finished cells have measured, and notes it for other drivers: one that was
        killed may not have."""
        for name, found in measured(cells, results).items():
            known = self._known.get(name, Taken()).and_(found)
            self._known[name] = known.and_(note(self._ledger, name, known))

    def given(self, cell: Cell) -> Cell:
        """A cell with what it is given of a device now; one that asks for no `auto` as it is."""
        if not cell.resources.auto:
            return cell
        parts, _ = self._parts(cell)
        return _with(cell, parts)

    def begins(self, cell: Cell) -> Cell:
        """`given`, for a cell that begins now: what it has is remembered."""
        if not cell.resources.auto:
            return cell
        parts, card = self._parts(cell)
        self._given[cell.signature] = parts, card
        name = form(cell)
        if self._said.get(name, 1) != parts:
            self._said[name] = parts
            needed = self._known[name].needed
            each = counted(parts, "cell shares", "cells share")
            self._lines.append(
                f"gpu: auto: {cell.label} and others like it need {size(round(needed * MB))} of a "
                f"device: {each} one of {size(round(card * MB))}"
            )
        return _with(cell, parts)

    def ended(self, cell: Cell) -> None:
        """Notes what a cell that has finished has measured."""
        if not cell.resources.devices or cell.resources.workers > 1:
            return
        result = self._ledger.spared(lambda: self._ledger.result(cell.signature))
        if result is None:
            return
        for name, found in measured([cell], {cell.signature: result}).items():
            before = self._known.get(name, Taken())
            found = replace(found, cells=before.cells + 1)
            both = before.and_(found)
            if found.reserved > before.reserved:  # else the note is as it was, but for the count
                both = both.and_(note(self._ledger, name, both))
            self._known[name] = both

    def too_small(self, cell: Cell, ending: Ending) -> Ending:
        """How an attempt has ended that ran out of memory in its share: it is tried again with the
        next larger one, and nobody is to blame."""
        parts, card = self._given[cell.signature]
        name = form(cell)
        short = Taken(short=card / parts, of=(cell.signature,))
        self._known[name] = self._known.get(name, Taken()).and_(note(self._ledger, name, short))
        self._most[cell.signature] = parts - 1
        after, _ = self._parts(cell)
        whole = f"1/{after} of one" if after > 1 else "a whole one"
        self._lines.append(
            f"{cell.label}: out of memory in 1/{parts} of a device of {size(round(card * MB))}; "
            f"tried again with {whole}"
        )
        return Ending("moved", ending.error, ending.log)

    def news(self) -> list[str]:
        """Lines on shares that nobody has been given yet."""
        said, self._lines = self._lines, []
        return said

    def _parts(self, cell: Cell) -> tuple[int, float]:
        """Into how many parts the smallest device is cut for a cell, and that device's MB."""
        card = self._card(cell)
        parts = self._of(form(cell)).parts(card)
        return min(parts, self._most.get(cell.signature, parts)), card or 0.0

    def _of(self, name: str) -> Taken:
        """What is known of a form; where nothing was measured others may have done so since."""
        known = self._known.get(name, Taken())
        now = self._clock()
        if not known.reserved and now - self._looked.get(name, -LOOK) >= LOOK:
            self._looked[name] = now
            self._known[name] = known = known.and_(taken(self._ledger, name))
        return known


def _with(cell: Cell, parts: int) -> Cell:
    given = cell.resources.model_copy(update={"gpu": share(parts)})
    return replace(cell, resources=given)
