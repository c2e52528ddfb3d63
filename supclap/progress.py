"""What this process is busy with: whatever may last says so here, and who cares is shown it.

    with activity("making soundscenes", total=3200, unit="clips") as done:
        for number, clip in enumerate(clips, 1):
            done(number)

Nothing is computed from it: a run with nobody to see it gives the same result. An activity may lie
in another one; the innermost is what the process is busy with. Activities are of a process's main
work, not of threads beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
STEPS = "steps"  # the unit of an activity that is one epoch's training


@dataclass(frozen=True)
class Doing:
    """An activity at one moment. ``total`` is None where nobody knows how much there is."""

    what: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    seconds: float = 0.0  # since the activity began

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else None

    def __str__(self) -> str:
        if self.total:
            return f"{self.what}: {self.done:,} of {self.total:,} {self.unit}".rstrip()
        return f"{self.what}: {self.done:,} {self.unit}".rstrip() if self.done else self.what


def epoch_name(epoch: int, epochs: int) -> str:
    """How the activity of an epoch is called; ``epoch`` counts from 1."""
    return f"epoch {epoch}/{epochs}"


Listener = Callable[[Doing | None], None]  # is given None when nothing lasts any more
_listeners: list[Listener] = []
_open: list[list[Doing]] = []  # one box for each open activity, the innermost last


@contextmanager
def activity(
    what: str, total: int | None = None, unit: str = ""
) -> Iterator[Callable[[int], None]]:
    """Something that may last, as long as the context is open.

    Print nothing while it is open: a terminal may show it in the line where the cursor is.

    Yields:
        a function that is given how many of ``total`` are done.
    """
    began = time.monotonic()
    box = [Doing(what, 0, total, unit)]

    def tick(done: int) -> None:
        box[0] = Doing(what, done, total, unit, time.monotonic() - began)
        if _open and _open[-1] is box:
            _say(box[0])

    _open.append(box)
    _say(box[0])
    try:
        yield tick
    finally:
        _open[:] = [other for other in _open if other is not box]
        _say(_open[-1][0] if _open else None)


def counting(items: Iterable[Item], done: Callable[[int], None]) -> Iterator[Item]:
    """The same items; ``done`` is called with how many of them have been used."""
    for number, item in enumerate(items):
        done(number)
        yield item


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Gives ``listener`` every change, in the thread that works, as long as the context is open."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def followed(
    listener: Listener, look: Callable[[], None], pauses: Iterable[float]
) -> Iterator[None]:
    """`listening`, and calls ``look`` from a thread of its own after each of ``pauses`` (s)."""
    ended = threading.Event()

    def follow() -> None:
        for pause in pauses:
            if ended.wait(pause):
                return
            look()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    with listening(listener):
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def relay(doing: Doing | None) -> None:
    """Shows here what another process, which works for this one, is busy with."""
    _say(doing)


def _say(doing: Doing | None) -> None:
    for listener in list(_listeners):
        listener(doing)
