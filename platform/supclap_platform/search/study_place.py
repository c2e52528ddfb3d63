"""Where the study of a search is: SQLite in a storage that is a folder, a journal of objects in one
that is not, or a database that the user names."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage

from supclap.errors import InputError
from supclap.secrets import masked, without_password
from supclap.storage import Folder
from supclap.stored import Damaged, read_content
from supclap.wording import one_line
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.mirror.store import sqlite_uri
from supclap_platform.search.study_journal import StudyJournal

FILE, JOURNAL = "study.db", "study"  # in the experiment's folder
PLACE = "study.txt"  # there too: where the study is


@dataclass(frozen=True)
class StudyPlace:
    """Where a study is.

    Attributes:
        url: of its database; None: it is a journal.
        given: whether the user has named that.
        folder: the experiment's.
    """

    url: str | None
    given: bool
    folder: Folder

    @classmethod
    def of(cls, ledger: Ledger, experiment: str, url: str | None) -> StudyPlace:
        """The place at a URL; without one, in the ledger's storage."""
        folder = ledger.experiment_folder(experiment)
        if url is not None:
            return cls(url, True, folder)
        local = folder.local
        return cls(None if local is None else sqlite_uri(local / FILE), False, folder)

    @property
    def shown(self) -> str:
        """As people may see it."""
        return self.folder.uri_of(JOURNAL) if self.url is None else without_password(self.url)

    def open(self) -> tuple[StudyJournal | None, Any]:
        """The journal where it is one, and Optuna's storage.

        Raises:
            InputError: it cannot be used, or the study was begun elsewhere.
        """
        before = self._before()
        here = JOURNAL if self.url is None else FILE
        if not self.given and before not in (None, self.shown) and not self.folder.exists(here):
            raise InputError(  # or it would begin anew, unasked
                f"the study of this search is in {before}: give that with --study-storage; to "
                f"begin a new one here, remove {self.folder.uri_of(PLACE)}"
            )
        # What the user has named is tried first: a place that cannot be used is not kept.
        opened = self._opened() if self.given else None
        if before != self.shown:
            self.folder.write(PLACE, f"{self.shown}\n".encode())
        return opened or self._opened()

    def _opened(self) -> tuple[StudyJournal | None, Any]:
        if self.url is None:
            journal = StudyJournal(self.folder.below(JOURNAL))
            return journal, JournalStorage(journal)
        options = {"connect_args": {"timeout": 60}} if self.url.startswith("sqlite") else {}
        try:
            return None, optuna.storages.RDBStorage(self.url, engine_kwargs=options)
        except Exception as error:  # of the database's driver, whichever it is
            reason = one_line(str(error).strip().partition("\n")[0]) or repr(error)
            raise InputError(
                f"--study-storage {self.shown}: cannot be used: {masked(reason, self.url)}"
            ) from None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Raises OSError where the study cannot be read or written: it is full, or away."""
        try:
            yield
        except StorageInternalError as error:
            url = self.url or ""
            reason = one_line(str(error.__cause__ or error).strip().partition("\n")[0])
            number = errno.ENOSPC if "is full" in reason else errno.EIO
            raise OSError(number, masked(reason, url), self.shown) from error

    def _before(self) -> str | None:
        """Where the study was when it was opened last, as it was shown."""
        try:
            return one_line(read_content(self.folder, PLACE).decode(errors="replace"), None)
        except (FileNotFoundError, Damaged):
            return None
