"""SIGTERM, and SIGHUP of a terminal that is closed, end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LIKE_CTRL_C = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Answers SIGTERM and SIGHUP as Ctrl-C is answered, for as long as the context lasts.

    That is by the handler of SIGINT, or by KeyboardInterrupt where a shell has Ctrl-C ignored, as
    in commands that it starts in the background. What is ignored already (nohup) stays so.

    A terminal is closed once, but kernel and shell may both report it: further SIGHUPs are no
    wish to end even what the first one has begun.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own, closed = os.getpid(), False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal closed
        if os.getpid() != own:  # a fork of this process: whoever ends it means the usual
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGHUP and closed:
            return
        closed = closed or number == signal.SIGHUP
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    before = {
        number: signal.signal(number, interrupt)
        for number in LIKE_CTRL_C
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
