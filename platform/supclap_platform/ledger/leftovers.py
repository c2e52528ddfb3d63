"""What of a storage nothing needs any more, and its removal.

    checkpoints   of finished cells, and what killed writers have left beside them
    ended         of finished cells what lies in other terms than the finished one, but for logs and
                  the ends of terms: of processes that were killed, or woke when it was too late
    stopped       checkpoints of trials that a search has stopped, which could go on from them
    orphans       cells that no experiment of the storage has asked for (the ends of terms stay)
    earlier       what cells reported under earlier versions of the code, before a rerun
    memory        notes on the memory of cells that are gone
    strays        what killed drivers leave beside the cells (`strays`)

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
from supclap.s3 import Listed
from supclap.storage import Folder
from supclap.wording import counted
from supclap_platform.ledger.device_memory import MEMORY, taken
from supclap_platform.ledger.drivers import drivers_of
from supclap_platform.ledger.leases import alive, parse_lease
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.logs import is_log
from supclap_platform.ledger.names import CELLS, EARLIER, EXPERIMENTS, RAY_TRAIN
from supclap_platform.ledger.names import EARLY as STOPPED_EARLY
from supclap_platform.ledger.strays import remove_of_tune, tried_out, unused_by_tune
from supclap_platform.ledger.terms import Terms, is_term, of_a_run, terms_in

CHECKPOINT, STOPPED, ORPHAN, EARLY = "checkpoints", "stopped", "orphans", "earlier"
ENDED, STRAY = "ended", "strays"
NOTE = MEMORY
SCRATCH = ".part"  # how the name of an unfinished file ends
AT_ONCE = 50  # leases held while orphans are looked at again


@dataclass(frozen=True)
class Leftover:
    """What can be removed.

    Attributes:
        kind: `CHECKPOINT`, `ENDED`, `STOPPED`, `ORPHAN`, `EARLY`, `NOTE` or `STRAY`.
        place: its folder or file, below the storage.
        signature: the cell's; empty of a note, which is on several, and of a stray.
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
    """What of a storage nothing needs, and what is passed over. Nothing changes.

    It takes five listings, and one for each experiment.
    """
    cells: dict[str, list[_File]] = defaultdict(list)
    for file in _files(ledger.storage, CELLS):  # before what is asked for: a run notes that first
        cells[file.path.split("/")[1]].append(file)
    earlier = list(_files(ledger.storage, EARLIER))
    at_work = {signature for signature, files in cells.items() if _at_work(files)}
    free = {s: files for s, files in cells.items() if s not in at_work}
    places = {s: _places(s, files) for s, files in free.items()}
    found = list(_unneeded(free, places))
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
    found += (Leftover(STRAY, at, "", size) for at, size in unused_by_tune(ledger.storage))
    tried = [Leftover(STRAY, name, "", 0) for name in tried_out(ledger.storage)]
    if tried and driven:
        kept.append(Kept(STRAY, f"{', '.join(driven)}: being run, whose nodes may look for them"))
    else:
        found += tried
    return sorted(found, key=lambda one: (one.kind, one.place)), kept


def remove(ledger: Ledger, found: Iterable[Leftover], done: Callable[[Leftover], None]) -> None:
    """Removes leftovers, each after a second look; ``done`` is called for those that are gone.

    Raises OSError where the storage refuses it; what was removed before is gone.
    """
    kinds: dict[str, list[Leftover]] = defaultdict(list)
    for one in found:
        kinds[one.kind].append(one)
    by_cell: dict[str, list[Leftover]] = defaultdict(list)
    for one in (*kinds[CHECKPOINT], *kinds[ENDED], *kinds[STOPPED]):
        by_cell[one.signature].append(one)
    for signature, places in by_cell.items():
        with ExitStack() as held:
            if _taken(ledger, signature, held):
                terms = terms_in(ledger.cell(signature))
                for one in places:
                    if _is_still(one, terms):
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
    _remove_strays(ledger, kinds[STRAY], done)


def _remove_strays(
    ledger: Ledger, strays: Sequence[Leftover], done: Callable[[Leftover], None]
) -> None:
    still = set(tried_out(ledger.storage)) if strays and not _driven(ledger) else set()
    for one in strays:
        if "/" in one.place:
            if remove_of_tune(ledger.storage, one.place):
                done(one)
        elif one.place in still:
            ledger.storage.delete_file(one.place)
            done(one)


def _is_still(one: Leftover, terms: Terms) -> bool:
    """Whether the cell is still what makes this a leftover."""
    if one.kind == STOPPED:
        return STOPPED_EARLY in terms.files
    finished = terms.finished
    if finished is None or one.kind == CHECKPOINT:
        return finished is not None
    place, _, name = one.place.rpartition("/")
    return place != f"{CELLS}/{one.signature}/{finished}".rstrip("/") or name == RAY_TRAIN


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


def _unneeded(cells: dict[str, list[_File]], places: dict[str, list[str]]) -> Iterator[Leftover]:
    """What finished cells need no more."""
    for signature, files in cells.items():
        own, *_ = places[signature]
        finished = _finished(signature, files)
        if finished is None:
            continue
        for place in places[signature]:
            for name, inside in _inside(place, files).items():
                kind = _kind(name, place == finished, place == own)
                if kind is not None:
                    yield Leftover(kind, f"{place}/{name}", signature, _size(inside))
                elif not (place == own and is_term(name)):
                    for file in inside:
                        if file.path.endswith(SCRATCH):
                            yield Leftover(CHECKPOINT, file.path, signature, file.size)


def _kind(name: str, finished: bool, own: bool) -> str | None:
    """What a file or folder is where a finished cell has written, in the cell's own folder or one
    of a term; None where it is needed."""
    if name == CHECKPOINTS:
        return CHECKPOINT
    if name == RAY_TRAIN:
        return ENDED
    if finished or name.endswith(SCRATCH):
        return None
    over = of_a_run(name) if own else name != RESULT and not is_log(name)
    return ENDED if over else None


def _finished(signature: str, files: Sequence[_File]) -> str | None:
    """Where the result of a cell lies, below the storage; None where there is none."""
    cell = f"{CELLS}/{signature}"
    listed = {f.path.removeprefix(f"{cell}/"): Listed(f.size, f.info.mtime) for f in files}
    term = Terms(listed).finished
    return None if term is None else f"{cell}/{term}".rstrip("/")


def _inside(place: str, files: Sequence[_File]) -> dict[str, list[_File]]:
    """What lies directly in a place, each with its files."""
    found: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        if file.path.startswith(f"{place}/"):
            found[file.path.removeprefix(f"{place}/").partition("/")[0]].append(file)
    return found


def _stopped(cells: dict[str, list[_File]], places: dict[str, list[str]]) -> Iterator[Leftover]:
    for signature, files in cells.items():
        own = places[signature]
        noted = any(file.path == f"{own[0]}/{STOPPED_EARLY}" for file in files)
        if noted and _finished(signature, files) is None:
            for place in own:
                below = _inside(place, files).get(CHECKPOINTS)
                if below:
                    yield Leftover(STOPPED, f"{place}/{CHECKPOINTS}", signature, _size(below))


def _places(signature: str, files: Sequence[_File]) -> list[str]:
    """Where runs of a cell have written: its own folder, then its terms."""
    cell = f"{CELLS}/{signature}"
    terms = {file.path.split("/")[2] for file in files}
    return [cell, *(f"{cell}/{term}" for term in sorted(terms) if is_term(term))]


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
