"""Who works on a cell: it is taken, given back, taken from who is gone (`leases`, `terms`)."""

from __future__ import annotations

import contextlib
from datetime import datetime
from functools import partial

from supclap.errors import TakenOver
from supclap.storage import Folder
from supclap_platform.ledger.leases import Lease, LeaseName, acquire, leases_in, surely_alive, take
from supclap_platform.ledger.names import EARLY
from supclap_platform.ledger.terms import (
    HOLDER,
    carry_over,
    end,
    has_ended,
    is_term,
    terms_in,
)


class Held(Lease):
    """A cell that this process holds; `release` gives it back, and its term ends.

    Attributes:
        term: its name. folder: where all that this process writes of the cell goes.
    """

    def __init__(self, cell: Folder, name: LeaseName) -> None:
        self.term = name.nonce
        self.folder = cell.below(self.term)
        super().__init__(cell, name)

    def release(self, published: bool = False) -> None:
        """Gives the cell back. Nothing happens where it is released already.

        Args:
            published: the run is finished, so that there is no term left to end.
        """
        if not published and not self.released:
            with contextlib.suppress(OSError):
                end(self._cell, self.term)
        super().release()

    def over(self) -> bool:
        """Whether another process has taken the cell over: looks, and says so of a cell that was
        taken between two heartbeats too."""
        with contextlib.suppress(OSError):
            self.lost = self.lost or has_ended(self._cell, self.term)
        return self.lost


def take_cell(cell: Folder) -> Held | None:
    """The right to work on a cell, or None: it is done, or a live process works on it.

    Call it in the process that trains, which the lease names; see `leases` and `terms`. Where
    there is something to go on from, it lies in the new term then.
    """
    terms = terms_in(cell)
    # It saves what follows; where clocks are apart, `take` asks the storage's.
    busy = any(surely_alive(name, beat) for name, beat in terms.leases().items())
    if terms.finished is not None or busy:
        return None
    term = terms.next()
    dead: list[str] = []

    def look() -> dict[LeaseName, datetime]:
        nonlocal terms
        terms = terms_in(cell)
        return terms.leases()

    def end_of(other: LeaseName) -> None:
        _end_of(cell, other)
        dead.append(other.nonce)

    name = LeaseName.own(term)
    if not take(cell, name, look, end_of):
        return None
    held = Held(cell, name)
    try:
        if dead:  # its workers may have begun terms of their own since
            look()
        ended = [end(cell, other) for other in terms.open if other != term]
        if terms.finished is not None or not all(ended):
            held.release(published=True)
            return None
        carry_over(cell, terms, term)
        if EARLY in terms.files:
            cell.delete_file(EARLY)  # it goes on
    except BaseException:
        with contextlib.suppress(OSError):
            held.release()
        raise
    return held


def keep_others_out(cell: Folder) -> Lease | None:
    """A lease on a cell of which something is to be removed; None: a live process has it."""
    return acquire(cell, end=partial(_end_of, cell))


def begin_group(cell: Folder, holder: str) -> Folder:
    """The folder of a new term, for a group of workers of the attempt that holds the cell.

    Each group has its own: the one before may only be paused.

    Args:
        holder: the term of the attempt.

    Raises:
        TakenOver: the attempt no longer holds the cell.
    """
    term = terms_in(cell).next()
    cell.write(f"{term}/{HOLDER}", holder.encode())
    # Looked at only now: whoever takes the cell over first ends the holder's term, then lists.
    if has_ended(cell, holder):
        raise TakenOver(f"{cell.uri}: another process has taken this run over")
    terms = terms_in(cell)
    done = terms.finished
    for other in terms.open:
        if other not in (term, holder) and not end(cell, other):
            done = other
    if done is not None:  # by the group before, of which another worker has ended too late
        return cell.below(done)
    carry_over(cell, terms, term, holder)
    return cell.below(term)


def evict(cell: Folder, host: str, pid: int) -> None:
    """Takes a cell from a process whose machine is lost, which would else hold it for
    `STALE_AFTER` seconds. Should it live on after all, its term has ended.

    A storage that is away changes nothing: then the lease runs out by itself.
    """
    with contextlib.suppress(OSError):
        for name in leases_in(cell):
            if (name.host, name.pid) == (host, pid):
                _end_of(cell, name)
                cell.delete_file(str(name))


def _end_of(cell: Folder, holder: LeaseName) -> None:
    """Ends the term of a holder that is dead, or seems to be."""
    if is_term(holder.nonce):
        end(cell, holder.nonce)
