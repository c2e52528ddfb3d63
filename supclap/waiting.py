"""Shows a wait: one line that is drawn anew on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import TextIO

from supclap.progress import STEPS, Doing, followed

DRAWN_AFTER = 0.5  # seconds: a shorter activity would only flicker
DRAWN_EVERY = 0.2
LINE_AFTER = 2.0  # seconds of silence, where no terminal is
LINES_EVERY = (15.0, 60.0)  # seconds between further lines: at first, and in the long run
BAR = 16  # characters
CLEAR = "\r\x1b[2K"


@contextmanager
def shown(out: TextIO | None = None) -> Iterator[None]:
    """Shows on ``out`` (standard error) what this process is busy with, in this context."""
    stream = out or sys.stderr
    drawn = stream.isatty() and os.environ.get("TERM") != "dumb"
    display = Drawing(stream) if drawn else Lines(stream)
    _shown.append(display)
    try:
        with followed(display.take, display.look, repeat(DRAWN_EVERY)):
            yield
    finally:
        display.take(None)
        _shown.remove(display)


_shown: list[Display] = []


def clear() -> None:
    """Takes off the terminal what is drawn of a wait, so that a line can be printed there."""
    for display in _shown:
        display.clear()


class Display:
    """What is being done, taken from the thread that works and looked at from another."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._lock = threading.Lock()
        self._doing: Doing | None = None
        self._since = clock()

    def take(self, doing: Doing | None) -> None:
        """Notes what is being done from now on."""
        with self._lock:
            before, self._doing = self._doing, doing
            if before is None or doing is None or before.what != doing.what:
                self._since = self._clock()
                self._changed()

    def clear(self) -> None:
        """Takes off what is drawn; the next look draws it anew."""
        with self._lock:
            self._changed()

    def look(self) -> None:
        """Shows it, where that is due."""
        with self._lock:
            if self._doing is not None:
                self._show(self._doing, self._clock() - self._since)

    def _changed(self) -> None:
        """Another activity has begun, or the last one has ended."""

    def _show(self, doing: Doing, seconds: float) -> None:
        raise NotImplementedError


class Drawing(Display):
    """One line of a terminal, gone when the activity is over."""

    _drawn = False

    def _changed(self) -> None:
        if self._drawn:
            self._write(CLEAR)
            self._drawn = False

    def _show(self, doing: Doing, seconds: float) -> None:
        if seconds < DRAWN_AFTER:
            return
        share = doing.share
        bar = ""
        if share is not None:
            full = int(share * BAR)
            bar = "━" * full + "─" * (BAR - full) + "  "
        text = f"{bar}{doing}  {seconds:.0f} s{_rest(share, seconds)}"
        width = shutil.get_terminal_size().columns - 1
        self._write(CLEAR + text[:width])
        self._drawn = True

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class Lines(Display):
    """A plain line where an activity lasts: soon after it has begun, then ever more rarely.

    An epoch is no wait of its own: a line follows it anyway.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(out, clock)
        self._said = ""  # the activity that had its first line
        self._pause = LINES_EVERY[0]
        self._next = clock() + self._pause

    def _show(self, doing: Doing, seconds: float) -> None:
        now = self._clock()
        first = seconds >= LINE_AFTER and doing.what != self._said and doing.unit != STEPS
        if not first and (now < self._next or seconds < LINE_AFTER):
            return
        if not first:
            self._pause = min(2 * self._pause, LINES_EVERY[1])
        self._said = doing.what
        self._next = now + self._pause
        self._out.write(f"{doing} ({seconds:.0f} s{_rest(doing.share, seconds)})\n")
        self._out.flush()


def _rest(share: float | None, seconds: float) -> str:
    """About how long it still takes, where enough is done to say."""
    if share is None or not 0.02 <= share < 1:
        return ""
    return f", about {max(1, round(seconds / share * (1 - share)))} s left"
