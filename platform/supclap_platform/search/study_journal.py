"""A study on a storage that is no folder of this machine, such as S3: Optuna's journal, whose
operations lie as objects beside the experiment's other results.

    <experiment>/study/<generation>~<driver>/00000000.json    all operations before this driver
    <experiment>/study/<generation>~<driver>/00000001.json    what it wrote first, and so on

An object store has neither appending nor locks. So a driver never writes where another has: before
its first operation it begins a generation of its own with all that was there. The highest counts
and no other: what a driver writes that was paused, and taken for dead, is read by nobody, and it
finds the newer generation after its next operation.
"""

from __future__ import annotations

import errno
import json
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from supclap.storage import Folder
from supclap.stored import Damaged, read_values, sealed
from supclap_platform.ledger.results import READERS

OPERATIONS = "operations"
REMEDY = "remove that folder to search from the start; finished cells are not run again"
_GENERATION = re.compile(r"(\d{6})~[0-9a-f]{12}")
_NUMBER = re.compile(r"(\d{8})\.json")


class StudyTaken(OSError):
    """Another driver has gone on with the study."""


class StudyJournal(BaseJournalBackend):
    """The operations of the studies in a folder, for one driver; a reader sees them as they were
    when it was made.

    Raises:
        Damaged: an object of it is not what was written.
        OSError: the storage cannot be read.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._logs: list[dict[str, Any]] = []
        self._stored = 0  # of these, how many lie in the storage
        self._own: str | None = None  # the generation that this process writes
        self._objects = 0  # that it has written there
        self._together = False
        self._load()

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The operations from a number on, without a request: nobody else writes to these."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes operations.

        Raises:
            StudyTaken: another driver has gone on with the study.
            OSError: they cannot be written.
        """
        self._logs += json.loads(json.dumps(logs))
        if not self._together:
            self._store()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is appended in here is written at its end as one object: a trial's number with its
        setting, a step with what the pruner said of it."""
        outer, self._together = self._together, True
        try:
            yield
        finally:
            self._together = outer
            if not outer and self._stored < len(self._logs):
                self._store()

    def _store(self) -> None:
        """Writes what is not stored yet; what could not be written goes along with the next."""
        if self._own is None:
            self._begin()
        self._put(self._objects, self._logs[self._stored :])
        self._objects, self._stored = self._objects + 1, len(self._logs)
        if self._generations()[-1] != self._own:
            raise StudyTaken(
                errno.EBUSY,
                "another process has gone on with the search; its study is the one that counts",
                self._folder.uri,
            )

    def _begin(self) -> None:
        """Begins a generation with all that there is by now."""
        there = self._generations()
        self._own = f"{int(there[-1][:6]) + 1 if there else 1:06d}~{secrets.token_hex(6)}"
        self._put(0, self._logs[: self._stored])
        self._objects = 1
        for old in there[:-1]:  # the last is kept: who reads it now is not disturbed
            self._folder.delete(old)

    def _put(self, number: int, operations: list[dict[str, Any]]) -> None:
        content = sealed({OPERATIONS: operations})
        self._folder.write(f"{self._own}/{number:08d}.json", content)

    def _generations(self) -> list[str]:
        """In their order. One request."""
        return [name for name in self._folder.names() if _GENERATION.fullmatch(name)]

    def _load(self) -> None:
        for generation in reversed(self._generations()):
            folder = self._folder.below(generation)
            names = [name for name in folder.names() if _NUMBER.fullmatch(name)]
            if not names:  # a folder whose driver died before it wrote
                continue
            if [int(name[:8]) for name in names] != list(range(len(names))):
                raise Damaged(folder.uri, "a part of it is gone", REMEDY)
            with ThreadPoolExecutor(READERS) as readers:
                for found in readers.map(partial(_operations, folder), names):
                    self._logs += found
            self._stored = len(self._logs)
            return


def _operations(folder: Folder, name: str) -> list[dict[str, Any]]:
    found = read_values(folder, name, REMEDY).get(OPERATIONS)
    if not isinstance(found, list):
        raise Damaged(folder.uri_of(name), f"has no {OPERATIONS}", REMEDY)
    return found
