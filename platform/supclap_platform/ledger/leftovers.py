"""What of a storage nothing needs any more, and its removal.

    checkpoints   of finished cells, and what killed writers have left beside them
    stopped       checkpoints of trials that a search has stopped, which could go on from them
    orphans       cells that no experiment of the storage has asked for (the ends of terms stay)
    earlier       what cells reported under earlier versions of the code, before a rerun
    memory        notes on the memory of cells that are gone

A cell on which a process works is left as it is. Before anything of a cell is removed, its lease is
taken, as by whoever trains it, and what was found is looked at again: so nobody can begin to need
it meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow.fs as pafs

from supclap.errors import InputError
from supclap.run_files import CHECKPOINTS, LATEST, RESULT
from supclap.storage import Folder
from supclap.wording import counted
from supclap_platform.ledger.device_memory import MEMORY, taken
from supclap_platform.ledger.drivers import drivers_of
from supclap_platform.ledger.leases import alive, parse_lease
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import CELLS, EARLIER, EXPERIMENTS
from supclap_platform.ledger.names import EARLY as STOPPED_EARLY
from supclap_platform.ledger.records import State
from supclap_platform.ledger.terms import is_term

CHECKPOINT, STOPPED, ORPHAN, EARLY = "checkpoints", "stopped", "orphans", "earlier"
NOTE = MEMORY
SCRATCH = ".part"  # how the name of an unfinished file ends
AT_ONCE = 50  # leases held while orphans are looked at again


@dataclass(frozen=True)
class Leftover:
    """What can be removed.

    Attributes:
        kind: `CHECKPOINT`, `STOPPED`, `ORPHAN`, `EARLY` or `NOTE`.
        place: its folder or file, below the storage.
        signature: the cell's; empty of a note, which is on several.
        size: bytes.
    """

    kind: str
    place: str
    signature: str
    size: int


@dataclass(frozen=True)
class Kept:
    """What is not touched, and why, in words; for people."""

    kind: str
    why: str


@dataclass(frozen=True)
class _File:
    path: str  # below the storage
    size: int
    info: pafs.FileInfo


def leftovers(ledger: Ledger) -> tuple[list[Leftover], list[Kept]]:
    """What of a storage nothing needs, and what is passed over. Four listings; nothing changes."""
    cells: dict[str, list[_File]] = defaultdict(list)
    for file in _files(ledger.storage, CELLS):  # before what is asked for: a run notes that first
        cells[file.path.split("/")[1]].append(file)
    earlier = list(_files(ledger.storage, EARLIER))
    at_work = {signature for signature, files in cells.items() if _at_work(files)}
    free = {s: files for s, files in cells.items() if s not in at_work}
    places = {s: _places(s, files) for s, files in free.items()}
    found = list(_checkpoints(free, places))
    kept = []
    stopped, driven = list(_stopped(free, places)), _driven(ledger)
    if stopped and driven:
        kept.append(Kept(STOPPED, f"{', '.join(driven)}: being run, which may go on with them"))
    else:
        found += stopped
    if at_work:
        kept.append(Kept("cells", f"{len(at_work)} on which a process works"))
    try:
        asked = _asked(ledger)
    except InputError as error:
        kept.append(Kept(ORPHAN, str(error)))
    else:
        orphans = {s: files for s, files in free.items() if s not in asked and _size(files)}
        found = [one for one in found if one.signature not in orphans]
        found += (Leftover(ORPHAN, f"{CELLS}/{s}", s, _size(files)) for s, files in orphans.items())
    if earlier and driven:
        kept.append(Kept(EARLY, f"{', '.join(driven)}: being run, which may add to them"))
    else:
        found += _earlier(earlier)
    there = {signature for signature, files in cells.items() if _size(files)}
    notes, nameless = _notes(ledger, there)
    if nameless:
        why = f"{counted(nameless, 'note')} of an earlier version, or damaged: no cell is named"
        kept.append(Kept(NOTE, why))
    if notes and driven:
        kept.append(Kept(NOTE, f"{', '.join(driven)}: being run, which may add to them"))
    else:
        found += notes
    return sorted(found, key=lambda one: (one.kind, one.place)), kept


def remove(ledger: Ledger, found: Iterable[Leftover], done: Callable[[Leftover], None]) -> None:
    """Removes leftovers, each after a second look; ``done`` is called for those that are gone.

    Raises OSError where the storage refuses it; what was removed before is gone.
    """
    kinds: dict[str, list[Leftover]] = defaultdict(list)
    for one in found:
        kinds[one.kind].append(one)
    by_cell: dict[str, list[Leftover]] = defaultdict(list)
    for one in (*kinds[CHECKPOINT], *kinds[STOPPED]):
        by_cell[one.signature].append(one)
    for signature, places in by_cell.items():
        with ExitStack() as held:
            if _taken(ledger, signature, held) and _is_still(places[0].kind, signature, ledger):
                for one in places:
                    _remove(ledger.storage, one)
                    done(one)
    orphans = kinds[ORPHAN]
    for start in range(0, len(orphans), AT_ONCE):
        _remove_orphans(ledger, orphans[start : start + AT_ONCE], done)
    if not _driven(ledger):
        for one in kinds[EARLY]:
            ledger.storage.delete(one.place)
            done(one)
    if kinds[NOTE] and not _driven(ledger):
        there = {one.path.split("/")[1] for one in _files(ledger.storage, CELLS) if one.size}
        still = {one.place for one in _notes(ledger, there)[0]}
        for one in kinds[NOTE]:
            if one.place in still:
                ledger.storage.delete_file(one.place)
                done(one)


def _is_still(kind: str, signature: str, ledger: Ledger) -> bool:
    """Whether the cell is still what makes its checkpoints a leftover."""
    if kind == CHECKPOINT:
        return ledger.state(signature) is State.DONE
    return ledger.cell(signature).exists(STOPPED_EARLY)


def _remove(storage: Folder, one: Leftover) -> None:
    """Of a run that could go on the pointer goes first: without it the run begins anew."""
    if one.kind == STOPPED:
        storage.delete_file(f"{one.place}/{LATEST}")
    storage.delete(one.place)


def _remove_orphans(
    ledger: Ledger, orphans: Sequence[Leftover], done: Callable[[Leftover], None]
) -> None:
    with ExitStack() as held:
        mine = [one for one in orphans if _taken(ledger, one.signature, held)]
        asked = _asked(ledger)  # a run that asks from now on waits for the leases
        for one in mine:
            if one.signature not in asked:
                ledger.discard(one.signature)
                done(one)


def _taken(ledger: Ledger, signature: str, held: ExitStack) -> bool:
    lease = ledger.keep_others_out(signature)
    if lease is None:
        return False
    held.enter_context(lease)
    return True


def _files(storage: Folder, below: str) -> Iterator[_File]:
    base = storage.below(below).base
    selector = pafs.FileSelector(base, allow_not_found=True, recursive=True)
    start = len(storage.base.strip("/"))
    for info in storage.filesystem.get_file_info(selector):
        if info.type == pafs.FileType.File:
            path = info.path.strip("/")[start:].lstrip("/")
            yield _File(path, info.size or 0, info)


def _at_work(files: Sequence[_File]) -> bool:
    leases = ((parse_lease(file.info.base_name), file.info.mtime) for file in files)
    return any(lease is not None and alive(lease, beat) for lease, beat in leases)


def _checkpoints(cells: dict[str, list[_File]], places: dict[str, list[str]]) -> Iterator[Leftover]:
    for signature, files in cells.items():
        own = places[signature]
        if any(_is_result(file, own) for file in files):
            folders = list(_folders(CHECKPOINT, signature, files, own))
            yield from folders
            for file in files:
                within = any(file.path.startswith(f"{one.place}/") for one in folders)
                if file.path.endswith(SCRATCH) and not within:
                    yield Leftover(CHECKPOINT, file.path, signature, file.size)


def _stopped(cells: dict[str, list[_File]], places: dict[str, list[str]]) -> Iterator[Leftover]:
    for signature, files in cells.items():
        own = places[signature]
        noted = any(file.path == f"{own[0]}/{STOPPED_EARLY}" for file in files)
        if noted and not any(_is_result(file, own) for file in files):
            yield from _folders(STOPPED, signature, files, own)


def _places(signature: str, files: Sequence[_File]) -> list[str]:
    """Where runs of a cell have written: its own folder, then its terms."""
    cell = f"{CELLS}/{signature}"
    terms = {file.path.split("/")[2] for file in files}
    return [cell, *(f"{cell}/{term}" for term in sorted(terms) if is_term(term))]


def _folders(
    kind: str, signature: str, files: Sequence[_File], places: Sequence[str]
) -> Iterator[Leftover]:
    """The folders of checkpoints of a cell."""
    for place in places:
        folder = f"{place}/{CHECKPOINTS}"
        below = [file for file in files if file.path.startswith(f"{folder}/")]
        if below:
            yield Leftover(kind, folder, signature, _size(below))


def _is_result(file: _File, places: Sequence[str]) -> bool:
    """Whether a file says that its cell is finished: an empty one has ended a term without it."""
    place, _, name = file.path.rpartition("/")
    return name == RESULT and place in places and (file.size > 0 or place == places[0])


def _earlier(files: Sequence[_File]) -> Iterator[Leftover]:
    folders: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        folders["/".join(file.path.split("/")[:3])].append(file)
    for place, inside in folders.items():
        yield Leftover(EARLY, place, place.split("/")[1], _size(inside))


def _notes(ledger: Ledger, there: Collection[str]) -> tuple[list[Leftover], int]:
    """The notes on cells of which none is there any more; and how many do not say on which cells
    they are, as those of earlier versions and damaged ones."""
    found, nameless = [], 0
    for file in _files(ledger.storage, MEMORY):
        name = file.path.removeprefix(f"{MEMORY}/").removesuffix(".json")
        known = taken(ledger, name)
        if known.of and not set(known.of) & set(there):
            found.append(Leftover(NOTE, file.path, "", file.size))
        nameless += not known.of
    return found, nameless


def _asked(ledger: Ledger) -> set[str]:
    """The cells that any experiment has ever asked for. Raises Damaged where that is not known."""
    before = len(ledger.damage)
    asked = {s for signatures in ledger.shapes().values() for s in signatures}
    if len(ledger.damage) > before:
        raise list(ledger.damage.values())[before]
    return asked


def _driven(ledger: Ledger) -> list[str]:
    names = ledger.storage.names(EXPERIMENTS)
    return [name for name in names if drivers_of(ledger, name)]


def _size(files: Iterable[_File]) -> int:
    return sum(file.size for file in files)
