"""The one exception that means "what you gave cannot be used"."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches

from supclap.wording import one_line

STALE = 3  # the exit code of a command that shows numbers of other code than would run today
INTERRUPTED = 130  # the exit code of a command that Ctrl-C or SIGTERM ended, as in a shell
FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk


MOST_CHARACTERS = 1_500  # of an error; lists of what is valid are long, what somebody gave is not


class InputError(ValueError):
    """A mistake in the input, shown in one line: where, what was expected, what to do.

    The command line prints the line without a traceback and exits with code 2. Whatever is a fault
    of the program itself must not be raised as this class. Whatever the message quotes, it is one
    printable line of at most `MOST_CHARACTERS`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, MOST_CHARACTERS))


class TakenOver(InputError):
    """Another process works on this run now, or has finished it: this one's part is over."""


class SettingError(InputError):
    """A mistake in one setting of a configuration; ``key`` is its dotted key."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key

    def __reduce__(self) -> tuple[type[SettingError], tuple[str, str]]:
        return type(self), (self.key, str(self))  # to another process and back


class NoPackage(SettingError):
    """A setting that needs a package which is not installed; ``command`` installs it."""

    def __init__(self, key: str, reason: str, command: str) -> None:
        super().__init__(key, f"{reason}: {command}")
        self.reason, self.command = reason, command

    def __reduce__(self) -> tuple[type[NoPackage], tuple[str, str, str]]:  # type: ignore[override]
        return type(self), (self.key, self.reason, self.command)


def closest(word: str, valid: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The valid name that is spelled most like ``word``, of those that share ``cutoff`` with it."""
    if len(word) > 200:  # no name is so long, and the comparison takes the square of it
        return None
    found = get_close_matches(word, list(valid), n=1, cutoff=cutoff)
    return found[0] if found else None


def nearest(word: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """A hint at the valid name closest to ``word``: ``"; did you mean 'epochs'?"`` or ``""``."""
    found = closest(word, valid, cutoff)
    return f"; did you mean '{found}'?" if found else ""
