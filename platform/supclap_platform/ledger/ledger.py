"""The ledger: the durable state of every cell, and the only judge of "finished".

    <storage>/cells/<signature>/<term>/          what the run leaves (`supclap.run_files`); with its
                                                 result, which is written last, the cell is done.
                                                 Who holds the cell writes there and nowhere else
                                                 (see `terms`; earlier versions had no terms)
    <storage>/cells/<signature>/failure.json     the last attempt failed: error, log, attempts
    <storage>/cells/<signature>/lease~…          a process works on it (see `leases`)
    <storage>/experiments/<name>/cells-….json    the cells each run of the experiment asked for
    <storage>/earlier/<signature>/<code>/        what a cell that was trained anew reported before,
                                                 the last of each version of the code, without model

States come from one listing of names; files are read only for what is asked of them.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.fs as pafs

from supclap.errors import InputError
from supclap.events import Event, from_lines
from supclap.objects import in_store
from supclap.run_files import (
    ANEW,
    CONFIG,
    EVENTS,
    MODEL,
    MODEL_INDEX,
    RANKS,
    RESULT,
    parse_ranks,
    read_kept,
)
from supclap.secrets import masked
from supclap.storage import Folder
from supclap.stored import (
    AGAIN,
    Damaged,
    as_kind,
    read_content,
    read_values,
    sealed,
)
from supclap.wording import GIST, gist, one_line
from supclap_platform.ledger.asked import keep_asked, read_asked
from supclap_platform.ledger.holding import Held, begin_group, evict, keep_others_out, take_cell
from supclap_platform.ledger.leases import Lease
from supclap_platform.ledger.logs import by_rank, is_log, tail
from supclap_platform.ledger.names import CELLS, EARLIER, EARLY, EXPERIMENTS, FAILURE, PROBE
from supclap_platform.ledger.overviews import overview_of
from supclap_platform.ledger.records import Failure, Known, Overview, Result, State
from supclap_platform.ledger.results import FEW, Results, read_result
from supclap_platform.ledger.terms import (
    Terms,
    is_term,
    terms_in,
)

Found = TypeVar("Found")
KNOWN_FOR = 10.0  # seconds for which an object store is not asked again where a run now writes


def open_ledger(place: str | Path, writing: bool = False) -> Ledger:
    """The ledger in a storage folder (path or URI), tried out before anything relies on it.

    Args:
        writing: also try to write there.

    Raises:
        InputError: no such file system, an address with a mistake in it, not reachable, not a
            folder, or not writable.
    """
    try:
        in_store(place)  # as a path, s3:/bucket would be a folder of that name, here
    except InputError as error:
        raise InputError(f"storage {error}") from None
    storage = Folder.at(place)
    try:
        found = storage.filesystem.get_file_info(storage.base)
        if found.type == pafs.FileType.File:
            raise InputError(f"storage '{storage.uri}': is a file, not a folder")
        if writing:
            probe = f"{PROBE}{secrets.token_hex(4)}"
            storage.write(probe, b"")
            storage.delete_file(probe)
    except InputError:
        raise
    except Exception as error:  # of the file system's own library, whichever it is
        reason = masked(gist(error), storage.place).replace(storage.base or storage.place, "it")
        shown = one_line(storage.uri, GIST)
        raise InputError(f"storage '{shown}': cannot be used: {reason}") from None
    return Ledger(storage)


class Ledger:
    """The ledger below a storage folder. Any number of processes may use it at once."""

    def __init__(self, storage: Folder) -> None:
        self.storage = storage
        self.damage: dict[str, Damaged] = {}  # by file: what was met and passed over
        self._cells = storage.below(CELLS)
        self.read = Results(storage)  # by this process so far
        self._places: dict[str, tuple[str, float]] = {}  # of runs: the term, and until when known

    def cell(self, signature: str) -> Folder:
        """The folder of a cell, with its terms, its leases and what is noted of it."""
        return self._cells.below(signature)

    def folder(self, signature: str) -> Folder:
        """The folder of a cell's run: of a finished one that of its result; else of the last that
        has reported anything."""
        cell = self.cell(signature)
        known = self._places.get(signature)
        if known is None or known[1] < time.monotonic():
            known = self._place(signature, terms_in(self.cell(signature)))
        return cell.below(known[0]) if known[0] else cell

    def folders(self, signatures: Iterable[str]) -> list[Folder]:
        """`folder` of each; a store of objects is asked once for all."""
        wanted = list(signatures)
        now = time.monotonic()
        if self.storage.local is None and any(
            s not in self._places or self._places[s][1] < now for s in wanted
        ):
            self.overview(wanted)
        return [self.folder(signature) for signature in wanted]

    def _place(self, signature: str, terms: Terms) -> tuple[str, float]:
        """Where a cell's run lies, and until when that need not be looked up again."""
        patience = 0.0 if self.storage.local is not None else KNOWN_FOR
        over = terms.finished is not None
        known = (terms.present, math.inf if over else time.monotonic() + patience)
        self._places[signature] = known
        return known

    def state(self, signature: str) -> State:
        """The state of one cell."""
        return self.overview([signature]).of(signature)

    def overview(self, signatures: Iterable[str] | None = None) -> Overview:
        """The states of the named cells, or of all that the ledger knows, from one listing."""
        wanted = None if signatures is None else set(signatures)
        only = next(iter(wanted)) if wanted is not None and len(wanted) == 1 else ""
        place = self.cell(only) if only else self._cells
        found: dict[str, Terms] = {}
        for path, listed in place.files(entries=(RESULT,)):
            signature, _, name = path.partition("/") if place is self._cells else (only, "", path)
            if name and (wanted is None or signature in wanted):
                found.setdefault(signature, Terms()).files[name] = listed
        for signature in found if wanted is None else wanted:
            self._place(signature, found.get(signature, Terms()))
        return overview_of(found)

    def take(self, signature: str) -> Held | None:
        """The right to work on a cell, as `take_cell` gives it."""
        held = take_cell(self.cell(signature))
        if held is not None:
            self._places.pop(signature, None)
        return held

    def keep_others_out(self, signature: str) -> Lease | None:
        """A lease on a cell of which something is to be removed; None: a live process has it."""
        return keep_others_out(self.cell(signature))

    def begin_group(self, signature: str, holder: str) -> Folder:
        """The folder of a new term for a group of workers, as `holding.begin_group`."""
        return begin_group(self.cell(signature), holder)

    def evict(self, signature: str, host: str, pid: int) -> None:
        """Takes a cell from a process whose machine is lost, as `holding.evict`."""
        evict(self.cell(signature), host, pid)

    def note_early_stop(self, signature: str) -> None:
        """Notes that a search has stopped the cell; it can still go on, and then the note goes."""
        self.cell(signature).write(EARLY, b"")

    def record_failure(
        self,
        signature: str,
        error: str,
        log: Sequence[str] = (),
        configuration: bool = False,
        attempts: int = 1,
    ) -> Failure:
        """Notes that an attempt, the last of so many, ended in ``error``. Returns what is noted."""
        before = self.failure(signature)
        total = (before.attempts if before else 0) + attempts
        failure = Failure(error, tuple(log), total, configuration)
        self.cell(signature).write(FAILURE, sealed(asdict(failure), indent=1))
        return failure

    def failure(self, signature: str) -> Failure | None:
        """What `record_failure` noted last, or None. Where that is damaged, it says so itself."""
        folder = self.cell(signature)
        try:
            return as_kind(read_values(folder, FAILURE), Failure, folder.uri_of(FAILURE))
        except FileNotFoundError:
            return None
        except Damaged as error:
            return Failure(f"its reason is lost: {error}")

    def clear_failure(self, signature: str) -> None:
        """Forgets failed attempts, so that the cell counts as to run (or resumable) again."""
        self.cell(signature).delete_file(FAILURE)

    def set_aside(self, signature: str) -> None:
        """Removes a finished cell, so that it runs from the start, and keeps what it reported.

        Kept is the last result of each version of the code, without its model.
        """
        result = self.result(signature)
        if result is not None:
            kept = self.storage.below(f"{EARLIER}/{signature}/{result.code}")
            for name in (CONFIG, EVENTS, RANKS, RESULT):  # the result last: then all is there
                with contextlib.suppress(FileNotFoundError):
                    kept.write(name, self.folder(signature).read(name))
        self.discard(signature)

    def earlier(self, signature: str) -> dict[str, Result]:
        """What a cell reported under other versions of the code, by version, before a rerun."""
        place = f"{EARLIER}/{signature}"
        found: dict[str, Result] = {}
        for code in self.storage.names(place):
            kept = self.storage.below(f"{place}/{code}")
            result = self.spared(partial(read_result, kept, signature))
            if result is not None:
                found[code] = result
        return found

    def discard(self, signature: str) -> None:
        """Removes all of a cell, so that it runs from the start. Its result goes first.

        Of its terms the empty ends stay, so that whoever was paused in one of them writes nothing
        that counts.
        """
        cell, terms = self.cell(signature), terms_in(self.cell(signature))
        self._places.pop(signature, None)
        cell.delete_file(RESULT)
        for term in terms.names:
            cell.write(f"{term}/{RESULT}", b"")
        if not terms.names:
            self._cells.delete_folder(signature)
            return
        for name in cell.names():
            if not is_term(name):
                cell.delete(name)
        for term in terms.names:
            for name in cell.names(term):
                if name != RESULT:
                    cell.delete(f"{term}/{name}")

    def last_log(self, signature: str) -> tuple[str, ...]:
        """The last lines that an attempt at the cell has printed; none where there is no log."""
        cell, terms = self.cell(signature), terms_in(self.cell(signature))
        for place in (*reversed(terms.names), ""):
            start = f"{place}/" if place else ""
            below = (n[len(start) :] for n in terms.files if n.startswith(start))
            for name in sorted(filter(is_log, below), key=by_rank):
                with contextlib.suppress(OSError):
                    lines = tail(cell.read(f"{start}{name}").decode("utf-8", errors="replace"))
                    if lines:
                        return lines
        return ()

    def result(self, signature: str) -> Result | None:
        """What a finished cell reports, or None where it is not done. Raises Damaged."""
        found = read_result(self.folder(signature), signature)
        if found is None:  # it may have been discarded since it was seen
            self._places.pop(signature, None)
        return found

    def model(self, signature: str) -> Folder | None:
        """The folder of a finished cell's model; None where the cell is kept without it."""
        folder = self.folder(signature).below(MODEL)
        return folder if folder.exists(MODEL_INDEX) else None

    def model_size(self, signature: str) -> int | None:
        """Bytes of a cell's model folder, whole or not; None where there is none."""
        place = self.folder(signature).below(MODEL).base
        selector = pafs.FileSelector(place, allow_not_found=True, recursive=True)
        infos = self.storage.filesystem.get_file_info(selector)
        return sum(info.size or 0 for info in infos) if infos else None

    def drop_model(self, signature: str) -> None:
        """Removes a finished cell's model, its index first: then the cell is kept without one."""
        folder = self.folder(signature)
        folder.delete_file(f"{MODEL}/{MODEL_INDEX}")
        folder.delete_folder(MODEL)

    def results(
        self, signatures: Iterable[str], overview: Overview | None = None
    ) -> dict[str, Result]:
        """The results of those that are done; `damage` names those that are damaged.

        Args:
            overview: of these cells, where it has just been made: a result that is by it what it
                was is not read once more.
        """
        wanted = list(dict.fromkeys(signatures))
        if overview is None and self.storage.local is None and len(wanted) > FEW:
            overview = self.overview(wanted)
        listed = overview.files if overview is not None else {}
        files = {s: listed[at] for s in wanted if (at := f"{s}/{RESULT}") in listed}
        return self.read.all(wanted, files, self.folder, self.spared)

    def examine(self, signatures: Iterable[str]) -> tuple[Overview, dict[str, Result]]:
        """The states of cells, and the results of those that are done. A cell whose result is
        damaged counts as damaged, not as done."""
        wanted = list(dict.fromkeys(signatures))
        overview = self.overview(wanted)
        done = [s for s in wanted if overview.of(s) is State.DONE]
        results = self.results(done, overview)
        states = {
            s: State.TO_RUN if self.damage_of(s) is None else State.DAMAGED
            for s in done
            if s not in results
        }
        return replace(overview, states=overview.states | states), results

    def damage_of(self, signature: str) -> Damaged | None:
        """What is wrong with the result of a cell that counts as damaged."""
        return self.damage.get(self.folder(signature).uri_of(RESULT))

    def spared(self, read: Callable[[], Found]) -> Found | None:
        """What ``read`` returns; None where it meets a damaged file, which `damage` then names."""
        try:
            return read()
        except Damaged as error:
            self.damage[error.where] = error
            return None

    def events(self, signature: str, result: Result | None = None) -> list[Event]:
        """What a cell has reported so far, in order; a line that is being written is left out.

        Args:
            result: of a finished cell: its events must be those that belong to it.

        Raises:
            Damaged: they are not what was written.
        """
        folder = self.folder(signature)
        remedy = ANEW if result else AGAIN
        try:
            content = self.kept_file(result, EVENTS) if result else read_content(folder, EVENTS)
        except FileNotFoundError:
            return []
        return from_lines(content, folder.uri_of(EVENTS), remedy)

    def ranks(self, result: Result, only: str | None = None) -> dict[str, Any]:
        """The arrays of per-query ranks that a finished cell keeps: name -> (queries,).

        Args:
            only: read just the array of that name, where there is one.

        Raises:
            Damaged: they are not what was written.
        """
        try:
            content = self.kept_file(result, RANKS)
        except FileNotFoundError:
            return {}
        return parse_ranks(content, self.folder(result.signature).uri_of(RANKS), only)

    def kept_file(self, result: Result, name: str) -> bytes:
        """A file that a finished cell keeps. Raises FileNotFoundError, Damaged."""
        return read_kept(self.folder(result.signature), name, result.files)

    def remember(self, experiment: str, profile: str, cells: Sequence[Known]) -> None:
        """Notes which cells a run of an experiment asks for. Cells no longer asked for stay known.

        One file for each distinct list, named by its content: runs at once lose nothing.
        """
        keep_asked(self.experiment_folder(experiment), profile, cells)

    def known(self, experiment: str, profile: str) -> list[Known]:
        """Every cell that a run of the experiment under this profile has asked for, each once."""
        found: dict[str, Known] = {}
        for listed, cell in self.asked(experiment):
            if listed == profile:
                found.setdefault(cell.signature, cell)
        return list(found.values())

    def shapes(self) -> dict[str, set[str]]:
        """The signatures of every cell that any experiment has asked for, by shape."""
        found: dict[str, set[str]] = {}
        for experiment in self.storage.names(EXPERIMENTS):
            for _, cell in self.asked(experiment):
                found.setdefault(cell.shape, set()).add(cell.signature)
        return found

    def asked(self, experiment: str) -> Iterator[tuple[str, Known]]:
        """Profile and cell, of every list of cells that runs of an experiment have asked for."""
        return read_asked(self.experiment_folder(experiment), self.spared)

    def experiment_folder(self, experiment: str) -> Folder:
        """Where an experiment's own files go: its cells, tables, figures, report."""
        return self.storage.below(f"{EXPERIMENTS}/{experiment}")
