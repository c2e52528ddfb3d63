"""The ledger: the durable state of every cell, and the only judge of "finished".

    <storage>/cells/<signature>/                 what the run leaves (`supclap.run_files`); with its
                                                 result, which is written last, the cell is done
    <storage>/cells/<signature>/failure.json     the last attempt failed: error, log, attempts
    <storage>/cells/<signature>/lease~…          a process works on it (see `leases`)
    <storage>/experiments/<name>/cells-….json    the cells each run of the experiment asked for
    <storage>/earlier/<signature>/<code>/        what a cell that was trained anew reported before,
                                                 the last of each version of the code, without model

States come from one listing of names; files are read only for what is asked of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from supclap.errors import InputError
from supclap.events import Event, from_line
from supclap.run_files import CONFIG, EVENTS, POINTER, RANKS, RESULT
from supclap.storage import Folder
from supclap.wording import one_line
from supclap_platform.experiment.metrics import full_name
from supclap_platform.ledger.leases import Lease, LeaseName, acquire, alive, parse_lease

CELLS = "cells"
EXPERIMENTS = "experiments"
EARLIER = "earlier"
FAILURE = "failure.json"
EARLY = "stopped-early"  # left by a search that has seen enough of the cell
_READERS = 16  # files read at once: an object store answers each in tens of milliseconds


class State(StrEnum):
    """What the ledger says of a cell."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    RESUMABLE = "resumable"
    TO_RUN = "to run"


@dataclass(frozen=True)
class Failure:
    """Why the last attempt at a cell ended. ``log``: the last lines of its log."""

    error: str
    log: tuple[str, ...] = ()
    attempts: int = 1
    configuration: bool = False  # a mistake in the input: trying again cannot help


@dataclass(frozen=True)
class Result:
    """What a finished cell reports (`supclap.events.Finished`), and what it came from.

    Each is a value of its result file. Those with a default are absent in results of earlier
    versions.
    """

    signature: str
    metrics: dict[str, float]
    seconds: float
    best_epoch: int
    step: int
    epochs: int
    workers: int
    code: str
    data: str
    peak_MB: float | None = None  # most memory held; None where the system did not say
    made_with: dict[str, str] = field(default_factory=dict)  # versions below it, and the device
    setup_seconds: float = 0.0  # before the first step; not part of `seconds`

    def value(self, column: str) -> float | None:
        """What the run reports under a column's name, or None."""
        name = full_name(column)
        if name in self.metrics:
            return self.metrics[name]
        whole = {
            "seconds": self.seconds,
            "seconds_per_epoch": self.seconds / self.epochs,
            "peak_MB": self.peak_MB,
            "best_epoch": float(self.best_epoch),
            "steps": float(self.step),
        }
        return whole.get(name)


_REPORTED = tuple(one for one in fields(Result) if one.name != "signature")


@dataclass(frozen=True)
class Known:
    """A cell that some run of an experiment has asked for."""

    variant: str
    seed: int
    signature: str
    shape: str  # what decides how long it takes (`plan.shape`)
    group: str | None = None  # of its variant


@dataclass(frozen=True)
class Overview:
    """The states of many cells at one moment."""

    states: dict[str, State] = field(default_factory=dict)
    leases: dict[str, LeaseName] = field(default_factory=dict)  # of running cells: who

    def of(self, signature: str) -> State:
        return self.states.get(signature, State.TO_RUN)


def open_ledger(place: str | Path, writing: bool = False) -> Ledger:
    """The ledger in a storage folder (path or URI), tried out before anything relies on it.

    Args:
        writing: also try to write there.

    Raises:
        InputError: no such file system, not reachable, not a folder, or not writable.
    """
    storage = Folder.at(place)
    try:
        found = storage.filesystem.get_file_info(storage.base)
        if found.type == pafs.FileType.File:
            raise InputError(f"storage '{place}': is a file, not a folder")
        if writing:
            probe = f"probe-{secrets.token_hex(4)}"
            storage.write(probe, b"")
            storage.delete(probe)
    except OSError as error:
        reason = one_line(str(error.strerror or error))
        raise InputError(f"storage '{place}': cannot be used: {reason}") from None
    return Ledger(storage)


class Ledger:
    """The ledger below a storage folder. Any number of processes may use it at once."""

    def __init__(self, storage: Folder) -> None:
        self.storage = storage
        self._cells = storage.below(CELLS)

    def folder(self, signature: str) -> Folder:
        """The folder of a cell: what `supclap.training.fit` is given."""
        return self._cells.below(signature)

    def state(self, signature: str) -> State:
        """The state of one cell."""
        return self.overview([signature]).of(signature)

    def overview(self, signatures: Iterable[str] | None = None) -> Overview:
        """The states of the named cells, or of all that the ledger knows, from one listing."""
        wanted = None if signatures is None else set(signatures)
        if wanted is not None and len(wanted) == 1:
            place = self.folder(next(iter(wanted))).base
        else:
            place = self._cells.base
        selector = pafs.FileSelector(place, allow_not_found=True, recursive=True)
        names: dict[str, set[str]] = {}
        beats: dict[str, dict[LeaseName, Any]] = {}
        start = len(self._cells.base) + 1
        for info in self.storage.filesystem.get_file_info(selector):
            if info.type == pafs.FileType.Directory:
                continue
            signature, _, name = info.path.lstrip("/")[start - self._lead :].partition("/")
            if wanted is not None and signature not in wanted:
                continue
            names.setdefault(signature, set()).add(name)
            lease = parse_lease(name)
            if lease is not None and alive(lease, info.mtime):
                beats.setdefault(signature, {})[lease] = info.mtime
        states = {s: _state(files, s in beats) for s, files in names.items()}
        running = {s: next(iter(beats[s])) for s in beats if states[s] is State.RUNNING}
        return Overview(states, running)

    @property
    def _lead(self) -> int:
        return len(self._cells.base) - len(self._cells.base.lstrip("/"))

    def take(self, signature: str) -> Lease | None:
        """The right to work on a cell, or None: it is done, or a live process works on it.

        Call it in the process that trains, which the lease names; see `leases`.
        """
        lease = acquire(self.folder(signature))
        if lease is not None and self.folder(signature).exists(RESULT):
            lease.release()
            return None
        if lease is not None:
            self.folder(signature).delete(EARLY)  # it goes on
        return lease

    def note_early_stop(self, signature: str) -> None:
        """Notes that a search has stopped the cell; it can still go on, and then the note goes."""
        self.folder(signature).write(EARLY, b"")

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
        text = json.dumps(asdict(failure), ensure_ascii=False, indent=1, sort_keys=True)
        self.folder(signature).write(FAILURE, text.encode())
        return failure

    def failure(self, signature: str) -> Failure | None:
        """What `record_failure` noted last, or None."""
        values = self._json(self.folder(signature), FAILURE)
        if values is None:
            return None
        return Failure(
            values["error"], tuple(values["log"]), values["attempts"], values["configuration"]
        )

    def clear_failure(self, signature: str) -> None:
        """Forgets failed attempts, so that the cell counts as to run (or resumable) again."""
        self.folder(signature).delete(FAILURE)

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
            result = self._result(self.storage.below(f"{place}/{code}"), signature)
            if result is not None:
                found[code] = result
        return found

    def discard(self, signature: str) -> None:
        """Removes a cell whole, so that it runs from the start. Its result goes first."""
        self.folder(signature).delete(RESULT)
        self._cells.delete(signature)

    def result(self, signature: str) -> Result | None:
        """What a finished cell reports, or None where it is not done."""
        return self._result(self.folder(signature), signature)

    def _result(self, folder: Folder, signature: str) -> Result | None:
        values = self._json(folder, RESULT)
        if values is None:
            return None
        try:
            reported = {
                one.name: values[one.name]
                for one in _REPORTED
                if one.name in values or _is_required(one)
            }
            return Result(signature, **reported)
        except KeyError as error:
            raise _damaged(f"{folder.uri}/{RESULT}", f"no {error}") from None

    def results(self, signatures: Iterable[str]) -> dict[str, Result]:
        """The results of those that are done."""
        wanted = list(dict.fromkeys(signatures))
        with ThreadPoolExecutor(_READERS) as readers:
            found = zip(wanted, readers.map(self.result, wanted), strict=True)
            return {signature: result for signature, result in found if result is not None}

    def events(self, signature: str) -> list[Event]:
        """What a cell has reported so far, in order; a line that is being written is left out."""
        try:
            text = self.folder(signature).read(EVENTS).decode("utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return [from_line(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def ranks(self, signature: str, only: str | None = None) -> dict[str, Any]:
        """The arrays of per-query ranks that a finished cell keeps: name -> (queries,).

        Args:
            only: read just the array of that name, where there is one.
        """
        import numpy as np

        try:
            content = self.folder(signature).read(RANKS)
        except FileNotFoundError:
            return {}
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if only in (None, name)}

    def remember(self, experiment: str, profile: str, cells: Sequence[Known]) -> None:
        """Notes which cells a run of an experiment asks for. Cells no longer asked for stay known.

        One file for each distinct list, named by its content: runs at once lose nothing.
        """
        known = [asdict(cell) for cell in cells]
        text = json.dumps({"profile": profile, "cells": known}, ensure_ascii=False, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        folder = self.experiment_folder(experiment)
        if not folder.exists(f"cells-{name}.json"):
            folder.write(f"cells-{name}.json", text.encode())

    def known(self, experiment: str, profile: str) -> list[Known]:
        """Every cell that a run of the experiment under this profile has asked for, each once."""
        found: dict[str, Known] = {}
        for listed, cell in self._remembered(experiment):
            if listed == profile:
                found.setdefault(cell.signature, cell)
        return list(found.values())

    def shapes(self) -> dict[str, set[str]]:
        """The signatures of every cell that any experiment has asked for, by shape."""
        found: dict[str, set[str]] = {}
        for experiment in self.storage.names(EXPERIMENTS):
            for _, cell in self._remembered(experiment):
                found.setdefault(cell.shape, set()).add(cell.signature)
        return found

    def _remembered(self, experiment: str) -> Iterator[tuple[str, Known]]:
        folder = self.experiment_folder(experiment)
        for name in folder.names():
            if name.startswith("cells-") and name.endswith(".json"):
                values = _parsed(folder.read(name), f"{folder.uri}/{name}")
                for cell in values["cells"]:
                    yield values["profile"], Known(**cell)

    def experiment_folder(self, experiment: str) -> Folder:
        """Where an experiment's own files go: its cells, tables, figures, report."""
        return self.storage.below(f"{EXPERIMENTS}/{experiment}")

    def _json(self, folder: Folder, name: str) -> dict[str, Any] | None:
        try:
            return _parsed(folder.read(name), f"{folder.uri}/{name}")
        except FileNotFoundError:
            return None


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _state(names: set[str], leased: bool) -> State:
    if RESULT in names:
        return State.DONE
    if leased:
        return State.RUNNING
    if FAILURE in names:
        return State.FAILED
    return State.RESUMABLE if POINTER in names else State.TO_RUN


def _parsed(content: bytes, where: str) -> dict[str, Any]:
    try:
        values: Any = json.loads(content)
    except ValueError as error:
        raise _damaged(where, str(error)) from None
    if not isinstance(values, dict):
        raise _damaged(where, "not a mapping")
    return values


def _damaged(where: str, how: str) -> InputError:
    """Nothing here leaves such a file: all are written atomically. Someone else's hand did."""
    return InputError(f"{where}: damaged ({how}); remove it and run again")
