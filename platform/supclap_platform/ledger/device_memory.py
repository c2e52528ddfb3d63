"""What cells take of a device's memory, by their form: as finished ones have measured it.

    <storage>/memory/<form>.json    the most that a finished cell of the form has reserved, and the
                                    largest share of a device in which one ran out of memory

A form is what decides the memory: the model, batch, chunk, precision, the clips' length, and the
loss without its numbers. Results say the same of their own cells; here it is known to other
experiments too, and what was too small is known at all.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from supclap.device_share import CONTEXT
from supclap.stored import Count, as_kind, read_values, sealed
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.identity import digest
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import CellName, Result

MEMORY = "memory"
MARGIN = 0.15  # of what was measured: another loss's numbers, other batches, fragments
MOST = 8  # cells that share a device
NAMED = 100  # cells that a note names


@dataclass(frozen=True)
class Taken:
    """What is known of a form, in MB.

    Attributes:
        reserved: at most, of a device, by its finished cells; 0: none was measured.
        short: the largest share of a device in which a cell ran out of memory; 0: none did.
        cells: that ``reserved`` rests on.
        of: signatures of cells that have said this, `NAMED` at most; notes of earlier versions have
            none. A note whose cells are all gone is a leftover (`leftovers`).
    """

    reserved: float = 0.0
    short: float = 0.0
    cells: Count = 0
    of: tuple[CellName, ...] = ()

    @property
    def needed(self) -> float:
        """Of a device for one cell: with `MARGIN`, and with what its process takes besides."""
        return self.reserved * (1 + MARGIN) + CONTEXT

    def parts(self, card: float | None) -> int:
        """How many cells share a device of so many MB; 1 where nothing was measured, or the device
        is not known."""
        if not self.reserved or not card:
            return 1
        fit = min(MOST, math.floor(card / self.needed))
        if self.short:  # the next larger share at least
            fit = min(fit, math.ceil(card / self.short) - 1)
        return max(1, fit)

    def and_(self, other: Taken) -> Taken:
        """Both together."""
        return Taken(
            max(self.reserved, other.reserved),
            max(self.short, other.short),
            max(self.cells, other.cells),
            tuple(sorted({*self.of, *other.of}))[:NAMED],
        )


def form(cell: Cell) -> str:
    """What decides the memory of a cell, hashed."""
    return digest(cell.method.takes(cell.config))


def share(parts: int) -> float:
    """One of so many parts of a device, as Ray counts it: in ten-thousandths, rounded down."""
    return math.floor(10_000 / parts) / 10_000


def taken(ledger: Ledger, name: str) -> Taken:
    """What the ledger has noted of a form; a damaged note is none, and is named."""
    folder = ledger.storage.below(MEMORY)
    file = f"{name}.json"

    def read() -> Taken:
        try:
            return as_kind(read_values(folder, file), Taken, folder.uri_of(file))
        except FileNotFoundError:
            return Taken()

    return ledger.spared(read) or Taken()


def note(ledger: Ledger, name: str, found: Taken) -> Taken:
    """Adds what was found to what is noted of a form; all that is known of it then.

    Two drivers that note at once may lose one's word, which results, or a second try, say again.
    """
    before = taken(ledger, name)
    whole = before.and_(found)
    if whole != before:
        with contextlib.suppress(OSError):  # of a full disk: it is known to this process at least
            ledger.storage.below(MEMORY).write(f"{name}.json", sealed(asdict(whole)))
    return whole


def measured(cells: Iterable[Cell], results: Mapping[str, Result]) -> dict[str, Taken]:
    """What the finished ones among some cells have measured, by form. Several workers have a device
    each, and say nothing of one that is shared."""
    found: dict[str, Taken] = {}
    for cell in {cell.signature: cell for cell in cells}.values():
        result = results.get(cell.signature)
        if result is None or not result.reserved_MB or result.workers > 1:
            continue
        name = form(cell)
        before = found.get(name, Taken())
        one = Taken(result.reserved_MB, of=(cell.signature,))
        found[name] = replace(before.and_(one), cells=before.cells + 1)
    return found
