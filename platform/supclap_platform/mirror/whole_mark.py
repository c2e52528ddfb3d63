"""The mark of an experiment of which an MLflow store shows all there is, for stores in a file.

    <storage>/experiments/<name>/parents/<digest>/shown.json

It is of all that the experiment's runs in MLflow are made from, and of the file of SQLite that they
are in: which file that is, its size and its times. Who finds both unchanged need not open MLflow,
whose import alone takes seconds. What a server shows cannot be known without asking it.

The ledger alone says what is finished: the mark is compared with what the ledger holds now.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, plain, read_values, sealed
from supclap_platform.ledger.history import History
from supclap_platform.ledger.journal import Journal
from supclap_platform.mirror.content import FINISHED
from supclap_platform.mirror.mark import FORM
from supclap_platform.mirror.stamps import Stamp
from supclap_platform.mirror.store import Store, sqlite_path

WHOLE = "shown.json"
TICK = 0.05  # seconds: two writes within a file system's tick may leave the same times
_UNWRITTEN = ("-journal", "-wal")  # beside a database: what is not in the file itself (yet)


@dataclass(frozen=True)
class WholeMark:
    """``content``: hash of what is shown. ``database``: what `database_of` says of the store."""

    content: str
    database: tuple[int, ...]


def database_of(store: Store) -> tuple[int, ...] | None:
    """What tells the file of a store from any other and from each later state of itself; None where
    there is no such thing: a server, no file, a transaction that is not over.

    The file is never opened for it: closing it would end SQLite's locks of this process.
    """
    path = sqlite_path(store.uri)
    if path is None:
        return None
    try:
        found = path.stat()
        if any(path.with_name(path.name + end).exists() for end in _UNWRITTEN):
            return None
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def settled_database(store: Store) -> tuple[int, ...] | None:
    """As `database_of`; whatever is written from now on changes it."""
    time.sleep(TICK)
    found = database_of(store)
    if found is None or time.time_ns() - max(found[-2:]) < TICK * 1e9:
        return None
    return found


def content_of(
    store: Store,
    history: History,
    stamps: Mapping[str, Stamp],
    journal: Journal,
    artifacts: Mapping[str, bytes],
) -> str | None:
    """A hash of all that is shown of an experiment whose last run is over; None where that depends
    on more: on who is at work on a cell that is not finished, or on which models stay.

    Args:
        stamps: of its cells; those without any file count for nothing.
    """
    begun = {signature: stamp for signature, stamp in stamps.items() if any(stamp.files)}
    if history.frees_models or history.status != FINISHED:
        return None
    if any(stamp.result is None for stamp in begun.values()):
        return None
    state = hashlib.sha256(f"{FORM}\0{store.uri}\0{store.artifacts}\0".encode())
    state.update(sealed(plain(replace(history, resting=None))))  # by now it is its end
    for signature, stamp in sorted(begun.items()):
        files = [None if one is None else (one.size, str(one.time), one.tag) for one in stamp.files]
        state.update(f"{signature}\0{stamp.place}\0{files}\n".encode())
    state.update(sealed(asdict(journal)))
    for name, content in sorted(artifacts.items()):
        state.update(f"{name}\0{len(content)}\0".encode() + content)
    return state.hexdigest()


def read_mark(folder: Folder) -> WholeMark | None:
    """The mark in a history's folder; None where there is none to be believed."""
    try:
        return as_kind(read_values(folder, WHOLE), WholeMark, folder.uri_of(WHOLE))
    except (OSError, Damaged):
        return None


def write_mark(folder: Folder, mark: WholeMark) -> None:
    """Keeps a mark. Raises OSError."""
    folder.write(WHOLE, sealed(plain(mark)))
