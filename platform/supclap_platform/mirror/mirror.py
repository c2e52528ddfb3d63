"""Brings MLflow up to the ledger, for one experiment and profile.

All that is sent is a function of the ledger, times included, so that sending it twice changes
nothing: MLflow's stores drop a metric that equals one they have in name, step, time and value.
How far a run is mirrored stands in a tag of the run, written after what it covers. A store that
was killed, cut off or emptied is therefore brought up to date like any other.

One process mirrors an experiment at a time: creating a run is the one thing that must not happen
twice. Should it happen all the same (a server that answers after it was given up), the second run
is removed at the next full look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from supclap.errors import InputError
from supclap.events import Finished
from supclap.run_files import ANEW, EVENTS, MODEL, RESULT
from supclap.storage import Folder
from supclap.stored import Damaged
from supclap_platform.experiment.keep import LINK
from supclap_platform.ledger.history import Histories, History, now
from supclap_platform.ledger.journal import (
    EXPERIMENT,
    Account,
    Journal,
    read_journal,
    write_journal,
)
from supclap_platform.ledger.leases import acquire
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Known, Overview, Result, State
from supclap_platform.mirror.content import (
    FAILED,
    FINISHED,
    KILLED,
    RUNNING,
    CellRecord,
    KeptModel,
    kept_model,
    row_values,
    status_of,
)
from supclap_platform.mirror.gathered import gathering
from supclap_platform.mirror.runs import Runs
from supclap_platform.mirror.stamps import Stamp, stamps_of
from supclap_platform.mirror.store import Store
from supclap_platform.mirror.whole_mark import (
    WholeMark,
    content_of,
    database_of,
    read_mark,
    settled_database,
    write_mark,
)

LOCK = "mirror"
CELLS, CLAIMS = "cells/", "claims/"  # what the experiment's run counts
SHARE = 0.05  # of the time goes into accounts
_STATES = {FINISHED: "done", FAILED: "failed", RUNNING: "running", KILLED: "interrupted"}
_AT_ONCE = 64  # cells whose events are in memory together
_READERS = 16


class Mirror:
    """One experiment and profile of a ledger, and its picture in a store. One thread uses it.

    Args:
        driving: whether this process is the driver that runs the experiment's cells.
        thorough: also read the cells whose runs carry a true mark that they show all of it.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        history: History,
        driving: bool = False,
        thorough: bool = False,
    ) -> None:
        self.history = history
        self.driving = driving
        self._thorough = thorough
        self._ledger = ledger
        self._histories = Histories(ledger)
        self._store = store
        self._client: Any = None
        self._runs: Runs | None = None
        self._stamps: dict[str, Stamp] = {}
        self.wanted = {cell.signature for cell in history.cells}
        # What the experiment says now; None: what was kept last is shown.
        self.account: Callable[[], Account] | None = None
        self.closing = False  # the last look: it says how all ends, whatever that costs
        self._states: dict[str, str] = {}  # of cells that have begun: status
        self._results: dict[str, Result] = {}
        self._said: tuple[float, float] = (0.0, 0.0)  # when the account was made last, how long
        self._owed = False  # the account is not of all that has finished
        self.shown: Callable[[int], object] = lambda number: None  # is given the cells sent so far
        self._left: str | None = None  # hash of all that is shown, once that is so

    def catch_up(self) -> bool:
        """Sends what is new. False: another process is mirroring this experiment; ask again.

        Raises whatever MLflow raises where the store is away; the next call then looks at all anew.
        """
        cells = self._histories.cells(self.history)
        stamps = stamps_of(cells, self._ledger)
        changed = [cell for cell in cells if self._is_new(cell.signature, stamps)]
        if self._runs is not None and not changed and self._parent_is_shown() and not self._due():
            return True
        lock = acquire(self._ledger.experiment_folder(self.history.experiment).below(LOCK))
        if lock is None:
            return False
        with lock:
            try:
                runs = self._opened(cells)
                whole = runs.fresh or not self.driving
                journal = self._journal()
                runs.show_parent(journal, self._parent_status(), None)
                finished: list[CellRecord] = []
                link = links_models(self.history, self._store, self._ledger.storage)
                unread = self._whole(changed, stamps, runs)
                left = [cell for cell in changed if cell.signature not in unread]
                for signature, result in unread.items():
                    self._noted(signature, FINISHED, result)
                for number, record in enumerate(self._records(left, stamps), 1):
                    runs.show(record)
                    self._noted(record.cell.signature, record.status, record.result)
                    self.shown(number)
                    if record.status == FINISHED and self._shows_models():
                        if link:  # no more than its address
                            self._ledger.spared(partial(runs.show_model, record, link))
                        else:
                            finished.append(record)
                    if number % _AT_ONCE == 0:
                        runs.flush()
                journal = self._written(journal)
                runs.show_groups(journal, self.driving)
                files = self._histories.artifacts(self.history) if whole else {}
                if whole:
                    runs.show_artifacts(files)
                # Copies are large: all else is there first, however long they take.
                for record in finished:
                    self._ledger.spared(partial(runs.show_model, record, link))
                runs.show_parent(journal, self._parent_status(), self._parent_end(runs))
                runs.flush()
                runs.fresh = False
                self._stamps |= {cell.signature: stamps[cell.signature] for cell in changed}
                self._left = None
                if whole and not self._ledger.damage:
                    shown = content_of(self._store, self.history, stamps, journal, files)
                    self._left = shown if runs.parent_status == self.history.status else None
            except BaseException:
                self.forget()
                raise
        return True

    def marked(self) -> bool:
        """Whether the store is the one of which a mark says that it shows all there is. Nothing is
        opened."""
        mark = read_mark(self._histories.folder(self.history))
        return mark is not None and mark.database == database_of(self._store)

    def is_shown(self, account: Account) -> bool:
        """Whether that is what there is now, and the experiment says this. Nothing is opened."""
        mark = read_mark(self._histories.folder(self.history))
        if mark is None or mark.database != database_of(self._store):
            return False
        stamps = stamps_of(self._histories.cells(self.history), self._ledger)
        journal = replace(self._journal(), account=account)
        files = self._histories.artifacts(self.history)
        now = content_of(self._store, self.history, stamps, journal, files)
        return now == mark.content and mark.database == database_of(self._store)

    def mark(self) -> None:
        """Notes that the store shows all there is, where that is so and can be known later.

        The store is read once more: what somebody else has changed in it since this process looked
        is not what the ledger has. Raises whatever MLflow raises where it is away.
        """
        if self._left is None or self._runs is None:
            return
        before = settled_database(self._store)
        if before is None or not self._runs.as_left() or database_of(self._store) != before:
            return
        with suppress(OSError):  # a full disk: it is looked at once more
            write_mark(self._histories.folder(self.history), WholeMark(self._left, before))

    def wait_and_catch_up(self, patience: float = 60.0) -> bool:
        """As `catch_up`, but waits so many seconds for another process that is mirroring."""
        deadline = time.monotonic() + patience
        while not self.catch_up():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def forget(self) -> None:
        """Makes the next call look at all anew, in the ledger and in the store."""
        self._runs = None
        self._left = None
        self._stamps.clear()
        self._states.clear()
        self._results.clear()

    def _opened(self, cells: list[Known]) -> Runs:
        if self._client is None:
            self._client = self._store.connect()
        if self._runs is None:
            client = gathering(self._client)
            self._runs = Runs(client, self.history, cells, self._store.artifacts)
        else:
            self._runs.arrange(self.history, cells)
        return self._runs

    def _whole(self, cells: list[Known], stamps: dict[str, Stamp], runs: Runs) -> dict[str, Result]:
        """The results of the cells of which the store shows all there is, by the marks of their
        runs: they need not be read. Where not all models stay, what is shown depends on more."""
        if self._thorough or self.history.frees_models:
            return {}
        shown = [c.signature for c in cells if runs.shows_all(c, stamps[c.signature])]
        listed = {f"{s}/{RESULT}": one for s in shown if (one := stamps[s].result) is not None}
        return self._ledger.results(shown, Overview(files=listed))

    def _noted(self, signature: str, status: str, result: Result | None) -> None:
        """What of a cell counts for its row and for the whole."""
        over = status in (FINISHED, FAILED)
        self._owed |= over and self._states.get(signature) != status
        self._states[signature] = status
        if result is not None:
            self._results[signature] = result
        else:
            self._results.pop(signature, None)

    def _journal(self) -> Journal:
        """As it is kept; a damaged one begins anew (`Ledger.damage` has it)."""
        folder = self._histories.folder(self.history)
        return self._ledger.spared(lambda: read_journal(folder)) or Journal()

    def _written(self, journal: Journal) -> Journal:
        """The journal with what is new in it, kept in the ledger."""
        before, moment = journal, now()
        numbers = {
            row.name: row_values(table.numbers(row, self._results))
            for table in self.history.tables
            for row in table.rows
            if row.cells
        }
        journal = journal.noted(numbers, moment)
        if self._due():
            journal = self._accounted(journal)
        counts: dict[str, float] = {f"{CELLS}{state}": n for state, n in self._counts().items()}
        if journal.account is not None:
            counts |= {f"{CLAIMS}{what}": n for what, n in journal.account.counts.items()}
        journal = journal.noted({EXPERIMENT: counts}, moment)
        if journal != before:
            # On a full disk it is shown without being kept: the driver's line says what is lost.
            with suppress(OSError):
                write_journal(self._histories.folder(self.history), journal)
        return journal

    def _due(self) -> bool:
        """Whether the account is to be made: it is not for each cell where it takes long."""
        if self.account is None or not (self._owed or self.closing):
            return False
        made, took = self._said
        return self.closing or time.monotonic() - made >= took / SHARE

    def _accounted(self, journal: Journal) -> Journal:
        assert self.account is not None
        self._owed = False
        start = time.monotonic()
        try:
            account = self.account()
        except InputError as error:  # code that is broken by now: what was said last stays
            account = journal.account or Account(f"{self.history.about}\n\n{error}")
        end = time.monotonic()
        self._said = (end, end - start)
        self.closing = False
        return replace(journal, account=account)

    def _counts(self) -> dict[str, int]:
        """How many of the cells that are asked for are in each state."""
        found = dict.fromkeys(("done", "failed", "interrupted", "running", "to_run"), 0)
        for signature in {cell.signature for cell in self.history.cells}:
            found[_STATES.get(self._states.get(signature, ""), "to_run")] += 1
        return found

    def _is_new(self, signature: str, stamps: dict[str, Stamp]) -> bool:
        if not any(stamps[signature].files):
            return False  # nothing of it yet
        if stamps[signature] != self._stamps.get(signature):
            return True
        if self.driving or self._runs is None:
            return False
        # When the driver ends, what it left unfinished is no longer about to go on, and the models
        # that stay are known.
        late = self.history.frees_models and signature in self._results
        return self._runs.is_running(signature) or (late and self._runs.lacks_model(signature))

    def _records(self, cells: Iterable[Known], stamps: dict[str, Stamp]) -> Iterator[CellRecord]:
        left = iter(cells)
        with ThreadPoolExecutor(_READERS) as readers:
            while some := list(islice(left, _AT_ONCE)):
                read = readers.map(
                    lambda cell: self._ledger.spared(lambda: self._record(cell, stamps)), some
                )
                yield from (one for one in read if one is not None)

    def _record(self, cell: Known, stamps: dict[str, Stamp]) -> CellRecord:
        """Raises Damaged: such a cell stays as it is shown already, and `Ledger.damage` has it."""
        stamp = stamps[cell.signature]
        failed, result = stamp.failure, stamp.result
        finished = self._ledger.result(cell.signature) if result is not None else None
        events = self._ledger.events(cell.signature, finished)
        if finished is not None and not events:
            raise Damaged(self._ledger.folder(cell.signature).uri_of(EVENTS), "empty", ANEW)
        if result is None:  # its end counts only when the ledger says so
            events = [event for event in events if not isinstance(event, Finished)]
        failure = self._ledger.failure(cell.signature) if failed and not result else None
        expected = self.driving and cell.signature in self.wanted
        if result is not None:
            state = State.DONE
        elif expected and failure is None:
            state = State.RUNNING
        else:
            state = self._ledger.state(cell.signature)
        status = status_of(state, expected)
        failed_at = int(failed.time.timestamp() * 1000) if failed and failed.time else 0
        began = round(events[0].time * 1000) if events else failed_at
        ended = round(events[-1].time * 1000) if events else failed_at
        stopped = bool(stamp.early and not result)
        model = self._model(cell.signature) if finished is not None else None
        gone = finished is not None and model is None and self._model_is_gone(cell.signature)
        return CellRecord(
            cell, stamp, events, failure, stopped, finished, status, began, ended, model, gone
        )

    def _model_is_gone(self, signature: str) -> bool:
        """Whether the store shows a model that the ledger keeps no longer."""
        if self._runs is None or not self.history.frees_models or not self._shows_models():
            return False
        return not self._runs.lacks_model(signature) and self._ledger.model(signature) is None

    def _shows_models(self) -> bool:
        """Those that stay are known when the run has ended, where not all do."""
        return not (self.driving and self.history.frees_models)

    def _model(self, signature: str) -> KeptModel | None:
        """The model of a finished cell, where it is still to be shown; a damaged one is not."""
        assert self._runs is not None
        if not (self._shows_models() and self._runs.lacks_model(signature)):
            return None
        folder = self._ledger.folder(signature).below(MODEL)
        return self._ledger.spared(partial(kept_model, folder))

    def _parent_status(self) -> str:
        if self.driving or self._histories.attended(self.history):
            return "RUNNING"
        return self.history.status or "KILLED"

    def _parent_end(self, runs: Runs) -> int:
        return self.history.ended or max(runs.last_end(), self.history.began)

    def _parent_is_shown(self) -> bool:
        return self._runs is not None and self._runs.parent_status == self._parent_status()


def links_models(history: History, store: Store, storage: Folder) -> bool:
    """Whether MLflow gets the place of a model in the storage, and no copy of its files: by itself
    wherever those who read its store can be thought to read the storage."""
    if history.mlflow is not None:
        return history.mlflow == LINK
    return not (store.served and storage.local is not None)
