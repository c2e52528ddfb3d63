"""SIGTERM, and SIGHUP of a terminal that is closed, end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LIKE_CTRL_C = (signal.SIGTERM, signal.SIGHUP)
_asked: set[int] = set()  # by which signals this process was asked to end


def asked_to_end() -> bool:
    """Whether a signal has asked this process to end, in the context of `interruptible`.

    Python drops an exception that is raised within a finalizer, and with it the KeyboardInterrupt
    of a signal that comes just then. Nobody closes a terminal twice, so who works in a loop asks.
    """
    return bool(_asked)


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
    own = os.getpid()
    _asked.clear()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a fork of this process: whoever ends it means the usual
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGHUP and number in _asked:
            return
        _asked.add(number)
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
        _asked.clear()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
