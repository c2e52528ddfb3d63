"""Terms: where the holder of a cell writes, so that one who has lost the cell can change nothing.

    <storage>/cells/<signature>/lease~…~0002-4f3a9c1e   a process holds the cell, in its second term
    <storage>/cells/<signature>/0002-4f3a9c1e/          all that this holder writes: a run's folder
    <storage>/cells/<signature>/0001-9be1d02c/          of the one before: its log, an empty result

A process may be paused at any moment, for any time, and go on in the middle of a write when
somebody else has long had the cell. No look at its lease before the write can help. So each holder
writes into a folder of its own name alone, and its term ends once and for good, with the file
result.json in that folder, which only one can be the first to write (`Folder.first`): the holder
its result, with which the cell is finished; or whoever takes the cell over an empty one, after
which whatever the other still writes belongs to a term that has ended without a result. Nobody
reads that: who takes over has copied what there was to go on from before.

The number says which term is the last one; the rest of the name makes it one process's own. Cells
of earlier versions have no terms: their files lie in the cell's folder itself.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from supclap.run_files import (
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    LATEST,
    MODEL,
    POINTER,
    RANKS,
    RESULT,
)
from supclap.s3 import Listed
from supclap.storage import Folder
from supclap_platform.ledger.leases import LeaseName, leases_of
from supclap_platform.ledger.logs import is_log

HOLDER = "holder"  # in the term of a group of workers: the term of the attempt that started it
OWN = "own"  # the files of a loop of the user's, which go on with the run
_NAME = re.compile(r"(\d{4,})-[0-9a-f]{8}")
_TRIES = 5  # of copying checkpoints that a process which has lost the cell may still replace


def is_term(name: str) -> bool:
    """Whether a name is that of a term's folder."""
    return _NAME.fullmatch(name) is not None


@dataclass
class Terms:
    """The terms of one cell, from a listing of its folder.

    files: what each file is by its name in the cell's folder, from `Folder.files`.
    """

    files: dict[str, Listed] = field(default_factory=dict)

    def leases(self) -> dict[LeaseName, datetime]:
        """The leases on the cell."""
        return leases_of((name, listed.time) for name, listed in self.files.items())

    @property
    def names(self) -> list[str]:
        """The terms, the last one last."""
        found = {name.partition("/")[0] for name in self.files if "/" in name}
        return sorted(filter(is_term, found), key=lambda name: (_number(name), name))

    @property
    def finished(self) -> str | None:
        """The place of the result: a term, "" for the cell's own folder; None where there is none.
        An empty one has ended a term without a result."""
        if RESULT in self.files:
            return ""
        whole = (name for name in self.names if self._size(f"{name}/{RESULT}"))
        return next(whole, None)

    @property
    def open(self) -> list[str]:
        """The terms that have not ended."""
        return [name for name in self.names if f"{name}/{RESULT}" not in self.files]

    @property
    def present(self) -> str:
        """The place of what the cell has reported last."""
        if self.finished is not None:
            return self.finished
        reported = self.last_with(EVENTS)
        return reported if reported is not None else self.names[-1] if self.names else ""

    def last_with(self, file: str) -> str | None:
        """The last place that has a file of this name: a term, or "" for the cell's own folder."""
        having = [name for name in self.names if f"{name}/{file}" in self.files]
        return having[-1] if having else "" if file in self.files else None

    def _size(self, name: str) -> int:
        return self.files[name].size if name in self.files else 0

    def next(self) -> str:
        """A name for the term after these."""
        last = _number(self.names[-1]) if self.names else 0
        return f"{last + 1:04d}-{secrets.token_hex(4)}"


def terms_in(cell: Folder) -> Terms:
    """The terms of a cell as they are now."""
    return Terms(dict(cell.files(entries=(RESULT,))))


def end(cell: Folder, term: str) -> bool:
    """Ends a term without a result; False where it has one, with which the cell is finished."""
    return not cell.first(f"{term}/{RESULT}", b"")


def has_ended(cell: Folder, term: str) -> bool:
    """Whether a term has ended without a result. Raises OSError."""
    return _end_of(cell, term) == b""


def is_finished(cell: Folder, term: str) -> bool:
    """Whether a term has ended with a result. Raises OSError."""
    return bool(_end_of(cell, term))


def _end_of(cell: Folder, term: str) -> bytes | None:
    """What has ended a term: a result, or nothing in its place; None while it goes on."""
    try:
        return cell.read(f"{term}/{RESULT}")
    except FileNotFoundError:
        return None


def carry_over(cell: Folder, terms: Terms, term: str, holder: str | None = None) -> None:
    """Takes what a run goes on from into a new term, and removes all but logs where earlier ones
    have left something; of ``holder``, whose term goes on, nothing is removed.

    Checkpoints may still be replaced there, by a process that has lost the cell: what is copied is
    what one pointer names, and the pointer comes last.
    """
    source = terms.last_with(POINTER)
    if source is not None:
        _copy_checkpoints(cell, source, term)
    source = source if source is not None else terms.last_with(CONFIG)
    start = f"{source}/" if source else ""
    for name in terms.files if source is not None else ():
        rest = name[len(start) :] if name.startswith(start) else ""
        if rest in (CONFIG, EVENTS) or rest.startswith(f"{OWN}/"):
            with contextlib.suppress(FileNotFoundError):
                cell.write(f"{term}/{rest}", cell.read(name))
    _strip(cell, terms, (term, holder))


def _copy_checkpoints(cell: Folder, source: str, term: str) -> None:
    place = f"{source}/{CHECKPOINTS}" if source else CHECKPOINTS
    for _ in range(_TRIES):
        pointer = cell.read(f"{place}/{LATEST}")
        for name in cell.names(place):
            if name != LATEST and name.endswith(".pt"):
                with contextlib.suppress(FileNotFoundError):
                    cell.copy(f"{place}/{name}", f"{term}/{CHECKPOINTS}/{name}")
        if cell.read(f"{place}/{LATEST}") == pointer:
            cell.write(f"{term}/{POINTER}", pointer)
            return
    raise OSError(f"{cell.uri}/{place}: another process still replaces its checkpoints")


def _strip(cell: Folder, terms: Terms, but: Collection[str | None]) -> None:
    """Of the terms before, and of the cell's own folder as earlier versions filled it, the logs and
    the ends stay."""
    for place in ("", *terms.names):
        if place in but:
            continue
        start = f"{place}/" if place else ""
        below = {
            name[len(start) :].partition("/")[0]
            for name in terms.files
            if name.startswith(start) and (place or of_a_run(name))
        }
        for name in below:
            if name != RESULT and not is_log(name):
                with contextlib.suppress(FileNotFoundError):
                    cell.delete(f"{start}{name}")


def of_a_run(name: str) -> bool:
    """Whether a file of a cell's own folder is one of the run that earlier versions had there."""
    return name.partition("/")[0] in (CONFIG, EVENTS, CHECKPOINTS, OWN, MODEL, RANKS)


def _number(term: str) -> int:
    return int(term.partition("-")[0])
