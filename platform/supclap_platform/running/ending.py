"""How attempts at cells end: the word for the driver, and the exceptions that lead to it."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, field
from typing import Literal

from supclap.errors import InputError
from supclap.secrets import masked

GRACE = 15.0  # seconds that cells get to give their leases back when a run is stopped


@dataclass(frozen=True)
class Ending:
    """How an attempt at a cell ended.

    done: the result is in the ledger. busy: a live process elsewhere works on it.
    failed: for a reason that another attempt would meet again. crashed: worth another attempt.
    stopped: as `ask_workers_to_end` asked. An executor also says lost: its machine is gone; and
    moved: the machine lacks something, and another is to be tried.

    unfit: what was in the way is the machine's, and in the way of every cell there.
    short: memory has ended; with more of it another attempt may go on.
    node: Ray's id of where it happened, if not where the attempt was started.
    """

    kind: Literal["done", "busy", "failed", "crashed", "stopped", "lost", "moved"]
    error: str = ""
    log: tuple[str, ...] = field(default=())
    configuration: bool = False
    unfit: bool = False
    short: bool = False
    node: str = ""


class LostCell(RuntimeError):
    """Another process holds the cell now."""


class WithoutResult(RuntimeError):
    """Training has ended, and there is no result."""


class Stopped(RuntimeError):
    """The workers have ended because they were asked to."""


class Fatal(RuntimeError):
    """A worker under Ray Train ended in a RunError."""


class Refused(InputError):
    """A worker's InputError, with its node."""

    def __init__(self, text: str, node: str) -> None:
        super().__init__(text)
        self.node = node


class WorkersLost(RuntimeError):
    """The workers under Ray Train failed more often than they may."""


def log_error(error: Exception, storage: str) -> None:
    """Into the cell's log. A library may quote what it was given."""
    print(masked("".join(traceback.format_exception(error)), storage), file=sys.stderr)
