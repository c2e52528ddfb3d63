"""What a cell is busy with right now, in one small file of its folder, for the view and `status`.

    <storage>/cells/<signature>/<term>/doing.json

The process that trains replaces it from a thread, only where something has changed and at most
every `EVERY` seconds, so that it costs an object store a few requests a minute however short the
steps are. Nothing depends on it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from itertools import chain, repeat

from supclap.progress import Doing, followed
from supclap.storage import Folder

FILE = "doing.json"
WAITING = "waiting"  # the unit of what a cell waits for before it begins
# Seconds before the first writing, and between two at least; by whether storage is local.
FIRST = {True: 1.0, False: 10.0}
EVERY = {True: 2.0, False: 10.0}


@contextlib.contextmanager
def noted(folder: Folder) -> Iterator[None]:
    """Notes in a cell's folder what this process is busy with, while the context is open."""
    heard: Doing | None = None
    written: Doing | None = None

    def take(doing: Doing | None) -> None:
        nonlocal heard
        heard = doing or heard

    def write() -> None:
        nonlocal written
        now = heard
        if now is not None and now != written:
            # A storage that is away for a moment is no reason to stop.
            with contextlib.suppress(OSError):
                folder.write(FILE, json.dumps(asdict(now)).encode())
                written = now

    try:
        local = folder.local is not None
        with followed(take, write, chain([FIRST[local]], repeat(EVERY[local]))):
            yield
    finally:
        with contextlib.suppress(OSError):
            folder.delete_file(FILE)


@contextlib.contextmanager
def waiting(folder: Folder, resources: str) -> Iterator[None]:
    """Notes that a cell waits for resources, until `waits_no_more` or the end of the context."""
    with contextlib.suppress(OSError):
        folder.write(FILE, json.dumps(asdict(Doing(resources, unit=WAITING))).encode())
    try:
        yield
    finally:
        waits_no_more(folder)


def waits_no_more(folder: Folder) -> None:
    """Takes the note of `waiting` back: a process of the cell is there."""
    with contextlib.suppress(OSError):
        folder.delete_file(FILE)


def doing_in(folder: Folder) -> Doing | None:
    """What the process that trains a cell noted last; None where it has noted nothing yet."""
    try:
        values = json.loads(folder.read(FILE))
        doing = Doing(**{one.name: values[one.name] for one in fields(Doing)})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    numbers = (doing.done, doing.seconds, doing.total or 0)
    sound = isinstance(doing.what, str) and all(isinstance(n, int | float) for n in numbers)
    return doing if sound else None
