"""Run: what the platform gives a method to train one cell with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from supclap.errors import InputError
from supclap.events import Event
from supclap.patience import TIMEOUT
from supclap.storage import Folder


class RunError(RuntimeError):
    """A run that cannot go on for a reason that lies in its training, and would meet it again."""


class LoopError(InputError):
    """A mistake in a loop of the user's, with file and line of it."""


class Crash(RuntimeError):
    """A run that has ended for a reason that may be the machine's: worth another attempt."""


@dataclass(frozen=True)
class Run:
    """The place of one run.

    report: is given each event of it, in order. It may raise to end the run: the lease is another
    process' now, or a search has seen enough (SystemExit).
    model_of: the model that a finished run has kept, by its signature, as a folder of this machine.
    timeout: how long its workers wait for one that does not come.
    """

    folder: Folder
    report: Callable[[Event], None]
    model_of: Callable[[str], Path]
    timeout: timedelta = TIMEOUT
